"""Models and their hierarchies as the API gives them."""

from __future__ import annotations

from pathlib import Path

import pytest

from fibcore.errors import SourceError, UnknownModelError
from fibcore.extraction.hierarchy import hierarchy, models, module_rows
from fibcore.testing.trees import module, tree


def test_layers_that_differ_in_number_alone_are_one_row() -> None:
    def layer(index: int, kind: str) -> object:
        return module(
            f"layers.{index}", "x.Layer", children=[module(f"layers.{index}.mlp", f"x.{kind}")]
        )

    kinds = ["Dense", "Dense", "Sparse", "Dense", "Sparse", "Sparse"]
    made = tree(
        module(
            "layers",
            "torch.nn.ModuleList",
            children=[layer(i, kind) for i, kind in enumerate(kinds)],  # type: ignore[misc]
        ),
        module("head", "x.Head"),
    )
    rows = [(row.path, row.cls, row.count, row.depth) for row in module_rows(made)]
    assert rows == [
        ("layers", "ModuleList", 1, 0),
        ("layers.[0-1,3]", "Layer", 3, 1),
        ("layers.[0-1,3].mlp", "Dense", 3, 2),
        ("layers.[2,4-5]", "Layer", 3, 1),
        ("layers.[2,4-5].mlp", "Sparse", 3, 2),
        ("head", "Head", 1, 0),
    ]


def test_counts_of_nested_lists_multiply() -> None:
    made = tree(
        module(
            "a",
            "L",
            children=[
                module(f"a.{i}", "M", children=[module(f"a.{i}.{j}", "N") for j in range(3)])
                for i in range(2)
            ],
        )
    )
    assert {row.path: row.count for row in module_rows(made)} == {
        "a": 1,
        "a.[0-1]": 2,
        "a.[0-1].[0-2]": 6,
    }


def test_models_without_a_source_are_the_catalogue(tmp_path: Path) -> None:
    report = models(target_dir=tmp_path)
    assert {"llama-3.1-8b", "deepseek-v3"} <= {entry.slug for entry in report.catalogue}
    if report.files:
        pytest.skip("SGLang is installed here")
    assert "clone-repos" in report.source
    with pytest.raises(SourceError):
        models(target_dir=tmp_path, sglang=str(tmp_path))


def test_models_of_a_source_are_its_files(tiny_source: Path, tmp_path: Path) -> None:
    report = models(target_dir=tmp_path, sglang=str(tiny_source))
    assert report.files == {"tiny": ("TinyForCausalLM",)}
    assert "0.5.9" in report.source


def test_hierarchy_of_a_model(tiny_source: Path, tiny_config: Path) -> None:
    report = hierarchy("tiny", sglang=str(tiny_source), config=tiny_config, tp=2)
    assert (report.slug, report.tp, report.ep) == ("tiny", 2, 1)
    rows = {row.path: row for row in report.rows}
    assert rows["layers.[0-1].attn"].count == 2
    assert rows["layers.[0-1].attn"].leaf
    assert rows["layers.[0-1].attn"].place.startswith("sglang/srt/models/tiny.py:")
    assert report.exit_code == 0
    with pytest.raises(UnknownModelError):
        hierarchy("nonsense", sglang=str(tiny_source))


def test_a_file_whose_model_has_no_config_says_what_to_give(tiny_source: Path) -> None:
    with pytest.raises(UnknownModelError, match="--config FILE"):
        hierarchy("tiny", sglang=str(tiny_source))
