"""Empty input is never a success, and leaves earlier results as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

import fibcore
from fibcore.errors import UsageError
from fibcore.ops.registry import Registry, load_plugins


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A dataset without definitions, with a page of before."""
    (tmp_path / "empty/definitions").mkdir(parents=True)
    (tmp_path / "empty/reports").mkdir()
    (tmp_path / "empty/reports/index.html").write_text("before")
    return tmp_path / "empty"


@pytest.mark.parametrize("command", ["validate", "report", "list", "verify"])
def test_an_empty_dataset_is_said_to_be_empty(invoke, empty: Path, command: str) -> None:  # type: ignore[no-untyped-def]
    done = invoke(command, "--dataset", empty)
    assert done.exit_code == 1
    assert "there are no definitions" in done.output
    assert (empty / "reports/index.html").read_text() == "before"


@pytest.mark.parametrize("words", [("--dataset", ""), ("--dataset=",), ("--model-name", "")])
def test_an_empty_word_is_wrong_usage_and_writes_nothing(  # type: ignore[no-untyped-def]
    invoke, tiny, tmp_path: Path, words: tuple[str, ...]
) -> None:
    before = sorted(tmp_path.rglob("*"))
    done = invoke("extract", *tiny, *words)
    assert done.exit_code == 2
    assert f"{words[0].rstrip('=')} is empty" in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_an_empty_path_is_refused_by_the_api(op_plugins: Registry) -> None:
    with pytest.raises(UsageError, match="empty"):
        fibcore.list(dataset="", registry=op_plugins)


def test_without_plugins_their_list_is_no_success() -> None:
    assert fibcore.plugins(registry=load_plugins(discover=False)).exit_code == 1


def test_a_model_that_does_not_exist_leaves_no_onboarding(invoke, tiny, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    done = invoke("onboard", "lama", "--sglang", tiny[3])
    assert done.exit_code == 2
    assert not (tmp_path / "onboarding").exists()
