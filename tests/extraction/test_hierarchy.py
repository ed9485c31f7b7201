"""Plugins, models, hierarchies and provenance as the API gives them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fibcore.dataset.explanation import explain
from fibcore.errors import DatasetError, SourceError, UnknownModelError, UsageError
from fibcore.extraction.hierarchy import hierarchy, models, module_rows
from fibcore.extraction.run import extract
from fibcore.ops.registry import Registry, load_plugins
from fibcore.testing.trees import module, tree
from fibcore.workspace import plugins


def test_plugins_come_with_their_op_types(op_plugins: Registry) -> None:
    report = plugins(registry=op_plugins)
    assert [p.name for p in report.plugins] == ["gemm", "gqa", "mla", "moe", "rmsnorm"]
    owners = {o.name: o.plugin for o in report.op_types}
    assert owners["gqa_ragged"] == "gqa"
    json.dumps(report.to_dict())


def test_a_broken_plugin_is_listed_with_the_reason() -> None:
    class Bad:
        def fibcore_op_types(self) -> None:
            """No hook: it lacks the mark."""

    from fibcore.errors import PluginError

    with pytest.raises(PluginError, match="hookimpl"):
        load_plugins(extra={"bad": Bad()}, discover=False)


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


def test_explain(
    tiny_source: Path, tiny_config: Path, tmp_path: Path, op_plugins: Registry
) -> None:
    with pytest.raises(DatasetError, match="no dataset"):
        explain("rmsnorm_h64", dataset=tmp_path / "d")
    extract(
        "tiny",
        dataset=tmp_path / "d",
        sglang=str(tiny_source),
        config=tiny_config,
        registry=op_plugins,
    )
    found = explain("rmsnorm_h64", dataset=tmp_path / "d")
    assert found.provenance is not None
    (entry,) = found.provenance.entries
    assert entry.facts["hidden_size"].value == 64
    assert "config:hidden_size" in entry.facts["hidden_size"].origins
    assert json.loads(json.dumps(found.to_dict()))["provenance"][0]["layers"] == 1
    with pytest.raises(UsageError, match="rmsnorm_h64"):
        explain("rmsnorm_h6", dataset=tmp_path / "d")
    (tmp_path / "d/reports/provenance/rmsnorm_h64.json").unlink()
    assert explain("rmsnorm_h64", dataset=tmp_path / "d").provenance is None


def test_every_public_name_can_be_had() -> None:
    import fibcore

    assert set(fibcore.__all__) == {"__version__", *fibcore._WHERE}
    for name in fibcore.__all__:
        assert getattr(fibcore, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        fibcore.nonsense  # noqa: B018 - asking is the point
