"""The matcher on hand-written trees that mirror what both SGLang versions construct."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import pytest
from mla_kit import deepseek, linear, radix_attention

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
from fibcore.testing.trees import TENSOR, call, module, tree
from fibcore_op_mla import fibcore_extract, matcher

UNKNOWN = Unknown("a branch could not be decided")


def extract(*modules: ModuleNode, config: Any = None, **serving: Any) -> Extraction:
    import attrs

    made = attrs.evolve(tree(*modules), config=config or {})
    return fibcore_extract(made, Serving(**{"tp": 8, **serving}))


def names(found: Extraction) -> list[str]:
    return [kernel.name for kernel in found.kernels]


def products(found: Extraction) -> list[str]:
    """The batched GEMMs that absorption makes of `kv_b_proj`."""
    return [gap.what for gap in found.not_covered if gap.what.startswith("batched GEMM")]


def gaps(found: Extraction) -> list[str]:
    """What is not covered beside those."""
    return [gap.what for gap in found.not_covered if gap.what not in products(found)]


def test_deepseek_v3_at_tp_8() -> None:
    found = extract(deepseek())
    assert names(found) == [
        "mla_paged_decode_h16_ckv512_kpe64_ps1",
        "mla_paged_decode_h16_ckv512_kpe64_ps64",
        "mla_paged_prefill_causal_h16_ckv512_kpe64_ps1",
        "mla_paged_prefill_causal_h16_ckv512_kpe64_ps64",
        "mla_ragged_prefill_causal_h16_qk192_vo128",
    ]
    assert [kernel.op_type for kernel in found.kernels] == ["mla_paged"] * 4 + ["mla_ragged"]
    assert found.claimed == {
        "model.layers.0.self_attn",  # of which the batched GEMMs are
        "model.layers.0.self_attn.attn_mqa",
        "model.layers.0.self_attn.attn_mha",
    }
    assert products(found) == [
        "batched GEMM b16_n512_k128 (absorbed query projection)",
        "batched GEMM b16_n128_k512 (absorbed value projection)",
    ]
    assert [use.path for use in found.not_covered[0].uses] == ["model.layers.0.self_attn"]
    assert gaps(found) == []
    assert found.problems == ()
    decode, ragged = found.kernels[0], found.kernels[-1]
    paged_api = "fi_api:flashinfer.mla.BatchMLAPagedAttentionWrapper"
    assert decode.tags == ("stage:decode", "tp:8", paged_api)
    assert found.kernels[2].tags == ("stage:prefill", "tp:8", paged_api)
    ragged_api = "fi_api:flashinfer.prefill.BatchPrefillWithRaggedKVCacheWrapper"
    assert ragged.tags == ("stage:prefill", "tp:8", ragged_api)
    assert [use.path for use in decode.uses] == ["model.layers.0.self_attn.attn_mqa"]
    assert [use.path for use in ragged.uses] == ["model.layers.0.self_attn.attn_mha"]


def test_the_scale_is_a_fact_with_its_yarn_factor() -> None:
    # DeepSeek-V3: 192**-0.5 times (0.1 ln 40 + 1)**2.
    scale = 192**-0.5 * (0.1 * math.log(40) + 1) ** 2
    origins = frozenset({"config:rope_scaling.factor"})
    found = extract(deepseek(scaling=with_origins(scale, origins)))
    for kernel in found.kernels:
        fact = kernel.facts["sm_scale"]
        assert fact.value == kernel.parameters["sm_scale"] == scale
        assert fact.origins == ("config:rope_scaling.factor",)
        assert "1 / sqrt(192) times 1.87385" in fact.note


def test_facts_prove_every_const_axis() -> None:
    rope = with_origins(64, frozenset({"config:qk_rope_head_dim"}))
    latent = with_origins(512, frozenset({"config:kv_lora_rank"}))
    both = frozenset({"config:kv_lora_rank", "config:qk_rope_head_dim"})
    heads = with_origins(16, frozenset({"config:num_attention_heads", "serving:tp"}))
    node = deepseek(
        mqa={
            "num_heads": heads,
            "head_dim": with_origins(latent + rope, both),
            "v_head_dim": latent,
        },
    )
    kernel = extract(node).kernels[1]
    assert {n: f.value for n, f in kernel.facts.items() if n != "sm_scale"} == {
        "num_qo_heads": 16,
        "head_dim_ckv": 512,
        "head_dim_kpe": 64,
        "page_size": 64,
    }
    assert kernel.facts["num_qo_heads"].origins == ("config:num_attention_heads", "serving:tp")
    assert kernel.facts["head_dim_ckv"].origins == ("config:kv_lora_rank",)
    assert kernel.facts["head_dim_kpe"].origins == (
        "config:kv_lora_rank",
        "config:qk_rope_head_dim",
    )
    assert kernel.facts["page_size"].origins == ("serving:page_sizes",)
    assert all(type(value) in (int, float, str) for value in kernel.parameters.values())


def test_page_sizes_and_stages_are_those_asked_for() -> None:
    found = extract(deepseek(), options={"page_size": (16,)}, stages=("decode",))
    assert names(found) == ["mla_paged_decode_h16_ckv512_kpe64_ps16"]
    assert len(found.claimed) == 3
    found = extract(deepseek(), options={"page_size": (16,)}, stages=("prefill",))
    assert names(found) == [
        "mla_paged_prefill_causal_h16_ckv512_kpe64_ps16",
        "mla_ragged_prefill_causal_h16_qk192_vo128",
    ]


def test_layers_with_the_same_sizes_are_one_kernel() -> None:
    found = extract(*(deepseek(f"model.layers.{i}.self_attn") for i in range(3)))
    assert len(found.kernels) == 5
    assert all(len(kernel.uses) == 3 for kernel in found.kernels)


def test_minicpm3_has_the_absorbed_form_alone() -> None:
    path = "model.layers.0.self_attn"
    node = module(
        path,
        "sglang.srt.models.minicpm3.MiniCPM3AttentionMLA",
        children=(
            linear(f"{path}.kv_a_proj_with_mqa", "ReplicatedLinear", 2560, 256 + 32),
            linear(f"{path}.kv_b_proj", "ColumnParallelLinear", 256, 40 * (64 + 64)),
            linear(f"{path}.o_proj", "RowParallelLinear", 40 * 64, 2560),
            radix_attention(
                f"{path}.attn",
                num_heads=40,
                head_dim=288,
                scaling=96**-0.5,
                num_kv_heads=1,
                v_head_dim=256,
            ),
        ),
    )
    found = extract(node, tp=1, options={"page_size": (1,)})
    assert names(found) == [
        "mla_paged_decode_h40_ckv256_kpe32_ps1",
        "mla_paged_prefill_causal_h40_ckv256_kpe32_ps1",
    ]
    # FlashInfer's kernels do not have these sizes.
    assert found.kernels[0].tags == ("stage:decode", "tp:1")
    assert found.kernels[0].facts["sm_scale"].note.endswith(": 0.102062073")


def test_equal_widths_of_the_materialised_form() -> None:
    # GLM-4.7-Flash: 192 + 64 and 256. By itself attn_mha looks like plain attention.
    found = extract(deepseek(heads=20, tp=1, nope=192, vo=256), tp=1, stages=("prefill",))
    assert names(found)[-1] == "mla_ragged_prefill_causal_h20_qk256_vo256"


def test_a_single_head_per_rank() -> None:
    found = extract(deepseek(heads=16, tp=16), tp=16, options={"page_size": (1,)})
    assert names(found) == [
        "mla_paged_decode_h1_ckv512_kpe64_ps1",
        "mla_paged_prefill_causal_h1_ckv512_kpe64_ps1",
        "mla_ragged_prefill_causal_h1_qk192_vo128",
    ]


def test_a_pair_shows_latent_attention_without_the_projection() -> None:
    # Kimi-K3 with GGUF weights holds the parts of kv_b_proj as parameters.
    node = deepseek()
    pair = [child for child in node.children.values() if child.is_a("RadixAttention")]
    found = extract(module(node.path, node.cls, children=pair), options={"page_size": (1,)})
    assert len(found.kernels) == 3


def test_decode_context_parallelism_has_a_layer_with_more_heads() -> None:
    path = "model.layers.0.self_attn"
    extra = radix_attention(
        f"{path}.attn_mqa_for_dcp_decode",
        num_heads=32,
        head_dim=576,
        scaling=192**-0.5,
        num_kv_heads=1,
        v_head_dim=512,
    )
    found = extract(deepseek(more=(extra,)), options={"page_size": (1,)}, stages=("decode",))
    assert names(found) == [
        "mla_paged_decode_h16_ckv512_kpe64_ps1",
        "mla_paged_decode_h32_ckv512_kpe64_ps1",
    ]


def llama(**arguments: Any) -> ModuleNode:
    path = "model.layers.0.self_attn"
    made = {"num_heads": 32, "head_dim": 128, "scaling": 1.0, "num_kv_heads": 8, **arguments}
    return module(
        path,
        "sglang.srt.models.llama.LlamaAttention",
        children=(
            module(f"{path}.qkv_proj", "sglang.srt.layers.linear.QKVParallelLinear"),
            linear(f"{path}.o_proj", "RowParallelLinear", 4096, 4096),
            radix_attention(f"{path}.attn", **made),
        ),
    )


@pytest.mark.parametrize(
    "arguments",
    [{}, {"num_kv_heads": 1}, {"v_head_dim": 128}, {"v_head_dim": None}, {"num_kv_heads": 32}],
)
def test_grouped_query_attention_is_left_alone(arguments: dict[str, Any]) -> None:
    assert extract(llama(**arguments)) == Extraction()


@pytest.mark.parametrize("kv_heads", [1, 4])
def test_two_widths_that_are_not_latent_are_named(kv_heads: int) -> None:
    # MiMo-V2-Flash: 192 and 128 with 4 KV heads, of which a rank of 4 has one.
    found = extract(llama(head_dim=192, v_head_dim=128, num_kv_heads=kv_heads))
    assert found.kernels == ()
    assert gaps(found) == [f"attention h32 kv{kv_heads} with head_dim 192 and v_head_dim 128"]
    assert found.claimed == {"model.layers.0.self_attn.attn"}


def test_windows_and_sinks_of_two_widths_are_in_the_name() -> None:
    # The local layers of MiMo-V2-Flash: 128 keys, a sink a head.
    sinks = [call(TENSOR, TENSOR, TENSOR, TENSOR, sinks=ParameterRef("sinks", (32,)))]
    found = extract(
        llama(head_dim=192, v_head_dim=128, num_kv_heads=8, sliding_window_size=127, calls=sinks)
    )
    (gap,) = gaps(found)
    assert gap.startswith("attention h32 kv8 with head_dim 192 and v_head_dim 128 ")
    assert gap.endswith("with sliding window 128 with attention sinks")


def test_sinks_that_are_not_known_are_a_problem() -> None:
    unknown = [call(TENSOR, TENSOR, TENSOR, TENSOR, sinks=UNKNOWN)]
    found = extract(deepseek(mqa={"calls": unknown}))
    assert "mla_paged" not in " ".join([*names(found), *gaps(found)])
    assert [problem.what for problem in found.problems] == ["sinks of an attention layer"]
    nothing = [call(TENSOR, TENSOR, TENSOR, TENSOR, sinks=None)]
    assert len(extract(deepseek(mqa={"calls": nothing})).kernels) == 5


def test_absorbed_products_without_a_materialised_layer() -> None:
    # MiniCPM3: no attn_mha; the module itself knows the sizes before absorption.
    def block(**attributes: Any) -> ModuleNode:
        path = "model.layers.0.self_attn"
        return module(
            path,
            "sglang.srt.models.minicpm3.MiniCPM3AttentionMLA",
            attributes=attributes,
            children=(
                linear(f"{path}.kv_b_proj", "ColumnParallelLinear", 256, 40 * (64 + 64)),
                radix_attention(
                    f"{path}.attn",
                    num_heads=40,
                    head_dim=288,
                    num_kv_heads=1,
                    v_head_dim=256,
                    scaling=96**-0.5,
                ),
            ),
        )

    assert products(extract(block(qk_nope_head_dim=64, v_head_dim=64), tp=1)) == [
        "batched GEMM b40_n256_k64 (absorbed query projection)",
        "batched GEMM b40_n64_k256 (absorbed value projection)",
    ]
    assert products(extract(block(), tp=1)) == [
        "batched GEMM (absorbed query projection)",
        "batched GEMM (absorbed value projection)",
    ]


def test_an_odd_layer_beside_latent_attention_is_named() -> None:
    extra = radix_attention(
        "model.layers.0.self_attn.other",
        num_heads=16,
        head_dim=128,
        scaling=1.0,
        num_kv_heads=4,
    )
    found = extract(deepseek(more=(extra,)))
    assert len(found.kernels) == 5
    (gap,) = gaps(found)
    assert gap.startswith("attention with 16 query heads, 4 KV heads, head_dim 128 and v_head_dim")
    assert gap.endswith("beside latent attention")


def indexer(path: str = "model.layers.0.self_attn.indexer") -> ModuleNode:
    arguments = {"index_n_heads": 64, "index_head_dim": 128, "index_topk": 2048}
    return module(path, "sglang.srt.layers.attention.nsa.nsa_indexer.Indexer", arguments)


@pytest.mark.parametrize("switch", ["use_nsa", "use_dsa"])
def test_sparse_attention_is_not_the_plain_one(switch: str) -> None:
    own = deepseek(attributes={switch: True}, more=(indexer(),))
    # A later layer that uses the keys that the one before it chose.
    borrowed = deepseek("model.layers.1.self_attn", attributes={switch: True, "indexer": None})
    found = extract(own, borrowed)
    assert names(found) == ["mla_ragged_prefill_causal_h16_qk192_vo128"]
    assert "too short" in found.kernels[0].notes[0]
    # The absorbed layers and the indexer are another plugin's.
    assert gaps(found) == []
    assert not any("mqa" in path or "indexer" in path for path in found.claimed)


def test_an_indexer_alone_shows_sparse_attention() -> None:
    kpool = module(
        "model.layers.0.self_attn.indexer",
        "sglang.srt.layers.attention.dsa.dsa_indexer_kpool.IndexerKPool",
        {"index_topk": UNKNOWN},
    )
    found = extract(deepseek(more=(kpool,)))
    assert names(found) == ["mla_ragged_prefill_causal_h16_qk192_vo128"]
    assert gaps(found) == []


def test_an_undecided_switch_is_a_problem() -> None:
    found = extract(deepseek(attributes={"use_dsa": Alternatives((True, False))}))
    assert found.kernels == ()
    assert {p.what for p in found.problems} == {"use_dsa of an attention module"}


def test_a_switch_that_is_off_is_plain() -> None:
    assert len(extract(deepseek(attributes={"use_nsa": False})).kernels) == 5


@pytest.mark.parametrize(
    ("arguments", "phrase"),
    [
        ({"sliding_window_size": 511}, "with sliding window 512"),
        ({"logit_cap": 30.0}, "with logit cap 30"),
        ({"logit_cap": 30.0, "logit_capping_method": "cap"}, "with logit cap 30 (cap)"),
        ({"is_cross_attention": True}, "as cross attention"),
        ({"attn_type": Named("AttentionType.ENCODER_ONLY")}, "of type encoder_only"),
        ({"use_irope": True}, "with chunked local attention"),
        ({"pos_encoding_mode": "ALIBI"}, "with position encoding ALIBI inside"),
        ({"calls": (call(TENSOR, sinks=ParameterRef("s", (16,))),)}, "with attention sinks"),
        ({"calls": (call(TENSOR, attn_sink=TENSOR),)}, "with attention sinks"),
        (
            {"logit_cap": 5, "sliding_window_size": 7},
            "with sliding window 8 and with logit cap 5",
        ),
    ],
)
def test_variants_are_named(arguments: dict[str, Any], phrase: str) -> None:
    found = extract(deepseek(both=arguments))
    assert found.kernels == ()
    assert gaps(found) == [f"mla_paged {phrase}", f"mla_ragged {phrase}"]
    assert len(found.claimed) == 3


@pytest.mark.parametrize(
    "arguments",
    [
        {"sliding_window_size": 0},
        {"sliding_window_size": None},
        {"logit_cap": None},
        {"attn_type": Named("sglang.srt.layers.radix_attention.AttentionType.DECODER")},
        {"calls": (call(TENSOR, TENSOR, sinks=None, k_rope=TENSOR),)},
    ],
)
def test_settings_that_change_nothing(arguments: dict[str, Any]) -> None:
    found = extract(deepseek(both=arguments))
    assert len(found.kernels) == 5
    assert found.problems == ()


def test_sinks_kept_beside_the_layer() -> None:
    # HunYuan-V4: learnable_sink_param of the attention module.
    sink = {"learnable_sink_param": ParameterRef("m.learnable_sink_param", (16,), "float32")}
    found = extract(deepseek(attributes=sink))
    assert gaps(found) == ["mla_paged with attention sinks", "mla_ragged with attention sinks"]


def test_what_a_model_assigned_later_wins() -> None:
    found = extract(deepseek(mqa={"attributes": {"sliding_window_size": 64}}))
    assert gaps(found) == ["mla_paged with sliding window 65"]


@pytest.mark.parametrize(
    "config",
    [
        {"quantization_config": {"kv_cache_quant_algo": "FP8"}},
        {"quantization_config": {"quantization": {"kv_cache_quant_algo": "fp8"}}},
        {
            "text_config": {
                "quantization_config": {
                    "quant_algo": "NVFP4",
                    "kv_cache_scheme": {"type": "float", "num_bits": 8},
                }
            }
        },
    ],
)
def test_a_quantised_latent_cache_is_another_kernel(config: dict[str, Any]) -> None:
    found = extract(deepseek(), config=config, options={"page_size": (64,)})
    assert names(found) == [
        "mla_paged_decode_h16_ckv512_kpe64_ps64_fp8kv",
        "mla_paged_prefill_causal_h16_ckv512_kpe64_ps64_fp8kv",
        "mla_ragged_prefill_causal_h16_qk192_vo128",
    ]
    assert gaps(found) == []
    assert "quantization:float8_e4m3fn" in found.kernels[0].tags
    assert "quantization:float8_e4m3fn" not in found.kernels[2].tags


@pytest.mark.parametrize(
    ("dtype", "name"), [("float8_e5m2", "fp8e5m2kv"), ("nvfp4", None), (None, "")]
)
def test_other_caches_have_other_names_or_none(
    monkeypatch: pytest.MonkeyPatch, dtype: str | None, name: str | None
) -> None:
    monkeypatch.setattr(matcher, "kv_cache_dtype", lambda _: dtype)
    found = extract(deepseek(), options={"page_size": (64,)}, stages=("decode",))
    if name is None:
        assert gaps(found) == ["mla_paged with nvfp4 KV cache"]
        return
    end = name and f"_{name}"
    assert names(found) == [f"mla_paged_decode_h16_ckv512_kpe64_ps64{end}"]


def test_fp8_weights_do_not_quantise_the_cache() -> None:
    config = {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}
    assert len(extract(deepseek(), config=config).kernels) == 5


@pytest.mark.parametrize("value", [UNKNOWN, Alternatives((8, 16)), None, 0, True, "16"])
def test_a_size_that_is_not_known_is_a_problem(value: Any) -> None:
    found = extract(deepseek(both={"num_heads": value}))
    assert found.kernels == ()
    assert [p.what for p in found.problems] == ["num_heads of an attention layer"]
    assert len(found.problems[0].uses) == len(found.claimed) == 2


def test_unknown_width_of_values_is_a_problem() -> None:
    found = extract(deepseek(mqa={"v_head_dim": UNKNOWN}))
    assert found.kernels == ()
    assert [p.what for p in found.problems] == [
        "v_head_dim of an attention layer",
        "an attention layer",
    ]
    assert "a branch could not be decided" in found.problems[0].reason


def test_unknown_sizes_of_grouped_query_attention_are_left_to_its_plugin() -> None:
    assert extract(llama(num_heads=UNKNOWN)) == Extraction()


@pytest.mark.parametrize("value", [UNKNOWN, Alternatives((0.1, 0.2)), None, -1.0, math.nan, "x"])
def test_an_unknown_scale_is_a_problem_beside_the_kernels(value: Any) -> None:
    # The scale is an input, so that the kernels are what they are without it.
    found = extract(deepseek(scaling=value))
    assert len(found.kernels) == 5
    assert "sm_scale" not in found.kernels[0].facts
    assert [p.what for p in found.problems] == ["scaling of an attention layer"]
    assert len(found.problems[0].uses) == 2


def test_scales_that_differ_are_noted() -> None:
    nodes = [deepseek("a"), deepseek("b", scaling=0.1)]
    found = extract(*nodes)
    assert len(found.kernels) == 5
    assert found.kernels[0].parameters["sm_scale"] == 0.1352337788608801
    assert found.kernels[0].notes == ("sm_scale is 0.1352337788608801 here, 0.1 at b.attn_mqa",)


@pytest.mark.parametrize("setting", ["sliding_window_size", "logit_cap", "attn_type"])
def test_unknown_settings_are_problems(setting: str) -> None:
    found = extract(deepseek(both={setting: UNKNOWN}))
    assert found.kernels == ()
    assert [p.what for p in found.problems] == [f"{setting} of an attention layer"]


def test_matching_and_defining_need_no_torch() -> None:
    code = (
        "import sys, fibcore_op_mla as plugin\n"
        "from fibcore.plugin import Serving\n"
        "from fibcore.testing.trees import tree\n"
        "plugin.fibcore_extract(tree(), Serving())\n"
        "import fibcore_op_mla.definitions, fibcore_op_mla.ground_truths\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 - our own code
