"""A model's modules as the site shows them: names, parents, counts, definitions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

import fibcore
from fibcore.extraction.hierarchy import ModuleRow
from fibcore.ops.registry import Registry
from fibcore.web import AddModelReport
from fibcore.web.modules import WebModule, web_modules


def row(path: str, cls: str, count: int = 1, *, leaf: bool = True) -> ModuleRow:
    """A row as `hierarchy` gives it; `/` separates parts, which may hold dots."""
    parts = path.split("/")
    return ModuleRow(
        ".".join(parts), parts[-1], cls, count, len(parts) - 1, leaf, "sglang/srt/models/x.py:1"
    )


MIXED = (
    row("model", "TinyModel"),
    row("model/layers", "ModuleList"),
    row("model/layers/[0-1]", "TinyDecoderLayer", 2),
    row("model/layers/[0-1]/attn", "Attention", 2),
    row("model/layers/[0-1]/mlp", "TinyMLP", 2),
    row("model/layers/[0-1]/mlp/up", "Linear", 2),
    row("model/layers/[2-4,6]", "TinyDecoderLayer", 4),
    row("model/layers/[2-4,6]/attn", "Attention", 4),
    row("model/layers/[2-4,6]/mlp", "TinyMoE", 4),
    row("model/layers/[2-4,6]/mlp/experts", "ModuleList", 4),
    row("model/layers/[2-4,6]/mlp/experts/[0-7]", "TinyMLP", 32),
    row("model/layers/[2-4,6]/mlp/experts/[0-7]/up", "Linear", 32),
    row("model/norm", "RMSNorm"),
)


def named(modules: Iterable[WebModule]) -> dict[str, WebModule]:
    return {module.name: module for module in modules}


def test_repeated_layers_that_differ_are_blocks_of_their_own() -> None:
    modules, astray = web_modules("TinyForCausalLM", MIXED, {})
    assert astray == ()
    assert [(m.name, m.count, m.parent, m.type) for m in modules] == [
        ("TinyForCausalLM", 1, None, "block"),
        ("model", 1, "TinyForCausalLM", "block"),
        ("TinyDecoderLayer (MLP)", 2, "model", "block"),
        ("attn (MLP)", 2, "TinyDecoderLayer (MLP)", "layer"),
        ("mlp (MLP)", 2, "TinyDecoderLayer (MLP)", "block"),
        ("up (MLP)", 2, "mlp (MLP)", "layer"),
        ("TinyDecoderLayer (MoE)", 4, "model", "block"),
        ("attn (MoE)", 4, "TinyDecoderLayer (MoE)", "layer"),
        ("mlp (MoE)", 4, "TinyDecoderLayer (MoE)", "block"),
        ("TinyMLP", 32, "mlp (MoE)", "block"),
        ("up (TinyMLP)", 32, "TinyMLP", "layer"),
        ("norm", 1, "model", "layer"),
    ]


def test_counts_in_each_parent() -> None:
    modules = named(web_modules("TinyForCausalLM", MIXED, {}, counts="parent")[0])
    assert modules["TinyDecoderLayer (MoE)"].count == 4
    assert modules["attn (MoE)"].count == 1
    assert modules["TinyMLP"].count == 8
    assert modules["up (TinyMLP)"].count == 1


def test_definitions_are_with_the_modules_that_run_them() -> None:
    found, astray = web_modules(
        "TinyForCausalLM",
        MIXED,
        {
            "plain": ["model.layers.0.attn"],
            "other": ["model.layers.1.attn", "model.layers.6.attn", "model.norm"],
            "lost": ["model.layers.5.attn", "model.layers.0.attn.q"],
            "each": [f"model.layers.2.mlp.experts.{n}.up" for n in range(8)],
        },
    )
    modules = named(found)
    assert modules["attn (MLP)"].definitions == ("plain", "other", "lost")
    assert modules["attn (MoE)"].definitions == ("other",)
    assert modules["up (TinyMLP)"].definitions == ("each",)
    assert modules["norm"].definitions == ("other",)
    assert astray == ("model.layers.5.attn", "model.layers.0.attn.q")


def test_what_shares_a_name_is_told_apart_by_what_holds_it() -> None:
    rows = (
        row("encoder", "Encoder"),
        row("encoder/layers", "ModuleList"),
        row("encoder/layers/[0-2]", "Layer", 3),
        row("encoder/layers/[0-2]/norm", "Norm", 3),
        row("encoder/norm", "Norm"),
        row("decoder", "Decoder"),
        row("decoder/layers", "ModuleList"),
        row("decoder/layers/[0-2]", "Layer", 3),
        row("decoder/layers/[0-2]/norm", "Norm", 3),
        row("decoder/norm", "Norm"),
        row("a.b", "Norm"),
    )
    modules, astray = web_modules("M", rows, {"x": ["decoder.layers.2.norm", "a.b"]})
    names = [m.name for m in modules]
    assert names == [
        *("M", "encoder", "encoder.layers.Layer", "encoder.layers.Layer.norm", "encoder.norm"),
        *("decoder", "decoder.layers.Layer", "decoder.layers.Layer.norm", "decoder.norm", "a.b"),
    ]
    assert [m.name for m in modules if m.definitions] == ["decoder.layers.Layer.norm", "a.b"]
    assert not astray


def test_layers_that_lack_a_module_are_told_by_it() -> None:
    rows = (
        row("layers", "ModuleList"),
        row("layers/[0-1]", "Layer", 2),
        row("layers/[0-1]/rotary", "Rotary", 2),
        row("layers/2", "Layer"),
    )
    names = [m.name for m in web_modules("M", rows, {})[0]]
    assert names == ["M", "Layer (Rotary)", "rotary", "Layer (without Rotary)"]


@pytest.mark.parametrize(
    ("first", "second", "tags"),
    [
        ("[0-1]", "2", ["layers 0-1", "layers 2"]),
        (f"[{','.join(map(str, range(0, 60, 2)))}]", "1", ["kind 1", "kind 2"]),
    ],
)
def test_layers_whose_classes_do_not_tell_are_told_by_number(
    first: str, second: str, tags: list[str]
) -> None:
    rows = (
        row("layers", "ModuleList"),
        row(f"layers/{first}", "Layer", 2),
        row(f"layers/{first}/a", "A", 2),
        row(f"layers/{second}", "Layer"),
        row(f"layers/{second}/b", "A"),
    )
    names = [m.name for m in web_modules("M", rows, {})[0]]
    assert [n for n in names if n.startswith("Layer")] == [f"Layer ({tag})" for tag in tags]


@pytest.fixture
def add(
    tmp_path: Path, sglang: Callable[[str], Path], op_plugins: Registry
) -> Callable[[str], AddModelReport]:
    """Adds a model to an empty list, from a real SGLang source."""
    path = tmp_path / "models.ts"
    path.write_text("export const models: Model[] = []\n")

    def call(name: str) -> AddModelReport:
        return fibcore.add_new_model(
            name,
            web_dir=path,
            target_dir=tmp_path / "repos",
            sglang=str(sglang("0.5.9")),
            registry=op_plugins,
            dry_run=True,
        )

    return call


def test_deepseek_v3_has_3_dense_and_58_moe_layers(add: Callable[[str], AddModelReport]) -> None:
    report = add("deepseek_v3")
    modules = named(report.modules)
    assert modules["DeepseekV2DecoderLayer (MLP)"].count == 3
    assert modules["DeepseekV2DecoderLayer (MoE)"].count == 58
    assert modules["experts"].count == 58
    assert modules["experts"].definitions == (
        "moe_fp8_block_scale_ds_routing_topk8_ng8_kg4_e32_h7168_i2048",
        "per_token_group_quant_fp8_g128_k7168",
    )
    assert modules["fused_qkv_a_proj_with_mqa (MLP)"].parent == "self_attn (MLP)"
    assert modules["input_layernorm (MLP)"].definitions == (
        "rmsnorm_h7168",
        "fused_add_rmsnorm_h7168",
    )
    assert modules["lm_head"].parent == "DeepseekV3ForCausalLM"
    assert report.counts["definitions"] >= 33  # plugins to come add theirs
    assert report.exit_code == 0


def test_qwen3_30b_a3b_has_48_layers(add: Callable[[str], AddModelReport]) -> None:
    report = add("qwen3-30b-a3b")
    modules = named(report.modules)
    assert modules["Qwen3MoeDecoderLayer"].count == 48
    assert modules["qkv_proj"].definitions == ("gemm_n_5120_k_2048",)
    assert {m.count for m in report.modules} == {1, 48}
