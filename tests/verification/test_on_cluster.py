"""Reference tests on a Dask cluster."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import scale_toy as toy
from dask_cluster import Cluster
from waiting import wait_for

from fibcore.verification import add_reference_tests, verify

pytest.importorskip("distributed", reason="distributed is not installed")
pytest.importorskip("torch", reason="torch is not installed")


def test_interrupt_ends_what_runs_on_the_cluster(dask_cluster: Cluster, tmp_path: Path) -> None:
    dataset, started = tmp_path / "dataset", tmp_path / "started"
    body = f"(open({str(started)!r}, 'w').close(), __import__('time').sleep(600.125))[1]"
    toy.write(dataset, toy.definition("scale_hang", body=body))
    toy.write_sglang(tmp_path / "sglang")
    add_reference_tests(dataset=dataset, all_=True, registry=toy.registry())
    driver = tmp_path / "driver.py"
    driver.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from fibcore.verification import verify\n"
        "from fibcore.ops.registry import load_plugins\n"
        "if __name__ == '__main__':\n"
        "    verify(dataset=Path(sys.argv[1]), device='cpu', dask=sys.argv[2],\n"
        "           registry=load_plugins(discover=False))\n"
    )
    process = subprocess.Popen(  # noqa: S603  (our own script)
        [sys.executable, str(driver), str(dataset), dask_cluster.address], stderr=subprocess.PIPE
    )
    try:
        wait_for(started.exists, "the tests on the cluster")
        before = _sessions(dask_cluster)
        assert before
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert b"KeyboardInterrupt" in said
        wait_for(lambda: not _sessions(dask_cluster), "the end of the tests on the cluster")
    finally:
        process.kill()
        process.communicate()


def test_reference_tests_on_a_cluster(dask_cluster: Cluster, tmp_path: Path) -> None:
    dataset = tmp_path / "dataset"
    kill = "(__import__('os').kill(__import__('os').{}(), 9), x * FACTOR)[1]"
    toy.write(
        dataset,
        toy.definition("scale_good"),
        toy.definition("scale_wrong", body="x * 3"),
        toy.definition("scale_dies", body=kill.format("getpid")),
        toy.definition("scale_kills_the_worker", body=kill.format("getppid")),
    )
    toy.write_sglang(tmp_path / "sglang")
    add_reference_tests(dataset=dataset, all_=True, registry=toy.registry())
    seen: list[Any] = []
    report = verify(
        dataset=dataset,
        device="cpu",
        dask=dask_cluster.address,
        registry=toy.registry(),
        progress=lambda *step: seen.append(step),
    )
    assert report.exit_code == 1
    assert report.verified == ("scale_good",)
    found = {d.name: d for d in report.definitions}
    # SGLang's source went along with the task.
    assert found["scale_good"].ground_truths[0].startswith("sglang Scale.forward_native (sglang 0")
    assert found["scale_good"].worker.startswith("CPU of tcp://127.0.0.1:")
    assert "differs from the ground truth" in found["scale_wrong"].failures[0].message
    assert "signal 9" in found["scale_dies"].failures[0].message
    assert "Dask worker that ran it died" in found["scale_kills_the_worker"].failures[0].message
    assert seen == [("running the reference tests", done, 4) for done in range(5)]
    reports = dataset / "reports" / "verification"
    assert sorted(p.name for p in reports.iterdir()) == ["scale_good.json", "scale_wrong.json"]


def _sessions(dask_cluster: Cluster) -> list[int]:
    """The worker sessions that processes of a cluster have started."""
    children: dict[int, list[int]] = {}
    sessions = set()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            words = (path / "cmdline").read_bytes()
        except OSError:
            continue
        children.setdefault(parent, []).append(int(path.name))
        if b"pytest_worker.py" in words:
            sessions.add(int(path.name))
    below, found = [dask_cluster.process.pid], []
    while below:
        pid = below.pop()
        below += children.get(pid, [])
        found += [pid] if pid in sessions else []
    return found
