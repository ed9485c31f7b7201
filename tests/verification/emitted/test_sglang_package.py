"""Where SGLang's source is found, and its version."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from fibcore.verification.emitted import sglang_package as module
from fibcore.verification.emitted.sglang_package import find_sglang, sglang_package, sglang_version


def write_package(folder: Path) -> Path:
    (folder / "sglang" / "srt").mkdir(parents=True)
    return folder / "sglang"


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dataset that has no SGLang beside it, on a machine that has none installed."""
    monkeypatch.delenv("FIBCORE_SGLANG", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    folder = tmp_path / "all" / "dataset"
    folder.mkdir(parents=True)
    monkeypatch.setattr(module, "DATASET", folder)
    return folder


def test_layouts(tmp_path: Path) -> None:
    package = write_package(tmp_path / "repo" / "python")
    for place in (tmp_path / "repo", package.parent, package):
        assert sglang_package(place) == package
    assert sglang_package(tmp_path) is None


@pytest.mark.usefixtures("dataset")
def test_nowhere() -> None:
    found, where = find_sglang(None)
    assert found is None
    assert where.startswith("SGLang's source was not found (looked at --sglang, FIBCORE_SGLANG")


def test_places_in_order(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = write_package(tmp_path / "site-packages")
    spec = SimpleNamespace(submodule_search_locations=[str(installed)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: spec)
    assert find_sglang(None)[0] == installed
    # The paths in the file begin one folder above it.
    configured = write_package(tmp_path / "fork")
    config = {"repositories": {"sglang": {"path": "fork"}}}
    (dataset.parent / "repos_config.json").write_text(json.dumps(config))
    assert find_sglang(None)[0] == configured
    beside = write_package(dataset.parent)
    assert find_sglang(None)[0] == beside
    named = write_package(tmp_path / "named")
    monkeypatch.setenv("FIBCORE_SGLANG", str(named))
    assert find_sglang(None)[0] == named
    option = write_package(tmp_path / "option")
    assert find_sglang(str(option))[0] == option


def test_what_was_named_is_not_replaced(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_package(dataset.parent)
    assert find_sglang(str(dataset)) == (None, f"--sglang {dataset} holds no SGLang source")
    monkeypatch.setenv("FIBCORE_SGLANG", str(dataset))
    assert find_sglang(None)[0] is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"repositories": {"sglang": {"path": 1}}}'])
def test_configuration_that_says_nothing(dataset: Path, text: str) -> None:
    (dataset.parent / "repos_config.json").write_text(text)
    assert find_sglang(None)[0] is None


def test_version_of_a_file(tmp_path: Path) -> None:
    package = write_package(tmp_path)
    (package / "_version.py").write_text('__version__ = version = "1.2.3"\n')
    assert sglang_version(package) == "1.2.3"


def test_version_of_an_installed_package(tmp_path: Path) -> None:
    package = write_package(tmp_path)
    (tmp_path / "sglang-0.5.9.dist-info").mkdir()
    assert sglang_version(package) == "0.5.9"


def test_version_that_nothing_says(tmp_path: Path) -> None:
    assert sglang_version(write_package(tmp_path)) == "of unknown version"


def test_version_of_a_clone(tmp_path: Path) -> None:
    package = tmp_path / "python" / "sglang"
    (package / "srt").mkdir(parents=True)
    (tmp_path / ".git" / "refs").mkdir(parents=True)
    (tmp_path / ".git" / "HEAD").write_text("ref: refs/main\n")
    (tmp_path / ".git" / "refs" / "main").write_text("0123456789abcdef\n")
    assert sglang_version(package) == "git 0123456789ab"
