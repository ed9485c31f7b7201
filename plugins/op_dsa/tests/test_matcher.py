"""The matcher on hand-written trees that mirror what both SGLang versions construct."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from fibcore.plugin import (
    Alternatives,
    Extraction,
    ModuleNode,
    Named,
    ParameterRef,
    Serving,
    Unknown,
    with_origins,
)
from fibcore.testing.sglang_modules import radix_attention
from fibcore.testing.trees import TENSOR, call, module, tree
from fibcore_op_dsa import fibcore_extract

Make = Callable[..., ModuleNode]
UNKNOWN = Unknown("a branch could not be decided")


def extract(*nodes: ModuleNode, **options: Any) -> Extraction:
    return fibcore_extract(tree(*nodes), Serving(tp=8, options=options))


def names(found: Extraction) -> list[str]:
    return [kernel.name for kernel in found.kernels]


def test_deepseek_v32_at_tp_8(layer: Make) -> None:
    found = extract(layer())
    assert names(found) == [
        "dsa_sparse_attention_h16_ckv512_kpe64_topk2048_ps1",
        "dsa_sparse_attention_h16_ckv512_kpe64_topk2048_ps64",
        "dsa_topk_indexer_fp8_h64_d128_topk2048_ps64",
    ]
    assert {kernel.op_type for kernel in found.kernels} == {"dsa_paged"}
    api = "fi_api:flashinfer.mla.BatchMLAPagedAttentionWrapper"
    assert found.kernels[0].tags == ("sparse:topk", "tp:8", api)
    assert found.kernels[2].tags == ("stage:indexer", "quantization:float8_e4m3fn")
    # The materialised layer is plain attention and another plugin's.
    assert found.claimed == {
        "model.layers.0.self_attn.attn_mqa",
        "model.layers.0.self_attn.indexer",
    }
    assert not found.not_covered
    assert not found.problems


@pytest.mark.parametrize("switch", ["use_nsa", "use_dsa"])
def test_a_layer_without_an_indexer_has_the_choice_of_the_one_before(
    layer: Make, switch: str
) -> None:
    first = layer("model.layers.0.self_attn", attributes={switch: True})
    second = layer(
        "model.layers.1.self_attn", indexer=False, attributes={switch: True, "indexer": None}
    )
    found = extract(first, second, page_size=(64,))
    assert [use.path for use in found.kernels[0].uses] == [
        "model.layers.0.self_attn.attn_mqa",
        "model.layers.1.self_attn.attn_mqa",
    ]
    assert [use.path for use in found.kernels[1].uses] == ["model.layers.0.self_attn.indexer"]
    alone = extract(second)
    assert not alone.kernels
    assert "no indexer" in alone.problems[0].reason


def test_an_indexer_shows_sparse_attention_without_a_switch(layer: Make) -> None:
    assert len(extract(layer(attributes={})).kernels) == 3


def test_latent_attention_to_all_keys_is_left_alone(layer: Make) -> None:
    assert extract(layer(indexer=False, attributes={"use_dsa": False})) == Extraction()
    attention = radix_attention("a.attn", num_heads=8, head_dim=64, num_kv_heads=8, scaling=0.1)
    assert extract(
        module("a", "sglang.srt.models.llama.LlamaAttention", children=(attention,))
    ) == (Extraction())


def test_facts_prove_every_const_axis(layer: Make, indexer: Make) -> None:
    rope = with_origins(64, frozenset({"config:qk_rope_head_dim"}))
    latent = with_origins(512, frozenset({"config:kv_lora_rank"}))
    both = frozenset({"config:kv_lora_rank", "config:qk_rope_head_dim"})
    topk = with_origins(1024, frozenset({"config:index_topk"}))
    index_dim = with_origins(128, frozenset({"config:index_head_dim"}))
    node = layer(
        mqa={"head_dim": with_origins(latent + rope, both), "v_head_dim": latent},
        indexer=indexer(index_topk=topk, index_head_dim=index_dim),
    )
    attention, chosen = extract(node, page_size=(16,)).kernels
    values = {n: f.value for n, f in attention.facts.items() if n != "sm_scale"}
    assert values == {
        "num_qo_heads": 16,
        "head_dim_ckv": 512,
        "head_dim_kpe": 64,
        "topk": 1024,
        "page_size": 16,
    }
    assert attention.facts["head_dim_ckv"].origins == ("config:kv_lora_rank",)
    assert attention.facts["head_dim_kpe"].origins == (
        "config:kv_lora_rank",
        "config:qk_rope_head_dim",
    )
    assert attention.facts["topk"].origins == ("config:index_topk",)
    assert attention.facts["page_size"].origins == ("serving:page_sizes",)
    # The cache of index keys has pages of 64 tokens, whatever the other one has.
    assert {n: f.value for n, f in chosen.facts.items()} == {
        "num_index_heads": 64,
        "index_head_dim": 128,
        "topk": 1024,
        "page_size": 64,
        "kv_cache_num_heads": 1,
        "head_dim_with_scale": 132,
    }
    assert chosen.facts["head_dim_with_scale"].origins == ("config:index_head_dim",)
    assert all(type(v) in (int, float, str) for v in attention.parameters.values())


def test_other_head_sizes_have_no_kernel_of_flashinfer(layer: Make) -> None:
    kernel = extract(layer(latent=256)).kernels[0]
    assert kernel.name == "dsa_sparse_attention_h16_ckv256_kpe64_topk2048_ps1"
    assert kernel.tags == ("sparse:topk", "tp:8")


def test_scales_that_differ_are_noted(layer: Make) -> None:
    found = extract(layer("a"), layer("b", scaling=0.1), page_size=(64,))
    assert found.kernels[0].notes == ("sm_scale is 0.1352337788608801 here, 0.1 at b.attn_mqa",)


@pytest.mark.parametrize(
    ("changed", "phrase"),
    [
        ({"sliding_window_size": 127}, "with sliding_window_size 127"),
        ({"logit_cap": 50.0}, "with logit_cap 50.0"),
        ({"is_cross_attention": True}, "with is_cross_attention True"),
        ({"attn_type": "encoder_only"}, "of type encoder_only"),
        ({"attn_type": Named("x.AttentionType.ENCODER")}, "of type x.AttentionType.ENCODER"),
        ({"calls": (call(TENSOR, sinks=ParameterRef("s", (16,))),)}, "with attention sinks"),
        ({"calls": (call(TENSOR, attn_sink=TENSOR),)}, "with attention sinks"),
    ],
)
def test_variants_are_named(layer: Make, changed: dict[str, Any], phrase: str) -> None:
    found = extract(layer(mqa=changed))
    assert [gap.what for gap in found.not_covered] == [f"dsa sparse attention {phrase}"]
    assert [kernel.name[:11] for kernel in found.kernels] == ["dsa_topk_in"]


@pytest.mark.parametrize(
    "changed",
    [
        {"sliding_window_size": 0},
        {"logit_cap": None},
        {"attn_type": Named("x.AttentionType.DECODER")},
        {"calls": (call(TENSOR, sinks=None),)},
    ],
)
def test_settings_that_change_nothing(layer: Make, changed: dict[str, Any]) -> None:
    assert len(extract(layer(mqa=changed)).kernels) == 3


def test_sinks_kept_beside_the_layer(layer: Make) -> None:
    sink = {"use_dsa": True, "learnable_sink_param": ParameterRef("m.sink", (16,), "float32")}
    found = extract(layer(attributes=sink))
    assert [gap.what for gap in found.not_covered] == ["dsa sparse attention with attention sinks"]


def test_pools_of_keys_are_named(layer: Make, indexer: Make) -> None:
    found = extract(layer(indexer=indexer(cls="IndexerKPool")))
    assert not found.kernels
    assert [gap.what for gap in found.not_covered] == [
        "dsa sparse attention to pools of keys",
        "dsa top-k indexer over pools of keys",
    ]


def test_an_indexer_of_compressed_keys_is_the_same_choice() -> None:
    sizes = {"n_heads": 64, "head_dim": 128, "index_topk": 512}
    cls = "sglang.srt.layers.attention.dsv4.indexer.C4Indexer"
    made = module("layers.2.self_attn.indexer", cls, attributes=sizes, leaf=False)
    (kernel,) = extract(made).kernels
    assert kernel.name == "dsa_topk_indexer_fp8_h64_d128_topk512_ps64"
    in_fp4 = attrs.evolve(made, attributes={**sizes, "use_fp4_indexer": True})
    (gap,) = extract(in_fp4).not_covered
    assert gap.what == "dsa top-k indexer in FP4"


def test_a_cache_that_the_server_is_told_to_quantise_is_another_kernel(layer: Make) -> None:
    made = attrs.evolve(tree(layer()), kv_cache_dtype="fp8_e4m3")
    found = fibcore_extract(made, Serving(tp=8))
    assert not found.not_covered
    # Prefill calls the same kernel, and it has one size of pages.
    assert [kernel.name for kernel in found.kernels] == [
        "dsa_sparse_attention_fp8_block_scale_h16_ckv512_kpe64_topk2048_ps64",
        "dsa_topk_indexer_fp8_h64_d128_topk2048_ps64",
    ]
    kernel = found.kernels[0]
    assert kernel.parameters["kv_dim"] == 656
    assert kernel.tags == ("sparse:topk", "tp:8", "quantization:float8_e4m3fn")
    assert kernel.choice == fibcore_extract(tree(layer()), Serving()).kernels[0].choice
    (gap,) = fibcore_extract(made, Serving(gpu="B200")).not_covered
    assert gap.what == "dsa sparse attention with float8_e4m3fn KV cache"
    odd = attrs.evolve(tree(layer(latent=320)), kv_cache_dtype="fp8_e4m3")
    (gap,) = fibcore_extract(odd, Serving()).not_covered
    assert gap.what == "dsa sparse attention with scales of 128 of 320 elements"
    other = attrs.evolve(made, kv_cache_dtype="fp8_e5m2")
    (gap,) = fibcore_extract(other, Serving()).not_covered
    assert gap.what == "dsa sparse attention with float8_e5m2 KV cache"
    # Left to itself it has bfloat16, also where a checkpoint asks for fp8.
    config = {"quantization_config": {"kv_cache_quant_algo": "FP8"}}
    for changes in ({"kv_cache_dtype": "bfloat16"}, {"config": config}):
        assert len(fibcore_extract(attrs.evolve(tree(layer()), **changes), Serving()).kernels) == 3


def test_keys_that_are_always_chosen_are_named(layer: Make, indexer: Make) -> None:
    forced = indexer(attributes={"num_init_tokens": 16, "num_local_tokens": 0})
    found = extract(layer(indexer=forced))
    assert [gap.what for gap in found.not_covered] == ["dsa top-k indexer with num_init_tokens 16"]
    unknown = extract(layer(indexer=indexer(attributes={"num_local_tokens": UNKNOWN})))
    assert [problem.what for problem in unknown.problems] == ["dsa top-k indexer"]


@pytest.mark.parametrize("value", [UNKNOWN, Alternatives((8, 16)), 0, True, "16"])
def test_sizes_that_are_not_known_are_problems(layer: Make, indexer: Make, value: Any) -> None:
    found = extract(layer(mqa={"num_heads": value}))
    assert [problem.what for problem in found.problems] == ["sparse attention"]
    for name in ("index_n_heads", "index_head_dim", "index_topk"):
        problems = extract(layer(indexer=indexer(**{name: value}))).problems
        assert problems[-1].what == "dsa top-k indexer"
        assert name in problems[-1].reason


@pytest.mark.parametrize("name", ["v_head_dim", "sliding_window_size", "logit_cap", "attn_type"])
def test_settings_that_are_not_known_are_problems(layer: Make, name: str) -> None:
    found = extract(layer(mqa={name: UNKNOWN}))
    assert [problem.what for problem in found.problems] == ["sparse attention"]
    assert name in found.problems[0].reason


def test_a_switch_that_is_not_known_is_a_problem(layer: Make) -> None:
    found = extract(layer(indexer=False, attributes={"use_dsa": UNKNOWN}))
    assert {problem.what for problem in found.problems} == {"sparse attention"}


@pytest.mark.parametrize("value", [UNKNOWN, None, -1.0, math.nan, True, "x"])
def test_an_unknown_scale_is_a_problem_beside_the_kernels(layer: Make, value: Any) -> None:
    found = extract(layer(mqa={"scaling": value}))
    assert len(found.kernels) == 3
    assert "sm_scale" not in found.kernels[0].facts
    assert [problem.what for problem in found.problems] == ["scaling of sparse attention"]


def test_matching_and_defining_need_no_torch() -> None:
    code = (
        "import sys, fibcore_op_dsa as plugin\n"
        "from fibcore.plugin import Serving\n"
        "from fibcore.testing.trees import tree\n"
        "plugin.fibcore_extract(tree(), Serving())\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 - our own code
