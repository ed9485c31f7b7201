"""Connections to Dask clusters, and what is no cluster that can be used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from dask_cluster import Cluster

from fibcore.errors import MissingPackageError, UsageError
from fibcore.processes import connection
from fibcore.processes.connection import ClusterError, connect

pytest.importorskip("distributed", reason="distributed is not installed")


def test_scheduler_without_workers(tmp_path: Path) -> None:
    empty = Cluster(tmp_path, 0)
    try:
        with pytest.raises(ClusterError, match="no workers"), connect(empty.address, timeout_s=1):
            pass
    finally:
        empty.kill()


def test_workers_with_another_fibcore(
    dask_cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "__version__", "99.0")
    with (
        pytest.raises(ClusterError, match="do not have this version") as caught,
        connect(dask_cluster.address),
    ):
        pass
    assert caught.value.expected == "fibcore 99.0 on every worker"


def test_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fibcore.extras.importlib.util.find_spec", lambda _: None)
    with (
        pytest.raises(MissingPackageError, match="need distributed") as caught,
        connect("127.0.0.1:1"),
    ):
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


def test_scheduler_file(dask_cluster: Cluster, tmp_path: Path) -> None:
    path = tmp_path / "scheduler.json"
    path.write_text(json.dumps({"type": "Scheduler", "address": dask_cluster.address}))
    with connect(str(path)) as client:
        assert client.status == "running"
    path.write_text("{")
    with pytest.raises(UsageError, match="no address"), connect(str(path)):
        pass
