"""Tasks on a Dask cluster of several processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fibcore import cluster
from fibcore.cluster import ClusterError, connect, map_tasks
from fibcore.errors import UsageError

distributed = pytest.importorskip("distributed", reason="distributed is not installed")

CLUSTER = """
import sys, time
import dask
from distributed import LocalCluster

if __name__ == "__main__":
    dask.config.set({"distributed.scheduler.allowed-failures": 0})
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


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("dask"), 2)
    yield cluster
    cluster.kill()


def test_results_come_as_tasks_end(running: Cluster) -> None:
    seen: list[Any] = []
    with connect(running.address.removeprefix("tcp://")) as client:
        items = {"slow": 1.5, "quick": 0.0, "wrong": "x"}
        results = list(
            map_tasks(
                client, time.sleep, items, step="sleeping", progress=lambda *a: seen.append(a)
            )
        )
    assert results[-1].name == "slow"
    (wrong,) = [r for r in results if r.error is not None]
    assert wrong.name == "wrong"
    assert "TypeError" in str(wrong.error)
    assert seen == [("sleeping", done, 3) for done in range(4)]


def _into(seen: list[Any]) -> Any:
    return lambda *told: seen.append(told)


def test_errors_of_fibcore_come_back_whole(running: Cluster) -> None:
    with connect(running.address) as client:
        (result,) = map_tasks(client, cluster._target, {"one": "nonsense"})
    assert isinstance(result.error, UsageError)
    assert result.error.where == "--dask nonsense"
    assert "HOST:PORT" in (result.error.expected or "")


def test_worker_that_dies_is_one_failure(running: Cluster) -> None:
    with connect(running.address) as client:
        (dead,) = map_tasks(client, os._exit, {"dead": 3})
        assert "worker that ran it died" in str(dead.error)
        results = {r.name: r.value for r in map_tasks(client, abs, {"a": -1, "b": -2})}
    assert results == {"a": 1, "b": 2}


def test_leaving_the_loop_cancels_what_is_left(running: Cluster, tmp_path: Path) -> None:
    items = {f"task_{i}": tmp_path / str(i) for i in range(40)}
    with connect(running.address) as client:
        results = map_tasks(client, _touch(0.2), items)
        next(results)
        results.close()
        assert next(iter(map_tasks(client, abs, {"next": -1}))).value == 1
    assert len(list(tmp_path.iterdir())) < 20


def _touch(delay_s: float) -> Any:
    """A function for workers, which cannot import this file, that makes a file after a while."""
    import cloudpickle

    def touch(path: Path) -> None:
        import time

        time.sleep(delay_s)
        path.touch()

    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    return cloudpickle.loads(cloudpickle.dumps(touch))


def test_no_items_are_no_tasks(running: Cluster) -> None:
    with connect(running.address) as client:
        assert list(map_tasks(client, abs, {})) == []


def test_lost_scheduler_is_an_error(tmp_path: Path) -> None:
    lost = Cluster(tmp_path, 1)
    with connect(lost.address) as client:
        results = map_tasks(client, time.sleep, {"first": 0.0, "second": 60.0})
        assert next(results).name == "first"
        lost.kill()
        with pytest.raises(ClusterError, match="connection to the Dask scheduler was lost"):
            next(results)


def test_scheduler_without_workers(tmp_path: Path) -> None:
    empty = Cluster(tmp_path, 0)
    try:
        with pytest.raises(ClusterError, match="no workers"), connect(empty.address, timeout_s=1):
            pass
    finally:
        empty.kill()


def test_workers_with_another_fibcore(running: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "__version__", "99.0")
    with (
        pytest.raises(ClusterError, match="do not have this version") as caught,
        connect(running.address),
    ):
        pass
    assert caught.value.expected == "fibcore 99.0 on every worker"


def test_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ClusterError, match="needs the package") as caught, connect("127.0.0.1:1"):
        pass
    assert "fibcore[dask]" in (caught.value.hint or "")


@pytest.mark.parametrize("address", ["", "nonsense", "tcp://", "host:port", "tcp://host:99999"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(UsageError, match="no address of a Dask scheduler"), connect(address):
        pass


@pytest.mark.parametrize("address", ["127.0.0.1:9", "strange://127.0.0.1:9"])
def test_unreachable_scheduler(address: str) -> None:
    with (
        pytest.raises(ClusterError, match="cannot be reached") as caught,
        connect(address, timeout_s=1),
    ):
        pass
    assert caught.value.where == address


def test_scheduler_file(running: Cluster, tmp_path: Path) -> None:
    path = tmp_path / "scheduler.json"
    path.write_text(json.dumps({"type": "Scheduler", "address": running.address}))
    with connect(str(path)) as client:
        assert client.status == "running"
    path.write_text("{")
    with pytest.raises(UsageError, match="no address"), connect(str(path)):
        pass
