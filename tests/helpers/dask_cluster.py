"""A Dask cluster on this machine: a scheduler with worker processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

CLUSTER = """
import sys, time
import dask
from distributed import LocalCluster

if __name__ == "__main__":
    dask.config.set(
        {
            "distributed.scheduler.allowed-failures": 0,
            "distributed.comm.timeouts.connect": "120s",  # a busy machine starts workers slowly
        }
    )
    with LocalCluster(
        n_workers=int(sys.argv[1]),
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
    ) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""


class Cluster:
    """A scheduler with worker processes, in a process of its own."""

    def __init__(self, folder: Path, workers: int) -> None:
        script = folder / f"cluster_{workers}.py"
        script.write_text(CLUSTER)
        self.process = subprocess.Popen(  # noqa: S603  (our own script)
            [sys.executable, str(script), str(workers)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()
        assert self.address.startswith("tcp://127.0.0.1:")

    def kill(self) -> None:
        """End the scheduler and its workers at once."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()
