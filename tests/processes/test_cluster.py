"""Tasks on a Dask cluster of several processes."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from dask_cluster import Cluster
from waiting import wait_for

from fibcore.errors import UsageError
from fibcore.processes import cluster, connection
from fibcore.processes.cluster import map_tasks, run_on_cluster
from fibcore.processes.connection import ClusterError, connect

distributed = pytest.importorskip("distributed", reason="distributed is not installed")


def test_results_come_as_tasks_end(dask_cluster: Cluster) -> None:
    seen: list[Any] = []
    with connect(dask_cluster.address.removeprefix("tcp://")) as client:
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


def test_errors_of_fibcore_come_back_whole(dask_cluster: Cluster) -> None:
    with connect(dask_cluster.address) as client:
        (result,) = map_tasks(client, connection._target, {"one": "nonsense"})
    assert isinstance(result.error, UsageError)
    assert result.error.where == "--dask nonsense"
    assert "HOST:PORT" in (result.error.expected or "")


def test_leaving_the_loop_cancels_what_is_left(dask_cluster: Cluster, tmp_path: Path) -> None:
    items = {f"task_{i}": tmp_path / str(i) for i in range(40)}
    with connect(dask_cluster.address) as client:
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


def test_closing_a_run_stops_what_runs(dask_cluster: Cluster, tmp_path: Path) -> None:
    items = {"quick": None, "long": tmp_path / "stopped"}
    results = run_on_cluster(dask_cluster.address, _until_stopped(), items)
    assert next(results).name == "quick"
    assert not (tmp_path / "stopped").exists()
    results.close()
    wait_for((tmp_path / "stopped").exists, "the end of the task")


def _until_stopped() -> Any:
    """A function for workers that makes a file when it is stopped."""

    def wait(path: Path | None, stop: Any) -> None:
        if path is not None and stop.wait(60):
            path.touch()

    return _by_value(wait)


def test_a_run_is_checked_first(dask_cluster: Cluster) -> None:
    def refuse(client: Any) -> None:
        raise ClusterError("not this one", found=str(len(client.nthreads())))

    with pytest.raises(ClusterError, match="not this one") as caught:
        next(run_on_cluster(dask_cluster.address, _until_stopped(), {"one": None}, check=refuse))
    assert caught.value.found == "2"


def test_no_items_are_no_tasks(dask_cluster: Cluster) -> None:
    with connect(dask_cluster.address) as client:
        assert list(map_tasks(client, abs, {})) == []


def test_lost_scheduler_is_an_error(tmp_path: Path) -> None:
    lost = Cluster(tmp_path, 1)
    with connect(lost.address) as client:
        results = map_tasks(client, time.sleep, {"first": 0.0, "second": 60.0})
        assert next(results).name == "first"
        lost.kill()
        with pytest.raises(ClusterError, match="connection to the Dask scheduler was lost"):
            next(results)


def test_lost_workers_are_an_error(dask_cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "ASK_S", 0.1)
    with connect(dask_cluster.address) as client:
        monkeypatch.setattr(client, "nthreads", dict)  # as when there is no nanny
        monkeypatch.setattr(cluster, "LOST_S", 0.2)
        with pytest.raises(ClusterError, match="no workers any more") as caught:
            list(map_tasks(client, time.sleep, {"first": 5.0}))
    assert "1 tasks are left" in (caught.value.found or "")


# --- workers that die: last, since it takes them a while to start again --------------------------


def test_worker_that_dies_is_one_failure(dask_cluster: Cluster) -> None:
    with connect(dask_cluster.address) as client:
        (dead,) = map_tasks(client, os._exit, {"dead": 3})
        assert "worker that ran it died" in str(dead.error)
        results = {r.name: r.value for r in map_tasks(client, abs, {"a": -1, "b": -2})}
    assert results == {"a": 1, "b": 2}


def test_waiting_beside_a_task_that_kills_is_no_failure(dask_cluster: Cluster) -> None:
    # With allowed-failures 0, what waits on the worker that dies counts as having killed it.
    items = {f"dead_{i}": (os._exit, 3) for i in range(2)} | {f"n_{i}": (abs, -i) for i in range(6)}
    with connect(dask_cluster.address) as client:
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
