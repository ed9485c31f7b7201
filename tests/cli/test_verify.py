"""The options of `verify` for many definitions, and what its progress looks like."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fibcore.cli import cli
from fibcore.dataset import Dataset
from fibcore.errors import FibcoreError
from fibcore.verification import DefinitionResult, VerifyReport
from fibcore.verification.recording import Recorder


def invoke(*args: object) -> Result:
    return CliRunner().invoke(cli, [str(arg) for arg in args], prog_name="fibcore")


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the command gives the API, which has two definitions and ends."""
    seen: dict[str, Any] = {}

    def api(**options: Any) -> VerifyReport:
        seen.update(options)
        passed = ({"result": "passed"},)
        taken = (
            DefinitionResult("rmsnorm_h64", passed, worker="GPU 1", seconds=1.25),
            DefinitionResult("rmsnorm_h32", crash="it died", worker="GPU 0"),
        )
        store = Dataset(tmp_path)
        told = {"progress": options["progress"], "finished": options["finished"]}
        recorder = Recorder(store, (), None, total=2, **told)
        for result in taken:
            recorder.take(result)
        if seen.get("interrupt"):
            raise KeyboardInterrupt
        return VerifyReport(tmp_path)

    monkeypatch.setattr("fibcore.verification.verify", api)
    return seen


def test_options_reach_the_api(given: dict[str, Any]) -> None:
    result = invoke(
        *("verify", "--jobs", 3, "--timeout", "90.5", "--memory-limit", "1.5G"),
        *("--dask", "127.0.0.1:8786"),
    )
    assert result.exit_code == 0, result.output
    assert (given["jobs"], given["timeout_s"], given["dask"]) == (3, 90.5, "127.0.0.1:8786")
    assert given["memory_bytes"] == 3 << 29
    invoke("verify")
    assert (given["jobs"], given["timeout_s"], given["dask"]) == (None, 1800.0, None)
    assert given["memory_bytes"] is None


@pytest.mark.parametrize(
    ("text", "size"),
    [("1", 1), ("2k", 2048), ("3 MiB", 3 << 20), ("4GB", 4 << 30), ("1T", 1 << 40)],
)
def test_sizes(given: dict[str, Any], text: str, size: int) -> None:
    invoke("verify", "--memory-limit", text)
    assert given["memory_bytes"] == size


@pytest.mark.parametrize(
    "options",
    [
        ("--memory-limit", "much"),
        ("--memory-limit", "0"),
        ("--memory-limit", "-1G"),
        ("--timeout", "0"),
        ("--timeout", "nan"),
        ("--timeout", "soon"),
        ("--jobs", "0"),
        ("--jobs", "many"),
    ],
)
@pytest.mark.parametrize("command", ["verify", "run"])
def test_wrong_numbers_are_wrong_usage(command: str, options: tuple[str, str]) -> None:
    result = invoke(command, *options)
    assert result.exit_code == 2
    assert options[0] in result.stderr
    assert repr(options[1]) in result.stderr


@pytest.mark.usefixtures("given")
def test_progress_is_a_line_for_each_definition() -> None:
    result = invoke("verify", "--json")
    assert result.stderr.splitlines()[:3] == [
        "[1/2] rmsnorm_h64: passed, GPU 1 (1.2 s)",
        "running the reference tests",
        "[2/2] rmsnorm_h32: failed, GPU 0",
    ]
    assert "rmsnorm" not in result.stdout
    assert invoke("verify", "-q").stderr == ""


def test_interrupt_says_what_is_kept(given: dict[str, Any]) -> None:
    given["interrupt"] = True
    result = invoke("verify")
    assert result.exit_code == 130
    assert "The tests of 2 definitions had ended; that is recorded." in result.stderr


def test_jobs_and_dask_exclude_each_other(tmp_path: Path) -> None:
    for command in ("run", "verify"):
        result = invoke(
            command, "--jobs", 2, "--dask", "127.0.0.1:1", "--target-dir", tmp_path / "repos"
        )
        assert result.exit_code == 2, result.output
        assert "--jobs" in result.stderr
    assert not (tmp_path / "repos").exists()  # asked before anything was done


def test_error_of_the_cluster_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def api(**_: Any) -> VerifyReport:
        raise FibcoreError("the Dask scheduler cannot be reached", where="host:1", hint="start one")

    monkeypatch.setattr("fibcore.verification.verify", api)
    result = invoke("verify", "--dask", "host:1")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[0] == "host:1: the Dask scheduler cannot be reached"


def test_an_empty_dataset_is_no_success(tmp_path: Path) -> None:
    (tmp_path / "empty/definitions").mkdir(parents=True)
    result = invoke("verify", "--dataset", tmp_path / "empty")
    assert result.exit_code == 1
    assert "there are no definitions in" in result.output
    assert invoke("cost", tmp_path / "empty").exit_code == 1
