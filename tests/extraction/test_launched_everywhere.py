"""Every function of the API that takes a serving takes a launch line and a GPU, alike."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fibcore
from fibcore.errors import UsageError
from fibcore.ops.registry import Registry

# 16 heads over four ranks, of which each has requests of its own: 16 on a rank, not 4.
LINE = "python -m sglang.launch_server --model-path small --tp 4 --dp 4 --enable-dp-attention"
CONFIG = {
    "architectures": ["Qwen3MoeForCausalLM"],
    "model_type": "qwen3_moe",
    "hidden_size": 512,
    "intermediate_size": 1024,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "num_hidden_layers": 1,
    "vocab_size": 1024,
    "max_position_embeddings": 1024,
    "rms_norm_eps": 1e-5,
    "torch_dtype": "bfloat16",
    "head_dim": 64,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 256,
    "norm_topk_prob": True,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
}
TAKES_BOTH = (
    "add_new_model", "check", "coverage", "diff", "export", "extract", "hierarchy", "run", "shapes",
    "sizes", "step", "survey",
)  # fmt: skip


@pytest.fixture
def asked(sglang: Callable[[str], Path], op_plugins: Registry, tmp_path: Path) -> dict[str, Any]:
    return {
        "sglang": sglang("0.5.9"),
        "registry": op_plugins,
        "dataset": tmp_path / "dataset",
        "launch": LINE,
    }


def heads(names: Any) -> set[str]:
    return {part for name in names if "gqa" in name for part in name.split("_") if part[0] == "h"}


@pytest.mark.parametrize("name", TAKES_BOTH)
def test_functions_take_a_launch_line_and_a_gpu(name: str) -> None:
    function = getattr(fibcore, name)
    assert {"launch", "gpu"} <= {*function.keywords, *inspect.signature(function).parameters}


def test_shapes(asked: dict[str, Any]) -> None:
    found = fibcore.shapes(config=CONFIG, op_type="gqa_paged", **asked)
    assert {shape.sizes["num_qo_heads"] for shape in found} == {16}
    alone = fibcore.shapes(config=CONFIG, op_type="gqa_paged", gpu="B200", **asked)
    assert {shape.tp for shape in alone} == {4}


def test_a_table_is_held_against_the_launch(asked: dict[str, Any], tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("num_qo_heads,num_kv_heads,head_dim\n16,8,64\n4,2,64\n", encoding="utf-8")
    found = fibcore.check(table, "small", config=CONFIG, op_type="gqa_paged", **asked)
    assert [verdict.state for verdict in found.verdicts] == ["right", "wrong"]


def test_step_and_export(asked: dict[str, Any]) -> None:
    (model,) = fibcore.step(config=CONFIG, gpu="B200", **asked).models
    assert "on B200" in model.label
    assert heads(kernel.what for one in model.steps for kernel in one.kernels) == {"h16"}
    exported = fibcore.export("shapes", config=CONFIG, op_type="gqa_paged", **asked)
    names = [row[4] for table in exported.tables for row in table.rows]
    assert heads(names) == {"h16"}


def test_modules(asked: dict[str, Any]) -> None:
    found = fibcore.hierarchy(config=CONFIG, **{k: asked[k] for k in ("sglang", "launch")})
    assert (found.tp, found.slug) == (4, "small")
    assert "--enable-dp-attention" in found.served


def test_two_launches_are_compared(asked: dict[str, Any]) -> None:
    both = ("--model-path small --tp 4", asked.pop("launch"))
    found = fibcore.diff(config=CONFIG, launch=both, op_type="gqa_paged", **asked)
    assert found.mode == "servings"
    (pair,) = found.models
    assert (heads(pair.vanish), heads(pair.appear)) == ({"h4"}, {"h16"})
    with pytest.raises(UsageError, match="exactly one thing has two sides"):
        fibcore.diff("a", config=(CONFIG, CONFIG), launch=both, **asked)


def test_a_survey_launches_every_model_alike(asked: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "small.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    found = fibcore.survey(
        configs=tmp_path / "configs", output=tmp_path / "out", gpu="B200", **asked
    )
    (row,) = found.rows
    assert (row.model, row.tp, row.ep) == ("small", 4, 1)
    assert heads(need.name for need in row.definitions) == {"h16"}
    assert found.served.endswith("on B200")


def test_sizes_of_a_launch_are_tried_as_it_stands_or_with_others(asked: dict[str, Any]) -> None:
    (only,) = fibcore.sizes(config=CONFIG, **asked).sizes
    assert (only.tp, only.ep, only.dp, only.works) == (4, 1, 4, True)
    several = fibcore.sizes(config=CONFIG, tp=(1, 2), ep=1, dp=1, **asked).sizes
    assert [(one.tp, one.dp) for one in several] == [(1, 1), (2, 1)]


def test_coverage_derives_a_recorded_launch_again(asked: dict[str, Any], tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps(CONFIG), encoding="utf-8")
    fibcore.extract(config=config, op_type="gqa_paged", gpu="B200", **asked)
    del asked["launch"]
    found = fibcore.coverage("small", config=config, dry_run=True, op_type="gqa_paged", **asked)
    (model,) = found.models
    assert [served for served in model.servings if "on B200" in served]
    launched = [need for need in model.needs if need.definition is not None]
    assert heads(need.name for need in launched) == {"h16"}
    commands = " ".join(model.commands)
    assert "--launch" not in commands  # what a plain serving needs besides is extracted plainly


def test_a_launch_that_needs_more_is_extracted_as_launched(asked: dict[str, Any]) -> None:
    found = fibcore.coverage("small", config=CONFIG, dry_run=True, op_type="gqa_paged", **asked)
    commands = " ".join(found.models[0].commands)
    assert "--launch '--dp-size 4 --enable-dp-attention --tp-size 4 --ep-size 1'" in commands


def test_a_launch_line_that_names_no_model(asked: dict[str, Any]) -> None:
    asked["launch"] = "--tp 2"
    for function in (fibcore.shapes, fibcore.step, fibcore.sizes):
        with pytest.raises(UsageError, match="no model is named"):
            function(**asked)


def test_a_model_of_the_site_is_described_as_launched(
    asked: dict[str, Any], tmp_path: Path
) -> None:
    site = tmp_path / "models.ts"
    site.write_text("export const models: Model[] = [\n]\n", encoding="utf-8")
    found = fibcore.add_new_model(web_dir=site, config=CONFIG, **asked)
    assert found.sizes == ((4, 1),)
    text = site.read_text(encoding="utf-8")
    assert "kernels at TP 4, EP 1, --dp-size 4 --enable-dp-attention" in text
    assert heads(text.replace('"', " ").split()) == {"h16"}
