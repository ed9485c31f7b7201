"""`fibcore clone-repos`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Invoke = Callable[..., Result]


def test_clone_repos_links_local_sources(invoke: Invoke, tiny_source: Path, tmp_path: Path) -> None:
    (tmp_path / "flashinfer" / "flashinfer").mkdir(parents=True)
    (tmp_path / "flashinfer" / "flashinfer" / "__init__.py").write_text("")
    (tmp_path / "trace" / "definitions").mkdir(parents=True)
    result = invoke(
        *("clone-repos", "--target-dir", "./r", "--sglang", tiny_source),
        *("--flashinfer", tmp_path / "flashinfer", "--flashinfer-trace", tmp_path / "trace"),
        "--json",
    )
    assert result.exit_code == 0, result.output
    data = json.loads(result.stdout)
    assert data["repositories"]["sglang"]["status"] == "linked"
    written = json.loads(Path("r/repos_config.json").read_text())
    assert written["target_dir"] == "./r"
    assert written["repositories"]["sglang"]["path"] == "./r/sglang"
    assert set(written["repositories"]) == {"sglang", "flashinfer", "flashinfer_trace"}


@pytest.mark.parametrize("source", ["ext::sh -c id", "--upload-pack=id", "pypi:sglang"])
def test_clone_repos_refuses_dangerous_and_wrong_sources(invoke: Invoke, source: str) -> None:
    result = invoke("clone-repos", f"--sglang={source}")
    assert result.exit_code == 2
    assert "--sglang" in result.stderr
    assert not Path("repos").exists()
