"""Rows of tables are right, wrong with the true value, or unknown."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fibcore
from fibcore.checking.reading import read_table
from fibcore.errors import SourceError, UsageError

Check = Callable[[str, str], Any]


@pytest.fixture
def check(tiny_source: Path, tiny_config: Path, op_plugins: Any, tmp_path: Path) -> Check:
    def run(name: str, text: str) -> Any:
        path = tmp_path / name
        path.write_text(text)
        return fibcore.check(
            path, "tiny", sglang=tiny_source, config=tiny_config, registry=op_plugins
        )

    return run


@pytest.fixture
def gemm(tiny_source: Path, tiny_config: Path, op_plugins: Any) -> Any:
    found = fibcore.shapes(
        "tiny", sglang=tiny_source, config=tiny_config, registry=op_plugins, op_type="gemm"
    )
    return found[0].sizes


def test_rows_of_kernels(check: Check, gemm: dict[str, int]) -> None:
    n, k = gemm["N"], gemm["K"]
    report = check("shapes.csv", f"M,N,K\n16, {n}, {k}\n16, {n}, {k + 1}\n")
    right, wrong = report.verdicts
    assert (right.state, wrong.state) == ("right", "wrong")
    assert f"K {k}, not {k + 1}" in wrong.why
    assert "config:" in wrong.source
    assert wrong.row.startswith("line 3")
    assert report.exit_code == 1


def test_a_rank_has_its_own_shapes(check: Check, gemm: dict[str, int]) -> None:
    report = check(
        "shapes.csv", f"tp,N,K\n2,{gemm['N']},{gemm['K']}\n2,{gemm['N'] // 2},{gemm['K']}\n"
    )
    assert report.counts == {"right": 2, "wrong": 0, "unknown": 0}


def test_architectures(check: Check, tiny_config: Path) -> None:
    config = json.loads(tiny_config.read_text())
    heads, hidden = config["num_attention_heads"], config["hidden_size"]
    table = {
        "first": {"heads": heads, "hidden_size": hidden},
        "second": [{"heads": heads + 1, "hidden_size": hidden}],
        "third": {"shoe_size": 43},
    }
    first, second, third = check("model_shapes.json", json.dumps(table)).verdicts
    assert (first.state, second.state, third.state) == ("right", "wrong", "unknown")
    assert second.why == f"heads is {heads} (num_attention_heads), not {heads + 1}"
    assert second.row.startswith("$.second[0]")


def test_a_row_of_an_unknown_model_is_no_success(tmp_path: Path, tiny_source: Path) -> None:
    path = tmp_path / "shapes.csv"
    path.write_text("model,N,K\nno-such-model,1,2\n")
    report = fibcore.check(path, sglang=tiny_source)
    assert (report.counts["unknown"], report.exit_code) == (1, 1)
    assert report.refused


@pytest.mark.parametrize("text", ["", "{", "a,b\nx,y\n"])
def test_what_is_no_table(tmp_path: Path, text: str) -> None:
    path = tmp_path / "table.json" if text == "{" else tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(SourceError):
        read_table(path)


def test_a_page_is_for_another_command(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no table"):
        fibcore.check(tmp_path / "page.md")
