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
import scale_toy as toy
from waiting import wait_for

from fibcore.errors import UsageError
from fibcore.processes import cluster
from fibcore.processes.cluster import ClusterError, connect, map_tasks
from fibcore.verification import add_reference_tests, verify

distributed = pytest.importorskip("distributed", reason="distributed is not installed")

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


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("dask"), 2)
    yield cluster
    cluster.kill()


def test_results_come_as_tasks_end(running: Cluster) -> None:
    seen: list[Any] = []
    with connect(running.address.removeprefix("tcp://")) as client:
        items: dict[str, Any] = {"slow": 4.0, "quick": 0.0, "wrong": "x"}
        results = list(
            map_tasks(
                client, time.sleep, items, step="sleeping", progress=lambda *a: seen.append(a)
            )
        )
    assert [r.name for r in results if r.error is None] == ["quick", "slow"]
    (wrong,) = [r for r in results if r.error is not None]
    assert wrong.name == "wrong"
    assert "TypeError" in str(wrong.error)
    assert seen == [("sleeping", done, 3) for done in range(4)]


def test_errors_of_fibcore_come_back_whole(running: Cluster) -> None:
    with connect(running.address) as client:
        (result,) = map_tasks(client, cluster._target, {"one": "nonsense"})
    assert isinstance(result.error, UsageError)
    assert result.error.where == "--dask nonsense"
    assert "HOST:PORT" in (result.error.expected or "")


def test_leaving_the_loop_cancels_what_is_left(running: Cluster, tmp_path: Path) -> None:
    items = {f"task_{i}": tmp_path / str(i) for i in range(40)}
    with connect(running.address) as client:
        results = map_tasks(client, _touch(0.2), items)
        next(results)
        results.close()
        assert next(iter(map_tasks(client, abs, {"next": -1}))).value == 1
    assert len(list(tmp_path.iterdir())) < 20


def _touch(delay_s: float) -> Any:
    """A function for workers that makes a file after a while."""

    def touch(path: Path) -> None:
        import time

        time.sleep(delay_s)
        path.touch()

    return _by_value(touch)


def _by_value(function: Any) -> Any:
    """A function that workers get as it is, for they cannot import this file."""
    import cloudpickle  # type: ignore[import-untyped]

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    return function


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


def test_lost_workers_are_an_error(running: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "ASK_S", 0.1)
    with connect(running.address) as client:
        monkeypatch.setattr(client, "nthreads", dict)  # as when there is no nanny
        monkeypatch.setattr(cluster, "LOST_S", 0.2)
        with pytest.raises(ClusterError, match="no workers any more") as caught:
            list(map_tasks(client, time.sleep, {"first": 5.0}))
    assert "1 tasks are left" in (caught.value.found or "")


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
    monkeypatch.setattr("fibcore.processes.cluster.importlib.util.find_spec", lambda _: None)
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


# --- reference tests on a cluster ----------------------------------------------------------------


def test_interrupt_ends_what_runs_on_the_cluster(running: Cluster, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
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
        [sys.executable, str(driver), str(dataset), running.address], stderr=subprocess.PIPE
    )
    try:
        wait_for(started.exists, "the tests on the cluster")
        before = _sessions(running)
        assert before
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert b"KeyboardInterrupt" in said
        wait_for(lambda: not _sessions(running), "the end of the tests on the cluster")
    finally:
        process.kill()
        process.communicate()


def test_reference_tests_on_a_cluster(running: Cluster, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
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
        dask=running.address,
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
    assert seen == [("running the reference tests", done, 4) for done in range(1, 5)]
    reports = dataset / "reports" / "verification"
    assert sorted(p.name for p in reports.iterdir()) == ["scale_good.json", "scale_wrong.json"]


def _sessions(running: Cluster) -> list[int]:
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
    below, found = [running.process.pid], []
    while below:
        pid = below.pop()
        below += children.get(pid, [])
        found += [pid] if pid in sessions else []
    return found


# --- workers that die: last, since it takes them a while to start again --------------------------


def test_worker_that_dies_is_one_failure(running: Cluster) -> None:
    with connect(running.address) as client:
        (dead,) = map_tasks(client, os._exit, {"dead": 3})
        assert "worker that ran it died" in str(dead.error)
        results = {r.name: r.value for r in map_tasks(client, abs, {"a": -1, "b": -2})}
    assert results == {"a": 1, "b": 2}


def test_waiting_beside_a_task_that_kills_is_no_failure(running: Cluster) -> None:
    # With allowed-failures 0, what waits on the worker that dies counts as having killed it.
    items = {f"dead_{i}": (os._exit, 3) for i in range(2)} | {f"n_{i}": (abs, -i) for i in range(6)}
    with connect(running.address) as client:
        results = {r.name: r for r in map_tasks(client, _apply(), items)}
    assert {name for name, r in results.items() if r.error is not None} == {"dead_0", "dead_1"}
    assert results["n_5"].value == 5


def _apply() -> Any:
    """A function for workers that calls a function with an argument after a moment."""

    def apply(call: Any) -> Any:
        import time

        time.sleep(0.3)
        return call[0](call[1])

    return _by_value(apply)
