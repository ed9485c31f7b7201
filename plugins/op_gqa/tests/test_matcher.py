"""From hand-written trees, as SGLang's constructors make them, to kernels."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from fibcore.plugin import (
    Alternatives,
    Extraction,
    ModelTree,
    Named,
    ParameterRef,
    Serving,
    Unknown,
    with_origins,
)
from fibcore.testing.trees import TENSOR, call, module, operation, tree
from fibcore_op_gqa import fibcore_extract

PLAIN = call(TENSOR, TENSOR, TENSOR, TENSOR)


def names(found: Extraction) -> list[str]:
    return [kernel.name for kernel in found.kernels]


def whats(found: Extraction) -> list[str]:
    return [entry.what for entry in found.not_covered]


def with_config(model: ModelTree, **config: Any) -> ModelTree:
    return attrs.evolve(model, config=config)


def test_llama_gives_decode_paged_prefill_and_ragged_prefill(attention: Any) -> None:
    layers = [attention(f"model.layers.{i}.self_attn.attn", calls=[PLAIN]) for i in range(3)]
    found = fibcore_extract(tree(*layers), Serving())
    assert names(found) == [
        "gqa_paged_decode_h32_kv8_d128_ps1",
        "gqa_paged_decode_h32_kv8_d128_ps64",
        "gqa_paged_prefill_causal_h32_kv8_d128_ps1",
        "gqa_paged_prefill_causal_h32_kv8_d128_ps64",
        "gqa_ragged_prefill_causal_h32_kv8_d128",
    ]
    assert [k.op_type for k in found.kernels] == ["gqa_paged"] * 4 + ["gqa_ragged"]
    assert not any(k.notes for k in found.kernels)
    assert all([u.path for u in k.uses] == [n.path for n in layers] for k in found.kernels)
    assert found.claimed == {n.path for n in layers}
    assert not found.not_covered
    assert not found.problems


def test_tags_name_stage_tp_and_flashinfer_wrapper(attention: Any) -> None:
    found = fibcore_extract(tree(attention(num_heads=16, num_kv_heads=2)), Serving(tp=4))
    tags = {k.name: k.tags for k in found.kernels}
    wrapper = "fi_api:flashinfer.{}.{}KVCacheWrapper"
    assert tags["gqa_paged_decode_h16_kv2_d128_ps1"] == (
        "stage:decode",
        "tp:4",
        wrapper.format("decode", "BatchDecodeWithPaged"),
    )
    assert tags["gqa_paged_prefill_causal_h16_kv2_d128_ps64"] == (
        "stage:prefill",
        "tp:4",
        wrapper.format("prefill", "BatchPrefillWithPaged"),
    )
    assert tags["gqa_ragged_prefill_causal_h16_kv2_d128"] == (
        "stage:prefill",
        "tp:4",
        wrapper.format("prefill", "BatchPrefillWithRagged"),
    )


@pytest.mark.parametrize(
    ("stages", "page_sizes", "expected"),
    [
        (("decode",), (16,), ["gqa_paged_decode_h32_kv8_d128_ps16"]),
        (("prefill",), (), ["gqa_ragged_prefill_causal_h32_kv8_d128"]),
        ((), (1, 64), []),
    ],
)
def test_stages_and_page_sizes_come_from_serving(
    attention: Any, stages: tuple[str, ...], page_sizes: tuple[int, ...], expected: list[str]
) -> None:
    found = fibcore_extract(
        tree(attention()), Serving(stages=stages, options={"page_size": page_sizes})
    )
    assert names(found) == expected


def test_facts_prove_every_const_axis(attention: Any) -> None:
    heads = with_origins(32, frozenset({"config:num_attention_heads", "serving:tp"}))
    head_dim = with_origins(128, frozenset({"config:head_dim"}))
    found = fibcore_extract(tree(attention(num_heads=heads, head_dim=head_dim)), Serving())
    facts = found.kernels[0].facts
    assert facts["num_qo_heads"].origins == ("config:num_attention_heads", "serving:tp")
    assert facts["head_dim"].origins == ("config:head_dim",)
    assert facts["page_size"].origins == ("serving:page_sizes",)
    assert {n: f.value for n, f in facts.items()} == {
        "num_qo_heads": 32,
        "num_kv_heads": 8,
        "head_dim": 128,
        "page_size": 1,
        "sm_scale": 128**-0.5,
    }
    assert all(type(f.value) in (int, float) for f in facts.values())
    assert "1 / sqrt(head_dim)" in facts["sm_scale"].note
    assert "page_size" not in found.kernels[-1].facts  # the ragged kernel has no pages


def test_another_scale_is_the_same_kernel(attention: Any) -> None:
    found = fibcore_extract(tree(attention("a"), attention("b", scaling=0.5)), Serving())
    assert len(found.kernels) == 5
    assert any("sm_scale" in note for note in found.kernels[0].notes)


def test_unknown_scale_does_not_matter(attention: Any) -> None:
    found = fibcore_extract(tree(attention(scaling=Unknown("computed"))), Serving())
    assert len(found.kernels) == 5
    assert "sm_scale" not in found.kernels[0].facts


@pytest.mark.parametrize(
    ("arguments", "suffix", "parameters"),
    [
        ({"sliding_window_size": 4095}, "_swa4096", {"sliding_window": 4096}),
        ({"logit_cap": 50.0}, "_cap50", {"logit_cap": 50.0}),
        ({"logit_cap": 30}, "_cap30", {"logit_cap": 30.0}),
        ({"logit_cap": 12.5}, "_cap12p5", {"logit_cap": 12.5}),
        (
            {"sliding_window_size": 4095, "logit_cap": 50.0},
            "_swa4096_cap50",
            {"sliding_window": 4096, "logit_cap": 50.0},
        ),
        ({"attributes": {"sliding_window_size": 511}}, "_swa512", {"sliding_window": 512}),
    ],
)
def test_a_window_and_a_cap_are_kernels_of_their_own(
    attention: Any, arguments: dict[str, Any], suffix: str, parameters: dict[str, Any]
) -> None:
    node = attention(calls=[PLAIN], **arguments)
    found = fibcore_extract(tree(node), Serving())
    plain = fibcore_extract(tree(attention(calls=[PLAIN])), Serving())
    assert names(found) == [name + suffix for name in names(plain)]
    assert [k.tags for k in found.kernels] == [k.tags for k in plain.kernels]
    for kernel in found.kernels:
        extra = {n: kernel.parameters.get(n) for n in ("sliding_window", "logit_cap")}
        assert extra == {"sliding_window": None, "logit_cap": None, **parameters}
        assert {n: kernel.facts[n].value for n in parameters} == parameters
    assert found.claimed == {node.path}
    assert not found.not_covered
    assert not found.problems


def test_facts_of_a_window_say_where_it_is_from(attention: Any) -> None:
    before = with_origins(511, frozenset({"config:sliding_window"}))
    cap = with_origins(50.0, frozenset({"config:attn_logit_softcapping"}))
    kernel = fibcore_extract(
        tree(attention(sliding_window_size=before, logit_cap=cap)), Serving()
    ).kernels[0]
    assert kernel.facts["sliding_window"].origins == ("config:sliding_window",)
    assert kernel.facts["logit_cap"].origins == ("config:attn_logit_softcapping",)


def test_layers_of_several_windows_are_several_kernels(attention: Any) -> None:
    sizes = (511, -1, 1023, 511)
    layers = [attention(f"l.{i}", sliding_window_size=size) for i, size in enumerate(sizes)]
    found = fibcore_extract(tree(*layers), Serving(stages=("decode",), options={"page_size": (1,)}))
    assert {k.name.partition("_ps1")[2]: [u.path for u in k.uses] for k in found.kernels} == {
        "_swa512": ["l.0", "l.3"],
        "": ["l.1"],
        "_swa1024": ["l.2"],
    }


@pytest.mark.parametrize(
    ("window", "config", "note"),
    [
        (8191, {"max_position_embeddings": 8192}, "no shorter than the model's context of 8192"),
        (4095, {"max_position_embeddings": 8192, "sliding_window": 4096}, None),
        (4096, {"sliding_window": 4096}, "one key more than the config's sliding_window 4096"),
        (-1, {"sliding_window": 4096}, "the config's sliding_window 4096 is not used by SGLang"),
        (-1, {"text_config": {"sliding_window": 7}}, "the config's sliding_window 7 is not used"),
        (-1, {"sliding_window": 4096, "use_sliding_window": False}, None),
        (-1, {"sliding_window": None}, None),
        (-1, {}, None),
    ],
)
def test_notes_compare_the_window_with_the_config(
    attention: Any, window: int, config: dict[str, Any], note: str | None
) -> None:
    node = attention(sliding_window_size=window, calls=[PLAIN])
    for kernel in fibcore_extract(with_config(tree(node), **config), Serving()).kernels:
        assert len(kernel.notes) == (note is not None)
        assert note is None or note in kernel.notes[0]


def test_global_layers_beside_windows_have_no_note(attention: Any) -> None:
    layers = [
        attention(f"l.{i}", sliding_window_size=size, calls=[PLAIN])
        for i, size in enumerate((511, -1))
    ]
    found = fibcore_extract(with_config(tree(*layers), sliding_window=512), Serving())
    assert not any(kernel.notes for kernel in found.kernels)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (
            {"logit_cap": 30.0, "logit_capping_method": "other"},
            "gqa_paged with logit cap 30 and capping by other",
        ),
        (
            {"is_cross_attention": True, "sliding_window_size": 63},
            "cross attention with sliding window 64",
        ),
        (
            {"is_cross_attention": True, "attn_type": "encoder_only"},
            "cross attention of an encoder layer",
        ),
        (
            {"attn_type": "encoder_only", "sliding_window_size": 63},
            "encoder-only attention with sliding window 64",
        ),
        (
            {"attn_type": "encoder_only", "attributes": {"xai_temperature_len": 8}},
            "encoder-only attention with temperature by position beyond 8",
        ),
        ({"use_irope": True}, "gqa_paged with chunked local attention"),
        ({"use_irope": 1}, "gqa_paged with chunked local attention"),
        (
            {"pos_encoding_mode": "ROPE_LLAMA"},
            "gqa_paged with position encoding ROPE_LLAMA inside",
        ),
        (
            {"attributes": {"xai_temperature_len": 1024}},
            "gqa_paged with temperature by position beyond 1024",
        ),
        (
            {
                "attributes": {"xai_temperature_len": 8},
                "sliding_window_size": 127,
                "calls": [call(TENSOR, sinks=ParameterRef("sinks", (64,)))],
            },
            (
                "gqa_paged with sliding window 128 and attention sinks and temperature by position "
                "beyond 8"
            ),
        ),
        (
            {"calls": [call(TENSOR, topk_indices=TENSOR)]},
            "gqa_paged with the call's argument topk_indices",
        ),
    ],
)
def test_other_attention_is_named_and_never_passed_off_as_plain(
    attention: Any, arguments: dict[str, Any], what: str
) -> None:
    node = attention(**arguments)
    found = fibcore_extract(tree(node), Serving())
    assert names(found) == []
    assert whats(found) == [what]
    assert found.claimed == {node.path}
    assert not found.problems


@pytest.mark.parametrize(
    "arguments",
    [
        {"sliding_window_size": None},
        {"sliding_window_size": 0},
        {"logit_cap": None},
        {"v_head_dim": 128},  # as wide as the keys
        {"v_head_dim": None},
        {"attn_type": Named("sglang.srt.layers.radix_attention.AttentionType.DECODER")},
        {"use_irope": 0},
        {"attributes": {"xai_temperature_len": -1}},
        {"use_prefill_attention_wrapper": True},  # 0.5.23 alone has it
        {"calls": [call(TENSOR, None, None, forward_batch=TENSOR, save_kv_cache=False)]},
        {"calls": [call(TENSOR, sinks=None)]},
        {"calls": [call(TENSOR, return_lse=True)]},
    ],
)
def test_settings_that_leave_attention_plain(attention: Any, arguments: dict[str, Any]) -> None:
    found = fibcore_extract(tree(attention(**arguments)), Serving())
    assert len(names(found)) == 5
    assert not found.not_covered
    assert not found.problems


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"num_heads": Unknown("no key num_attention_heads")}, "no key num_attention_heads"),
        ({"num_kv_heads": Alternatives((8, 1))}, "one of 8, 1, undecided"),
        ({"head_dim": Unknown("no key")}, "no key"),
        ({"head_dim": 128.0}, "not an integer: 128.0"),
        ({"num_kv_heads": 0}, "0, expected at least 1"),
        ({"num_heads": 10, "num_kv_heads": 4}, "10 query heads of a rank are no multiple of 4"),
        ({"sliding_window_size": Unknown("a branch")}, "a branch"),
        ({"logit_cap": Alternatives((0.0, 50.0))}, "undecided"),
        ({"attn_type": Named("AttentionType.OTHER")}, "not an attention type: other"),
        ({"is_cross_attention": Unknown("a branch")}, "a branch"),
        ({"calls": [call(TENSOR, sinks=Unknown("a branch"))]}, "a branch"),
    ],
)
def test_what_is_not_known_is_a_problem_and_no_guess(
    attention: Any, arguments: dict[str, Any], reason: str
) -> None:
    node = attention(**arguments)
    found = fibcore_extract(tree(node), Serving(tp=2))
    assert not found.kernels
    assert not found.not_covered
    assert [reason in p.reason for p in found.problems] == [True]
    assert [u.path for u in found.problems[0].uses] == [node.path]


def test_prompt_bidirectional_attention_with_a_window(attention: Any) -> None:
    node = attention(attn_type="decoder_bidirectional", sliding_window_size=511)
    found = fibcore_extract(tree(node), Serving(options={"page_size": (1,)}))
    assert names(found) == ["gqa_paged_decode_h32_kv8_d128_ps1_swa512"]
    assert whats(found) == [
        "gqa prefill with bidirectional attention over the prompt and sliding window 512"
    ]
    assert [op.stage for op in found.not_covered] == ["prefill"]


def test_prompt_bidirectional_attention_decodes_as_plain(attention: Any) -> None:
    found = fibcore_extract(tree(attention(attn_type="decoder_bidirectional")), Serving())
    assert names(found) == [
        "gqa_paged_decode_h32_kv8_d128_ps1",
        "gqa_paged_decode_h32_kv8_d128_ps64",
    ]
    assert whats(found) == ["gqa prefill with bidirectional attention over the prompt"]


def test_position_biases_and_dual_chunks_are_named(attention: Any) -> None:
    leaf = attention("a.attn", calls=[PLAIN])
    slopes = Unknown.tensor("tensor of the forward pass")
    above = module("a", "BaiChuanAttention", attributes={"alibi_slopes": slopes}, children=[leaf])
    found = fibcore_extract(tree(above), Serving())
    assert (names(found), whats(found)) == ([], ["gqa_paged with ALiBi biases"])
    dual = {"chunk_size": 262144, "local_size": 8192}
    model = with_config(tree(attention(calls=[PLAIN])), dual_chunk_attention_config=dual)
    found = fibcore_extract(model, Serving())
    assert (names(found), whats(found)) == ([], ["gqa_paged with dual chunk attention 262144"])


def test_a_layer_whose_backend_compresses_keys_is_named(attention: Any) -> None:
    above = {"compress_ratio": 128, "attn_sink": ParameterRef("a.attn_sink", (64,))}
    leaf = attention("a.attn_mqa", num_heads=64, num_kv_heads=1, head_dim=512)
    found = fibcore_extract(
        tree(module("a", "MQALayer", attributes=above, children=[leaf])), Serving()
    )
    assert names(found) == []
    assert whats(found) == ["gqa_paged with attention sinks and keys compressed by 128"]


def vision(calls: tuple[Any, ...] = (), **attributes: Any) -> Any:
    backend = module("v.attn.qkv_backend", "sglang.srt.layers.attention.vision.VisionSdpaAttention")
    linear = module("v.attn.proj", "sglang.srt.layers.linear.RowParallelLinear")
    sizes = {
        "num_attention_heads_per_partition": 16,
        "num_attention_kv_heads_per_partition": 16,
        "head_size": with_origins(72, frozenset({"config:vision_config.head_dim"})),
    }
    return module(
        "v.attn",
        "sglang.srt.layers.attention.vision.VisionAttention",
        attributes={**sizes, **attributes},
        children=[backend, linear],
        calls=calls,
    )


def test_vision_attention_is_ragged_prefill_without_a_causal_mask() -> None:
    found = fibcore_extract(tree(vision()), Serving(tp=2))
    assert names(found) == ["gqa_ragged_prefill_h16_kv16_d72"]
    assert found.claimed == {"v.attn", "v.attn.qkv_backend"}  # the linear layer is a GEMM
    (kernel,) = found.kernels
    assert kernel.facts["head_dim"].origins == ("config:vision_config.head_dim",)
    assert kernel.facts["sm_scale"].value == 72**-0.5
    assert kernel.parameters["causal"] is False
    assert not found.not_covered
    found = fibcore_extract(tree(vision(softmax_scale=0.5)), Serving())
    assert found.kernels[0].facts["sm_scale"].value == 0.5
    found = fibcore_extract(tree(vision()), Serving(stages=("decode",)))
    assert (names(found), found.claimed) == ([], {"v.attn", "v.attn.qkv_backend"})


@pytest.mark.parametrize(
    ("attributes", "what"),
    [
        ({"use_sink": True}, "attention sinks"),
        ({"window_size": (64, 64)}, "a window"),
        (
            {"calls": (call(TENSOR, attention_mask=TENSOR),)},
            "the call's argument attention_mask",
        ),
    ],
)
def test_other_vision_attention_is_named(attributes: dict[str, Any], what: str) -> None:
    found = fibcore_extract(tree(vision(**attributes)), Serving())
    assert (names(found), whats(found)) == ([], [f"vision attention h16 d72 with {what}"])


def test_a_mask_counts_where_the_backend_of_a_vision_tower_reads_it() -> None:
    flash = module("v.attn.qkv_backend", "sglang.srt.layers.attention.vision.VisionFlash3Attention")
    node = vision(calls=(call(TENSOR, attention_mask=TENSOR),))
    found = fibcore_extract(tree(attrs.evolve(node, children={"qkv_backend": flash})), Serving())
    assert names(found) == ["gqa_ragged_prefill_h16_kv16_d72"]
    assert found.kernels[0].notes == (
        "VisionFlash3Attention does not read the mask that it is given",
    )


def test_a_backend_of_vision_attention_may_stand_alone() -> None:
    def tower(name: str) -> Any:
        sizes = {"num_heads": 16, "num_kv_heads": 16, "head_dim": 72, "softmax_scale": 1.0}
        leaf = module(
            "v.attn.qkv_backend",
            f"sglang.srt.layers.attention.vision.{name}",
            sizes,
            calls=[call(q=TENSOR, attention_mask=Alternatives((TENSOR, None)))],
        )
        return tree(module("v.attn", "Gemma4VisionAttention", children=[leaf]))

    found = fibcore_extract(tower("VisionTritonAttention"), Serving())
    assert names(found) == ["gqa_ragged_prefill_h16_kv16_d72"]
    assert found.claimed == {"v.attn.qkv_backend"}
    assert found.kernels[0].facts["sm_scale"].value == 1.0
    found = fibcore_extract(tower("VisionSdpaAttention"), Serving())
    assert whats(found) == ["vision attention h16 d72 with the call's argument attention_mask"]


def test_a_backend_that_is_told_no_sizes_is_named() -> None:
    told = {"use_data_parallel": True, "workspace_buffer": None}  # Kimi-K3's tower on 0.5.17
    name = "sglang.srt.layers.attention.vision.VisionTritonAttention"
    found = fibcore_extract(tree(module("v.attn.impls.triton_attn", name, told)), Serving())
    assert whats(found) == ["VisionTritonAttention of the sizes of its queries"]
    assert not found.problems
    half = module("v.attn.impls.triton_attn", name, told | {"num_heads": 16})
    assert fibcore_extract(tree(half), Serving()).problems


def test_attention_with_relative_positions_is_named() -> None:
    cls = "sglang.srt.models.example.Attention"
    child = module("a.relative_position_embedding", "sglang.srt.models.example.Positions")
    own = {"rel_pos_h": ParameterRef("a.rel_pos_h", (27, 64), None)}
    for parts in ({"children": [child]}, {"attributes": own, "leaf": False}):
        found = fibcore_extract(tree(module("a", cls, calls=[PLAIN], **parts)), Serving())
        assert whats(found) == ["attention with relative positions"]
        assert found.claimed == {"a"}
    others = (
        module("a", cls, children=[child]),
        module("a", cls, calls=[PLAIN], attributes={"rel_pos_h": None}, leaf=False),
        module("a", cls, calls=[PLAIN], attributes=own, leaf=True),
        module("a", cls + "Block", calls=[PLAIN], children=[child]),
    )
    for other in others:
        assert not fibcore_extract(tree(other), Serving()).claimed


def test_a_sink_that_a_function_applies_behind_attention_is_named() -> None:
    cls, radix = "sglang.srt.models.example.Attention", "sglang.srt.layers.RadixAttention"
    sizes = {"num_heads": 4, "head_dim": 64, "num_kv_heads": 2, "scaling": 0.125}
    attn = module("a.attn", radix, sizes, calls=[PLAIN])
    key = ParameterRef("a.sink_k", (2, 64), None)
    holder = module("a", cls, calls=[PLAIN], attributes={"sink_k": key}, children=[attn])
    apply = operation("sglang.srt.models.example._apply_sink", TENSOR, key, TENSOR, module="a")
    found = fibcore_extract(tree(holder, operations=[apply]), Serving())
    assert whats(found) == ["attention sink behind the kernel"]
    assert found.claimed == {"a", "a.attn"}
    bare = attrs.evolve(holder, children={})
    for other in (tree(holder), tree(bare, operations=[apply])):
        assert "a" not in fibcore_extract(other, Serving()).claimed


def test_vision_attention_of_unknown_sizes_is_a_problem() -> None:
    found = fibcore_extract(tree(vision(head_size=Unknown("no key"))), Serving())
    assert ["no key" in p.reason for p in found.problems] == [True]
    assert not found.kernels


@pytest.mark.parametrize(
    "kind",
    [
        "encoder_only",
        Named("sglang.srt.layers.radix_attention.AttentionType.ENCODER_ONLY"),
    ],
)
def test_encoders_run_ragged_prefill_without_a_causal_mask(attention: Any, kind: Any) -> None:
    found = fibcore_extract(tree(attention(attn_type=kind, calls=[PLAIN])), Serving())
    assert names(found) == ["gqa_ragged_prefill_h32_kv8_d128"]
    assert not found.not_covered
    found = fibcore_extract(tree(attention(attn_type=kind, logit_cap=30.0)), Serving())
    assert names(found) == ["gqa_ragged_prefill_h32_kv8_d128_cap30"]


@pytest.mark.parametrize(("window", "suffix"), [(-1, "_sink"), (127, "_swa128_sink")])
def test_attention_sinks_are_kernels_of_their_own(attention: Any, window: int, suffix: str) -> None:
    sinks = call(TENSOR, sinks=ParameterRef("sinks", (32,)))
    found = fibcore_extract(tree(attention(sliding_window_size=window, calls=[sinks])), Serving())
    plain = fibcore_extract(tree(attention(calls=[PLAIN])), Serving())
    assert names(found) == [name + suffix for name in names(plain)]
    assert all(kernel.parameters["sinks"] is True for kernel in found.kernels)
    wrapper = "fi_api:flashinfer.attention.BatchAttentionWithAttentionSinkWrapper"
    assert [wrapper in kernel.tags for kernel in found.kernels] == [True] * 4 + [False]
    assert not found.not_covered


def test_a_layer_called_in_two_ways_is_reported_in_both(attention: Any) -> None:
    sinks = call(TENSOR, sinks=ParameterRef("sinks", (32,)))
    found = fibcore_extract(tree(attention(calls=[PLAIN, sinks, PLAIN])), Serving())
    assert len(found.kernels) == 10
    assert [name.endswith("_sink") for name in names(found)].count(True) == 5


def test_sinks_show_without_calls_in_the_module_above(attention: Any) -> None:
    def layer(sinks: Any) -> Any:
        above = {"sinks": sinks, "num_heads": 32}
        leaf = attention("a.attn")
        return module("a", "GptOssAttention", attributes=above, children=[leaf])

    found = fibcore_extract(tree(layer(ParameterRef("a.sinks", (32,)))), Serving())
    assert [name.endswith("_sink") for name in names(found)] == [True] * 5
    found = fibcore_extract(tree(layer(None)), Serving())
    assert len(found.kernels) == 5
    assert "no call of a.attn was seen" in found.kernels[0].notes[0]
    found = fibcore_extract(tree(layer(Unknown("a branch"))), Serving())
    assert ["a branch" in p.reason for p in found.problems] == [True]


@pytest.mark.parametrize(
    ("config", "origin"),
    [
        ({"attention_chunk_size": 8192}, "config:attention_chunk_size"),
        (
            {"text_config": {"attention_chunk_size": 8192}},
            "config:text_config.attention_chunk_size",
        ),
        ({"attention_chunk_size": None}, None),
    ],
)
def test_llama4_local_layers(attention: Any, config: dict[str, Any], origin: str | None) -> None:
    model = with_config(tree(attention(use_irope=True)), **config)
    found = fibcore_extract(model, Serving())
    assert not found.not_covered
    assert len(found.kernels) == 5
    for kernel in found.kernels:
        assert kernel.name.endswith("_chunk8192") is (origin is not None)
        if origin is not None:
            assert kernel.facts["attention_chunk"].value == 8192
            assert kernel.facts["attention_chunk"].origins == (origin,)


@pytest.mark.parametrize(
    ("config", "arguments", "what"),
    [
        ({"attention_chunk_size": "many"}, {}, "chunked local attention many"),
        (
            {"attention_chunk_size": 8192},
            {"sliding_window_size": 63},
            "sliding window 64 and chunked local attention 8192",
        ),
    ],
)
def test_other_chunks_are_named(
    attention: Any, config: dict[str, Any], arguments: dict[str, Any], what: str
) -> None:
    model = with_config(tree(attention(use_irope=True, **arguments)), **config)
    found = fibcore_extract(model, Serving())
    assert (names(found), whats(found)) == ([], [f"gqa_paged with {what}"])


@pytest.mark.parametrize(
    "quantization",
    [
        {"kv_cache_quant_algo": "FP8"},
        {"quantization": {"quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8"}},
        {"quant_algo": "FP8", "kv_cache_scheme": {"type": "float", "num_bits": 8}},
        {"quant_algo": "NVFP4", "kv_cache_scheme": "FP8"},
    ],
)
def test_an_fp8_cache_is_read_by_kernels_of_its_own(
    attention: Any, quantization: dict[str, Any]
) -> None:
    model = with_config(tree(attention()), quantization_config=quantization)
    found = fibcore_extract(model, Serving(options={"page_size": (16,)}))
    assert names(found) == [
        "gqa_paged_decode_h32_kv8_d128_ps16_fp8kv",
        "gqa_paged_prefill_causal_h32_kv8_d128_ps16_fp8kv",
        "gqa_ragged_prefill_causal_h32_kv8_d128",  # fresh keys and values
    ]
    assert [k.parameters.get("cache_dtype") for k in found.kernels] == [
        "float8_e4m3fn",
        "float8_e4m3fn",
        None,
    ]
    assert not found.not_covered
    assert not found.problems


@pytest.mark.parametrize(
    ("served", "suffix"),
    [("fp8_e4m3", "_fp8kv"), ("fp8_e5m2", "_fp8e5m2kv"), ("bf16", ""), ("mxfp8", None)],
)
def test_a_cache_is_of_the_dtype_that_the_server_is_told(
    attention: Any, served: str, suffix: str | None
) -> None:
    model = attrs.evolve(tree(attention(calls=[PLAIN])), kv_cache_dtype=served)
    found = fibcore_extract(model, Serving(options={"page_size": (1, 16)}))
    paged = [name for name in names(found) if "paged" in name]
    if suffix is None:
        assert (paged, whats(found)) == ([], ["gqa_paged with mxfp8 KV cache"])
    else:
        assert len(paged) == 4
        assert all(name.partition("_d128_ps")[2] in (f"1{suffix}", f"16{suffix}") for name in paged)
        assert not found.not_covered


def test_what_has_no_definition_is_named_once_with_its_cache(attention: Any) -> None:
    node = attention(attributes={"xai_temperature_len": 8})
    quantization = {"kv_cache_quant_algo": "FP8"}
    found = fibcore_extract(with_config(tree(node), quantization_config=quantization), Serving())
    assert names(found) == []
    assert whats(found) == ["gqa_paged with temperature by position beyond 8"]


def test_values_of_another_width_are_kernels_of_their_own(attention: Any) -> None:
    width = with_origins(128, frozenset({"config:v_head_dim"}))
    sinks = call(TENSOR, sinks=ParameterRef("sinks", (32,)))
    node = attention(head_dim=192, v_head_dim=width, sliding_window_size=127, calls=[sinks])
    found = fibcore_extract(tree(node), Serving(options={"page_size": (16,)}))
    assert names(found) == [
        "gqa_paged_decode_h32_kv8_qk192_vo128_ps16_swa128_sink",
        "gqa_paged_prefill_causal_h32_kv8_qk192_vo128_ps16_swa128_sink",
        "gqa_ragged_prefill_causal_h32_kv8_qk192_vo128_swa128_sink",
    ]
    for kernel in found.kernels:
        assert kernel.facts["head_dim_qk"].value == 192
        assert kernel.facts["head_dim_vo"].origins == ("config:v_head_dim",)
        assert "head_dim" not in kernel.facts
    found = fibcore_extract(tree(attention(head_dim=192, v_head_dim=128, calls=[PLAIN])), Serving())
    # FlashInfer's decode has one width for both; its prefill takes one query a sequence.
    wrapper = "fi_api:flashinfer.prefill.BatchPrefillWithPagedKVCacheWrapper"
    assert wrapper in found.kernels[0].tags


def test_one_kv_head_of_two_widths_is_latent_only_beside_what_shows_it(attention: Any) -> None:
    narrow = {"num_heads": 16, "num_kv_heads": 1, "head_dim": 192, "v_head_dim": 128}

    def layer(*beside: Any) -> Any:
        leaf = attention("a.attn", calls=[PLAIN], **narrow)
        return module("a", "MiMoV2Attention", children=[leaf, *beside])

    linear = "sglang.srt.layers.linear.{}"
    sizes = {"input_size": 128, "output_size": 64}
    output = module("a.o_proj", linear.format("RowParallelLinear"), sizes)
    up = module("a.kv_b_proj", linear.format("ColumnParallelLinear"), sizes)
    options = {"page_size": (1,)}
    found = fibcore_extract(tree(layer(output)), Serving(options=options))
    assert names(found)[0] == "gqa_paged_decode_h16_kv1_qk192_vo128_ps1"
    assert fibcore_extract(tree(layer(output, up)), Serving()) == Extraction()
    other = attention("a.attn_mha", num_heads=16, num_kv_heads=16, v_head_dim=64)
    assert fibcore_extract(tree(layer(output, other)), Serving()) == Extraction()
    unknown = attention("a.attn_mha", num_kv_heads=Unknown("a branch"), head_dim=128)
    # Whether that is latent attention is op_mla's to say.
    assert fibcore_extract(tree(layer(output, unknown)), Serving()) == Extraction()


def test_linear_attention_is_named(attention: Any) -> None:
    holder = "sglang.srt.models.bailing_moe_linear.BailingMoELinearAttention"
    node = module("a", holder, children=[attention("a.attn", calls=[PLAIN])])
    found = fibcore_extract(tree(node), Serving())
    assert not found.kernels
    assert [n.what for n in found.not_covered] == ["linear attention"]


def test_cross_attention_decodes_as_plain_and_prefills_without_a_causal_mask(
    attention: Any,
) -> None:
    node = attention(is_cross_attention=True, calls=[PLAIN])
    found = fibcore_extract(tree(node), Serving(options={"page_size": (16,)}))
    # Keys stand in the cache: there is no ragged kernel.
    assert names(found) == [
        "gqa_paged_decode_h32_kv8_d128_ps16",
        "gqa_paged_prefill_noncausal_h32_kv8_d128_ps16",
    ]
    assert [k.parameters.get("causal") for k in found.kernels] == [None, False]
    assert all("encoder's output" in k.notes[0] for k in found.kernels)
    assert not found.not_covered


def test_trees_of_drafts_are_verified_with_a_mask(attention: Any) -> None:
    options: dict[str, Any] = {"page_size": (16,), "drafts": "tree"}
    found = fibcore_extract(tree(attention(calls=[PLAIN])), Serving(options=options))
    assert names(found) == [
        "gqa_paged_decode_h32_kv8_d128_ps16",
        "gqa_paged_prefill_custom_mask_h32_kv8_d128_ps16",
        "gqa_paged_prefill_causal_h32_kv8_d128_ps16",
        "gqa_ragged_prefill_causal_h32_kv8_d128",
    ]
    verify = found.kernels[1]
    assert verify.tags[0] == "stage:decode"
    assert verify.choice == found.kernels[0].choice  # a step runs one of them
    assert verify.parameters["custom_mask"] is True
    for arguments in ({"is_cross_attention": True}, {"attn_type": "encoder_only"}):
        other = fibcore_extract(tree(attention(**arguments)), Serving(options=options))
        assert not any("mask" in name for name in names(other))


def test_a_mask_may_have_a_window_besides_and_no_chunks(attention: Any) -> None:
    options: dict[str, Any] = {"page_size": (16,), "drafts": "tree"}
    node = attention(sliding_window_size=127, calls=[PLAIN])
    found = fibcore_extract(tree(node), Serving(options=options))
    assert names(found)[1] == "gqa_paged_prefill_custom_mask_h32_kv8_d128_ps16_swa128"
    model = with_config(tree(attention(use_irope=True)), attention_chunk_size=8192)
    found = fibcore_extract(model, Serving(options=options))
    assert whats(found) == ["gqa_paged with chunked local attention 8192 and a mask of its own"]
    assert len(found.kernels) == 3


def test_quantised_weights_alone_leave_the_cache_as_it_is(attention: Any) -> None:
    quantization = {"quant_method": "fp8", "kv_cache_scheme": None}
    found = fibcore_extract(
        with_config(tree(attention()), quantization_config=quantization), Serving()
    )
    assert len(found.kernels) == 5


def test_latent_attention_is_left_to_others(attention: Any) -> None:
    absorbed = {"num_kv_heads": 1, "num_heads": 16, "head_dim": 576, "v_head_dim": 512}
    materialised = {"num_kv_heads": 16, "num_heads": 16, "head_dim": 192, "v_head_dim": 128}
    # GLM-4.7-Flash: keys of 192 + 64, values of 256
    as_wide = {"num_kv_heads": 16, "num_heads": 16, "head_dim": 256, "v_head_dim": 256}
    for twin in (materialised, as_wide):
        layer = module(
            "self_attn",
            "sglang.srt.models.deepseek_v2.DeepseekV2AttentionMLA",
            children=[
                attention("self_attn.attn_mqa", **absorbed),
                attention("self_attn.attn_mha", **twin),
            ],
        )
        found = fibcore_extract(tree(layer), Serving())
        assert found == Extraction()


def test_one_kv_head_is_no_latent_attention(attention: Any) -> None:
    found = fibcore_extract(tree(attention(num_heads=4, num_kv_heads=1)), Serving(tp=8))
    assert "gqa_paged_decode_h4_kv1_d128_ps1" in names(found)


def test_other_attention_classes_are_not_claimed() -> None:
    others = [
        module("a", "torch.nn.MultiheadAttention", {"num_heads": 4}),
        module("b", "sglang.srt.layers.radix_linear_attention.RadixLinearAttention", {}),
    ]
    assert fibcore_extract(tree(*others), Serving()) == Extraction()
