"""Rows of tables are right, wrong with the true value, or unknown."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fibcore
from fibcore.checking.comparing import KnownModel, compare
from fibcore.checking.reading import TableRow, named_models, read_table
from fibcore.checking.report import CheckReport, Verdict
from fibcore.errors import SourceError, UsageError
from fibcore.extraction.report import Refused

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


def test_a_rank_has_its_own_shapes(check: Check, tiny_source: Path, tiny_config: Path) -> None:
    def sizes(how: str) -> set[tuple[int, int]]:
        found = fibcore.shapes(
            "tiny", sglang=tiny_source, config=tiny_config, tp=2, op_type="gemm", gemm_shapes=how
        )
        return {(shape.sizes["N"], shape.sizes["K"]) for shape in found}

    whole, rank = sizes("layer"), sizes("rank")
    n, k = min(rank - whole)
    first = min(whole - rank)
    report = check("shapes.csv", f"tp,N,K\n2,{n},{k}\n2,{first[0]},{first[1]}\n")
    assert report.counts == {"right": 2, "wrong": 0, "unknown": 0}
    assert report.exit_code == 0


def test_of_several_models_one_that_has_a_row_is_enough() -> None:
    row = TableRow("line 2", (), None, {"heads": 8})
    models = [
        KnownModel(name, "", {"num_attention_heads": n}, ()) for name, n in (("a", 4), ("b", 8))
    ]
    verdict = compare(row, models)
    assert (verdict.state, verdict.model) == ("right", "b")
    assert compare(row, models[:1]).state == "wrong"


def test_models_are_named_by_a_column_or_by_what_stands_around() -> None:
    def named(model: str | None, *labels: str) -> tuple[str, ...]:
        return named_models(TableRow("$", labels, model, {"N": 1}))

    assert named("foo", "deepseek-v3") == ("foo",)
    assert named(None, "DeepSeek", "V3", "router") == ("deepseek-v3",)
    assert named(None, "shapes") == ()


def test_a_refused_model_is_no_success() -> None:
    right = Verdict("line 2", "right", "a", "")
    assert CheckReport("t", "s", (right,)).exit_code == 0
    assert CheckReport("t", "s", (right,), (Refused("b", UsageError("no")),)).exit_code == 1


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


def test_a_page_is_held_sentence_by_sentence(
    tmp_path: Path, tiny_source: Path, tiny_config: Path, op_plugins: Any
) -> None:
    pytest.importorskip("markdown_it")
    page = tmp_path / "page.md"
    page.write_text(
        "# tiny\n\n| Definition | Op Type | Status |\n|---|---|---|\n"
        "| `rmsnorm_h64` | rmsnorm | missing |\n| `gemm_n_999_k_64` | gemm | missing |\n",
        encoding="utf-8",
    )
    report = fibcore.check(
        page,
        "tiny",
        config=tiny_config,
        sglang=tiny_source,
        registry=op_plugins,
        dataset=tmp_path / "dataset",
    )
    wrong = [one for one in report.verdicts if "gemm_n_999_k_64" in one.row]
    assert [one.state for one in wrong] == ["wrong"]
    assert report.counts["right"] >= 1
    assert report.exit_code == 1
    with pytest.raises(UsageError, match="catalogue"):
        fibcore.check(page, "tiny", hf_repo_id="a/b", sglang=tiny_source, registry=op_plugins)
