"""The GEMM matcher on hand-written trees that mirror both SGLang versions."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from fibcore.plugin import (
    Alternatives,
    Extraction,
    Launch,
    ModuleNode,
    ModuleRef,
    Named,
    Operation,
    ParameterRef,
    Quantization,
    Serving,
    Unknown,
    with_origins,
)
from fibcore.testing.trees import PLACE, TENSOR, call, module, tree
from fibcore_op_gemm import fibcore_reference, matcher
from fibcore_op_gemm.products import products

LINEAR = "sglang.srt.layers.linear."
EMBEDDING = "sglang.srt.layers.vocab_parallel_embedding."
FP8_BLOCK = Quantization("fp8", "float8_e4m3fn", "block", block=(128, 128), activation="dynamic")
FP8 = "float8_e4m3fn"
FP4 = "float4_e2m1"
RANK = {"options": {"gemm_shapes": "rank"}}


def config(value: int, *keys: str) -> Any:
    return with_origins(value, frozenset(f"config:{key}" for key in keys))


HIDDEN = config(4096, "hidden_size")
HEAD = config(128, "head_dim")
HEADS = config(32, "num_attention_heads")
KV_HEADS = config(8, "num_key_value_heads")
INTERMEDIATE = config(14336, "intermediate_size")
VOCAB = config(128256, "vocab_size")

COLUMN_BASES = (LINEAR + "ColumnParallelLinear", LINEAR + "LinearBase", "torch.nn.Module")
LINEAR_BASES = (LINEAR + "LinearBase", "torch.nn.Module")
COMMON = {
    "skip_bias_add": False,
    "params_dtype": None,
    "quant_config": None,
    "bias": False,
}
# What SGLang 0.5.9 has where later versions have a parallel group.
TP_059 = {"tp_rank": None, "tp_size": None}
TP_0523 = {"parallel_group": None}


def linear(path: str, cls: str, *, quantization: Any = None, **arguments: Any) -> ModuleNode:
    bases = (
        COLUMN_BASES if cls in ("QKVParallelLinear", "MergedColumnParallelLinear") else LINEAR_BASES
    )
    return module(
        path, LINEAR + cls, {**COMMON, **arguments}, bases=bases, quantization=quantization
    )


def qkv(path: str = "qkv", quantization: Any = None, **changed: Any) -> ModuleNode:
    arguments = {
        "hidden_size": HIDDEN,
        "head_size": HEAD,
        "total_num_heads": HEADS,
        "total_num_kv_heads": KV_HEADS,
        "v_head_size": None,
        **changed,
    }
    return linear(path, "QKVParallelLinear", quantization=quantization, **arguments)


def row(path: str = "o_proj", quantization: Any = None, **changed: Any) -> ModuleNode:
    arguments = {"input_size": HIDDEN, "output_size": HIDDEN, **changed}
    return linear(path, "RowParallelLinear", quantization=quantization, **arguments)


def merged(path: str = "gate_up_proj", **changed: Any) -> ModuleNode:
    arguments = {"input_size": HIDDEN, "output_sizes": [INTERMEDIATE] * 2, **changed}
    return linear(path, "MergedColumnParallelLinear", **arguments)


def embedding(path: str, cls: str = "VocabParallelEmbedding", **changed: Any) -> ModuleNode:
    arguments = {
        "num_embeddings": VOCAB,
        "embedding_dim": HIDDEN,
        "org_num_embeddings": None,
        "padding_size": 64,
        "enable_tp": True,
        "use_attn_tp_group": False,
        **changed,
    }
    bases = () if cls == "VocabParallelEmbedding" else (EMBEDDING + "VocabParallelEmbedding",)
    return module(path, EMBEDDING + cls, arguments, bases=bases)


def logits(*arguments: Any, **named: Any) -> ModuleNode:
    calls = [call(TENSOR, TENSOR, *arguments, **named)] if arguments or named else []
    cls = "sglang.srt.layers.logits_processor.LogitsProcessor"
    return module("logits_processor", cls, {"config": Named("config")}, calls=calls)


def extract(
    *nodes: ModuleNode, operations: tuple[Operation, ...] = (), **serving: Any
) -> Extraction:
    return matcher.extract(tree(*nodes, operations=operations), Serving(**serving))


def names(found: Extraction) -> dict[str, list[str]]:
    return {k.name: [u.path for u in k.uses] for k in found.kernels}


def only(found: Extraction) -> str:
    assert not found.problems
    assert not found.not_covered
    (kernel,) = found.kernels
    return kernel.name


# --- whole layers ------------------------------------------------------------------------------


@pytest.mark.parametrize("parallel", [TP_059, TP_0523], ids=["0.5.9", "0.5.23"])
def test_the_layers_of_llama(parallel: dict[str, None]) -> None:
    found = extract(
        embedding("model.embed_tokens"),
        qkv("model.layers.0.self_attn.qkv_proj", **parallel),
        row("model.layers.0.self_attn.o_proj", **parallel),
        merged("model.layers.0.mlp.gate_up_proj", **parallel),
        row("model.layers.0.mlp.down_proj", input_size=INTERMEDIATE, **parallel),
        qkv("model.layers.1.self_attn.qkv_proj", **parallel),
        embedding("lm_head", "ParallelLMHead"),
        logits(ModuleRef("lm_head"), TENSOR),
        tp=4,
    )
    assert names(found) == {
        "gemm_n_6144_k_4096": [
            "model.layers.0.self_attn.qkv_proj",
            "model.layers.1.self_attn.qkv_proj",
        ],
        "gemm_n_4096_k_4096": ["model.layers.0.self_attn.o_proj"],
        "gemm_n_28672_k_4096": ["model.layers.0.mlp.gate_up_proj"],
        "gemm_n_4096_k_14336": ["model.layers.0.mlp.down_proj"],
        "gemm_n_128256_k_4096": ["lm_head"],
    }
    assert not found.problems
    assert not found.not_covered
    assert "model.embed_tokens" not in found.claimed
    assert "logits_processor" in found.claimed
    assert all(k.tags == () and k.notes == () for k in found.kernels)


def test_facts_say_where_numbers_come_from() -> None:
    (kernel,) = extract(qkv()).kernels
    assert kernel.parameters == {"N": 6144, "K": 4096, "format": "gemm"}
    n, k = kernel.facts["N"], kernel.facts["K"]
    assert n.value == 6144
    assert n.origins == (
        "config:head_dim",
        "config:num_attention_heads",
        "config:num_key_value_heads",
    )
    assert n.note == "(total_num_heads + 2 * total_num_kv_heads) * head_size"
    assert (k.value, k.origins) == (4096, ("config:hidden_size",))
    (kernel,) = extract(merged()).kernels
    assert kernel.facts["N"].origins == ("config:intermediate_size",)


@pytest.mark.parametrize(
    ("changed", "n"),
    [
        ({"total_num_kv_heads": None}, 3 * 32 * 128),
        ({"v_head_size": 64}, (32 + 8) * 128 + 8 * 64),
        ({"total_num_kv_heads": 1}, (32 + 2) * 128),
    ],
)
def test_merged_qkv(changed: dict[str, Any], n: int) -> None:
    # With one key and value head on eight ranks SGLang copies it; the whole layer has it once.
    assert only(extract(qkv(**changed), tp=8)) == f"gemm_n_{n}_k_4096"


@pytest.mark.parametrize(
    ("node", "name"),
    [
        (
            linear("a", "ColumnParallelLinear", input_size=1536, output_size=24576),
            "gemm_n_24576_k_1536",
        ),
        (
            linear("a", "ReplicatedLinear", input_size=7168, output_size=2112),
            "gemm_n_2112_k_7168",
        ),
        (
            linear(
                "a",
                "MergedColumnParallelRepeatedLinear",
                input_size=2304,
                column_output_sizes=[4096, 4096],
                repeated_output_sizes=[128],
            ),
            "gemm_n_8320_k_2304",
        ),
        (
            module("a", "torch.nn.Linear", {"in_features": 2048, "out_features": 1, "bias": False}),
            "gemm_n_1_k_2048",
        ),
        (
            module(
                "a",
                "sglang.srt.models.gpt_oss.TinyGemmLinear",
                {"args": (2880, 32), "kwargs": {"bias": True, "quant_config": None}},
                bases=(LINEAR + "ReplicatedLinear", *LINEAR_BASES),
            ),
            "gemm_n_32_k_2880",
        ),
        (
            module(
                "a",
                "sglang.srt.layers.muse_spark.muse_spark_layers.QKVOGateParallelLinear",
                {
                    "hidden_size": 4096,
                    "head_size": 128,
                    "total_num_heads": 32,
                    "total_num_kv_heads": 8,
                    "parallel_group": "attn_tp",
                },
                bases=COLUMN_BASES,
            ),
            "gemm_n_10240_k_4096",
        ),
    ],
)
def test_other_linear_layers(node: ModuleNode, name: str) -> None:
    assert only(extract(node, tp=8)) == name


def test_bias_and_dtype_are_noted() -> None:
    found = extract(
        qkv("a", bias=True),
        qkv("b"),
        qkv("c", bias=True),
        linear(
            "gate",
            "ReplicatedLinear",
            input_size=HIDDEN,
            output_size=64,
            params_dtype=Named("torch.float32"),
        ),
    )
    first, gate = found.kernels
    assert first.notes == ("a bias is added after the GEMM: a and 1 more",)
    assert gate.notes == ("SGLang runs it in float32: gate",)


# --- LM heads ----------------------------------------------------------------------------------


def test_a_tied_embedding_is_the_head_and_a_look_up_is_none() -> None:
    found = extract(
        embedding("model.embed_tokens"),
        embedding("model.embed_positions", num_embeddings=2048),
        logits(ModuleRef("model.embed_tokens"), TENSOR),
    )
    assert names(found) == {"gemm_n_128256_k_4096": ["model.embed_tokens"]}
    assert "model.embed_positions" not in found.claimed


def test_a_head_may_be_handed_over_by_name_or_as_its_weight() -> None:
    by_name = logits(lm_head=ModuleRef("embed"))
    assert only(extract(embedding("embed"), by_name)) == "gemm_n_128256_k_4096"
    weight = logits(ParameterRef("embed.weight", None))
    assert only(extract(embedding("embed"), weight)) == "gemm_n_128256_k_4096"


def test_a_linear_layer_as_head_counts_once() -> None:
    head = linear("lm_head", "ReplicatedLinear", input_size=HIDDEN, output_size=VOCAB)
    found = extract(head, logits(ModuleRef("lm_head")))
    assert names(found) == {"gemm_n_128256_k_4096": ["lm_head"]}


def test_added_tokens_are_no_part_of_the_head() -> None:
    head = embedding("lm_head", "ParallelLMHead", num_embeddings=128320, org_num_embeddings=VOCAB)
    assert only(extract(head)) == "gemm_n_128256_k_4096"


def test_logits_without_a_known_matrix_are_a_problem() -> None:
    found = extract(embedding("embed"), logits())
    assert not found.kernels
    assert "which matrix makes the logits" in found.problems[0].reason
    # A head of its own can be nothing else.
    assert only(extract(embedding("lm_head", "ParallelLMHead"), logits())) == "gemm_n_128256_k_4096"


def test_a_processor_that_is_never_called_beside_one_that_is() -> None:
    silent = module("logits_processor", "sglang.srt.layers.logits_processor.LogitsProcessor")
    called = logits(ModuleRef("embed"))
    called = attrs.evolve(called, path="language_model.logits_processor")
    found = extract(embedding("embed"), called, silent)
    assert names(found) == {"gemm_n_128256_k_4096": ["embed"]}
    assert not found.problems


@pytest.mark.parametrize("gemm_shapes", ["layer", "rank"])
def test_an_embedding_of_torch_is_a_head_that_no_rank_splits(gemm_shapes: str) -> None:
    own = module(
        "embed",
        "sglang.srt.models.example.ScaledEmbedding",
        {"num_embeddings": 1000, "embedding_dim": 64, "padding_idx": 0},
        bases=("torch.nn.Embedding",),
    )
    found = matcher.extract(
        tree(own, logits(ModuleRef("embed"))), Serving(tp=4, options={"gemm_shapes": gemm_shapes})
    )
    assert [k.name for k in found.kernels] == ["gemm_n_1000_k_64"]


def test_a_head_that_is_one_of_two_is_a_problem() -> None:
    either = Alternatives((ModuleRef("a"), ModuleRef("b")))
    found = extract(embedding("a"), embedding("b"), logits(either))
    assert not found.kernels
    assert "a or b" in found.problems[0].reason


# --- ranks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("parallel", [TP_059, TP_0523], ids=["0.5.9", "0.5.23"])
def test_the_shapes_of_a_rank(parallel: dict[str, None]) -> None:
    found = extract(
        qkv("qkv", **parallel),
        row("o", **parallel),
        merged("gate_up", **parallel),
        linear("gate", "ReplicatedLinear", input_size=HIDDEN, output_size=64),
        embedding("lm_head", "ParallelLMHead"),
        tp=4,
        **RANK,
    )
    share = ("the share of one of 4 ranks",)
    assert {k.name: k.notes for k in found.kernels} == {
        "gemm_n_1536_k_4096": share,
        "gemm_n_4096_k_1024": share,
        "gemm_n_7168_k_4096": share,
        "gemm_n_64_k_4096": (),
        "gemm_n_32064_k_4096": share,
    }
    assert not any(k.tags for k in found.kernels)
    assert "serving:tp" in found.kernels[0].facts["N"].origins
    assert found.kernels[1].facts["K"].origins == ("config:hidden_size", "serving:tp")


def test_a_rank_has_at_least_one_kv_head() -> None:
    assert only(extract(qkv(), tp=16, **RANK)) == f"gemm_n_{(2 + 2) * 128}_k_4096"


def test_the_key_and_value_heads_may_have_a_group_of_their_own() -> None:
    node = qkv(kv_parallel_group="replicated", parallel_group="attn_tp")
    assert only(extract(node, tp=4, **RANK)) == f"gemm_n_{(8 + 16) * 128}_k_4096"


def test_a_rank_of_layers_that_are_not_split() -> None:
    whole = "gemm_n_28672_k_4096"
    assert only(extract(merged(tp_size=1, tp_rank=0), tp=8, **RANK)) == whole
    assert only(extract(merged(parallel_group="replicated"), tp=8, **RANK)) == whole
    head = embedding("lm_head", "ParallelLMHead", enable_tp=False)
    assert only(extract(head, tp=8, **RANK)) == "gemm_n_128256_k_4096"


def test_keys_and_values_without_queries() -> None:
    # Whisper's cross attention projects an encoder's output: 0 query heads.
    node = qkv(total_num_heads=0, total_num_kv_heads=20, head_size=64, hidden_size=1280)
    assert only(extract(node)) == "gemm_n_2560_k_1280"
    assert only(extract(node, tp=4, **RANK)) == "gemm_n_640_k_1280"


@pytest.mark.parametrize(("vocab", "tp", "n"), [(32000, 8, 4000), (50257, 2, 25152), (151, 3, 64)])
def test_a_rank_has_its_share_of_the_padded_vocabulary(vocab: int, tp: int, n: int) -> None:
    # 50257 is padded to 50304; 151 to 192, which is 3 * 64 already.
    head = embedding("lm_head", "ParallelLMHead", num_embeddings=vocab)
    assert only(extract(head, tp=tp, **RANK)) == f"gemm_n_{n}_k_4096"


def test_padding_grows_where_ranks_do_not_divide_it() -> None:
    # 100 is padded to 128, which 3 ranks do not divide, so to 192.
    head = embedding("lm_head", "ParallelLMHead", num_embeddings=100)
    assert only(extract(head, tp=3, **RANK)) == "gemm_n_64_k_4096"


@pytest.mark.parametrize(
    "node",
    [
        qkv(total_num_heads=30),
        qkv(total_num_kv_heads=3),
        row(input_size=4095),
        merged(output_sizes=[100, 101]),
        merged(parallel_group="shared_experts_tp"),
        merged(parallel_group=Unknown("a group")),
        merged(tp_size=Unknown("a size")),
    ],
)
def test_what_ranks_cannot_share_is_a_problem(node: ModuleNode) -> None:
    found = extract(node, tp=8, **RANK)
    assert not found.kernels
    assert len(found.problems) == 1
    assert node.path in found.claimed


# --- quantisation ------------------------------------------------------------------------------


def test_fp8_block_scale() -> None:
    found = extract(
        linear(
            "a",
            "ReplicatedLinear",
            quantization=FP8_BLOCK,
            input_size=config(7168, "hidden_size"),
            output_size=config(2112, "q_lora_rank", "kv_lora_rank"),
        ),
        linear("b", "ReplicatedLinear", input_size=7168, output_size=2112),
    )
    quantised, plain = found.kernels
    assert quantised.name == "gemm_fp8_block_scale_n_2112_k_7168"
    assert plain.name == "gemm_n_2112_k_7168"
    assert "quantization:float8_e4m3fn" in quantised.tags
    assert "fi_api:flashinfer.gemm.gemm_fp8_nt_groupwise" in quantised.tags
    assert {n: f.value for n, f in quantised.facts.items()} == {
        "N": 2112,
        "K": 7168,
        "num_k_blocks": 56,
        "num_n_blocks": 17,
    }
    assert quantised.facts["num_n_blocks"].origins == ("config:kv_lora_rank", "config:q_lora_rank")
    assert plain.tags == ()


@pytest.mark.parametrize(
    ("quantization", "words"),
    [
        (
            Quantization("compressed_tensors", "float8_e4m3fn", "channel"),
            "float8_e4m3fn weights (compressed_tensors), one scale per channel",
        ),
        (
            Quantization("fp8", "float8_e4m3fn", "block", block=(64, 128), activation="dynamic"),
            "float8_e4m3fn weights (fp8), one scale per block of 64 x 128, dynamic activations",
        ),
        (
            Quantization("fp8", "float8_e4m3fn", "block", block=(128, 128)),
            "float8_e4m3fn weights (fp8), one scale per block of 128 x 128",
        ),
        (
            # A group of another size: its scales may be e4m3 or exponents.
            Quantization("modelopt_fp4", "float4_e2m1", "group", group_size=32),
            "float4_e2m1 weights (modelopt_fp4), one scale per group of 32",
        ),
        (
            Quantization("awq", "int4", "group", group_size=128, zero_points=True),
            "int4 weights (awq), one scale and zero point per group of 128",
        ),
        (
            # Columns of large numbers are multiplied apart, in 16 bits.
            Quantization("bitsandbytes", "int8", "channel", activation="dynamic"),
            "int8 weights (bitsandbytes), one scale per channel, dynamic activations",
        ),
        (
            Quantization("compressed_tensors", "int8", "tensor", activation="dynamic"),
            "int8 weights (compressed_tensors), one scale per tensor, dynamic activations",
        ),
    ],
)
def test_other_formats_are_named_with_their_layers(quantization: Quantization, words: str) -> None:
    found = extract(
        qkv("a", quantization=quantization), row("b", quantization=quantization), merged("c")
    )
    assert names(found) == {"gemm_n_28672_k_4096": ["c"]}
    (missing,) = found.not_covered
    assert missing.what == f"gemm with {words}"
    assert [u.path for u in missing.uses] == ["a", "b"]
    assert ("a way of packing that no" in missing.reason) == (quantization.activation is None)
    assert not found.problems


@pytest.mark.parametrize(
    ("quantization", "kind"),
    [
        # SGLang's "fp8" keeps the scales of a merged layer's parts, one a channel, static or not.
        (Quantization("fp8", FP8, "tensor", activation="static"), "fp8_per_channel"),
        (Quantization("fp8", FP8, "tensor", activation="dynamic"), "fp8_per_channel"),
        (Quantization("modelopt_fp8", FP8, "tensor", activation="static"), "fp8_per_tensor"),
        (Quantization("compressed_tensors", FP8, "tensor", activation="static"), "fp8_per_tensor"),
        # Tokens have a scale each where theirs is not known before.
        (Quantization("quark", FP8, "tensor", activation="dynamic"), "fp8_per_channel"),
        (
            Quantization("compressed_tensors", FP8, "channel", activation="dynamic"),
            "fp8_per_channel",
        ),
        (Quantization("fbgemm_fp8", FP8, "channel", activation="dynamic"), "fp8_per_channel"),
        (Quantization("w8a8_int8", "int8", "channel", activation="dynamic"), "int8_per_channel"),
        (
            Quantization("compressed_tensors", "int8", "channel", activation="static"),
            "int8_per_channel",
        ),
        (Quantization("mxfp8", FP8, "group", group_size=32, activation="dynamic"), "mxfp8"),
        (
            Quantization(
                "modelopt_fp4", "float4_e2m1", "group", group_size=16, activation="static"
            ),
            "nvfp4",
        ),
        (
            Quantization(
                "compressed_tensors", "float4_e2m1", "group", group_size=16, activation="dynamic"
            ),
            "nvfp4",
        ),
        (
            Quantization("quark", "float4_e2m1", "group", group_size=32, activation="dynamic"),
            "mxfp4",
        ),
        # Weights alone: ModelOpt's W4A16_NVFP4, compressed-tensors without input activations.
        (Quantization("modelopt_mixed", FP4, "group", group_size=16), "w4a16_nvfp4"),
        (Quantization("modelopt_fp4", FP4, "group", group_size=16), "w4a16_nvfp4"),
        (Quantization("compressed_tensors", FP4, "group", group_size=16), "w4a16_nvfp4"),
        (Quantization("petit_nvfp4", FP4, "group", group_size=16), "w4a16_nvfp4"),
        (Quantization("mxfp4", FP4, "group", group_size=32), "w4a16_mxfp4"),
    ],
)
def test_formats_of_layers(quantization: Quantization, kind: str) -> None:
    (found,) = extract(qkv(quantization=quantization)).kernels
    assert found.name == f"gemm_{kind}_n_6144_k_4096"
    assert found.facts["N"].origins == (
        "config:head_dim",
        "config:num_attention_heads",
        "config:num_key_value_heads",
    )
    assert f"quantization:{quantization.weight_dtype}" in found.tags
    definition = fibcore_reference(found)
    assert definition.const_axes.keys() == found.facts.keys()


def test_the_product_inside_a_quantised_layer_is_the_layer_s() -> None:
    inside = "sglang.kernels.ops.gemm.fp8_kernel.w8a8_block_fp8_matmul_deepgemm"
    quantise = "sglang.kernels.ops.quantization.fp8_kernel.sglang_per_token_group_quant_fp8"
    calls = [operation(name, TENSOR, module="o_proj") for name in (inside, quantise)]
    other = operation(inside, TENSOR, module="experts")
    found = matcher.extract(
        tree(row(quantization=FP8_BLOCK), kernel_calls=(*calls, other)), Serving()
    )
    assert found.claimed == {"o_proj", calls[0].key}
    assert not found.problems


def test_unpacking_a_weight_is_the_layer_s() -> None:
    unpack = "sglang.kernels.ops.quantization.awq_dequantize.awq_dequantize"
    parts = [ParameterRef(f"o_proj.{name}", None) for name in ("qweight", "scales", "qzeros")]
    own = operation(unpack, *parts, module="o_proj")
    others = [
        operation(unpack, *parts, module="experts"),
        operation(unpack, *parts[:2], ParameterRef("up_proj.qzeros", None), module="o_proj"),
        operation(unpack, *parts, TENSOR, module="o_proj"),
        operation(unpack, module="o_proj"),
        operation("sglang.jit_kernel.unpack", *parts, module="o_proj"),
    ]

    def claimed(call: Operation) -> frozenset[str]:
        layers = tree(row(quantization=FP8_BLOCK), kernel_calls=[call])
        return matcher.extract(layers, Serving()).claimed

    assert claimed(own) == {"o_proj", own.key}
    assert {claimed(call) for call in others} == {frozenset({"o_proj"})}


def test_groups_have_to_divide_the_input() -> None:
    nvfp4 = Quantization("modelopt_fp4", "float4_e2m1", "group", group_size=16, activation="static")
    found = extract(row(quantization=nvfp4, input_size=4104))
    assert not found.kernels
    assert "no multiple of the 16" in found.problems[0].reason


def test_groups_of_weights_have_to_divide_the_input() -> None:
    weights = Quantization("modelopt_mixed", FP4, "group", group_size=16)
    found = extract(row(quantization=weights, input_size=4104))
    assert not found.kernels
    assert "no multiple of the 16" in found.problems[0].reason


def test_an_unknown_format_is_a_problem() -> None:
    found = extract(qkv(quantization=Unknown("quantization_config has an unknown method")))
    assert not found.kernels
    assert not found.not_covered
    assert "unknown method" in found.problems[0].reason


# --- convolutions of patches -------------------------------------------------------------------


def convolution(cls: str = "torch.nn.Conv2d", **changed: Any) -> ModuleNode:
    """What takes pictures apart in a tower; torch's modules have the arguments that were given."""
    arguments = {"in_channels": 3, "out_channels": 1152, "kernel_size": 14, "stride": 14, **changed}
    return module("patch_embed.proj", cls, arguments, calls=[call(TENSOR)])


@pytest.mark.parametrize(
    ("node", "name"),
    [
        (convolution(bias=False), "gemm_n_1152_k_588"),
        (convolution(kernel_size=(14, 7), stride=[14, 7], padding=(0, 0)), "gemm_n_1152_k_294"),
        (
            convolution(
                "sglang.srt.layers.conv.Conv2dLayer", padding="valid", dilation=1, groups=1
            ),
            "gemm_n_1152_k_588",
        ),
        (
            convolution(
                "sglang.srt.layers.conv.Conv3dLayer",
                kernel_size=[2, 16, 16],
                stride=(2, 16, 16),
                out_channels=config(1024, "hidden_size"),
            ),
            "gemm_n_1024_k_1536",
        ),
        (convolution("torch.nn.Conv1d", kernel_size=4, stride=4), "gemm_n_1152_k_12"),
    ],
)
def test_a_convolution_of_patches_side_by_side_is_a_gemm(node: ModuleNode, name: str) -> None:
    found = extract(node)
    assert only(found) == name
    assert not found.problems
    assert not found.not_covered


def test_the_gemm_of_a_convolution_knows_its_origins_and_its_bias() -> None:
    size = config(14, "patch_size")
    found = extract(convolution(kernel_size=size, stride=size, bias=True))
    (kernel,) = found.kernels
    assert kernel.facts["K"].origins == ("config:patch_size",)
    assert kernel.facts["biased_layers"].value == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"stride": 7},
        {"stride": (14, 7)},
        {"padding": 1},
        {"padding": "same"},
        {"dilation": 2},
        {"groups": 3},
    ],
)
def test_convolutions_of_overlapping_patches_are_named(changed: dict[str, Any]) -> None:
    found = extract(convolution(**changed))
    assert [gap.what for gap in found.not_covered] == ["Conv2d of overlapping patches"]
    assert not found.kernels


@pytest.mark.parametrize("name", ["kernel_size", "stride", "out_channels", "groups", "padding"])
@pytest.mark.parametrize("value", [Unknown("a size"), Alternatives((14, 7))])
def test_convolutions_of_unknown_sizes_are_problems(name: str, value: Any) -> None:
    found = extract(convolution(**{name: value}))
    assert not found.kernels
    assert len(found.problems) == 1


@pytest.mark.parametrize("value", [(14, Unknown("a size")), (14, 14, 14), True])
def test_kernels_of_other_dimensions_are_problems(value: Any) -> None:
    found = extract(convolution(kernel_size=value))
    assert not found.kernels
    assert len(found.problems) == 1


def test_a_convolution_that_nothing_calls_is_left_to_others() -> None:
    assert extract(attrs.evolve(convolution(), calls=())) == Extraction()


# --- what is no plain GEMM ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("node", "what"),
    [
        (
            module(
                "a",
                "sglang.srt.lora.layers.QKVParallelLinearWithLoRA",
                {"base_layer": Unknown("a layer")},
            ),
            "GEMM with LoRA",
        ),
        (
            module("a", "sglang.srt.layers.clippable_linear.ClippableRowParallelLinear", {}),
            "ClippableRowParallelLinear",
        ),
    ],
)
def test_not_covered_by_name(node: ModuleNode, what: str) -> None:
    found = extract(node)
    assert [m.what for m in found.not_covered] == [what]
    assert not found.kernels
    assert not found.problems
    assert found.claimed == {"a"}


def test_a_linear_layer_of_unknown_arguments_is_a_problem() -> None:
    node = module("a", "sglang.srt.models.new.NewLinear", {"x": 1}, bases=LINEAR_BASES)
    found = extract(node)
    assert "sizes this plugin cannot read" in found.problems[0].reason


@pytest.mark.parametrize(
    "node",
    [
        row(input_size=Unknown("config.hidden_size is missing")),
        row(output_size=Alternatives((1, 2))),
        merged(output_sizes=Unknown("a list")),
        merged(output_sizes=[1, Unknown("a size")]),
        qkv(head_size=None),
        qkv(total_num_kv_heads=Unknown("config.num_key_value_heads is missing")),
        embedding("a", "ParallelLMHead", num_embeddings=Unknown("config.vocab_size is missing")),
        module("a", LINEAR + "ReplicatedLinear", {"output_size": 3}, bases=LINEAR_BASES),
    ],
)
def test_unknown_sizes_are_problems(node: ModuleNode) -> None:
    found = extract(node)
    assert not found.kernels
    assert not found.not_covered
    assert len(found.problems) == 1
    assert found.claimed == {node.path}


def test_experts_and_linear_attention_are_not_mine() -> None:
    found = extract(
        module("experts", "sglang.srt.layers.moe.fused_moe_triton.layer.FusedMoE", {}),
        module("attn", "sglang.srt.layers.radix_linear_attention.RadixLinearAttention", {}),
    )
    assert found == Extraction()


# --- operations --------------------------------------------------------------------------------


def gate(path: str = "mlp.gate") -> ModuleNode:
    return module(path, "sglang.srt.models.deepseek_v2.MoEGate", {}, leaf=False)


WEIGHT = ParameterRef(
    "mlp.gate.weight", (config(256, "n_routed_experts"), config(7168, "hidden_size"))
)
TURNED = ParameterRef("mlp.gate.weight", (7168, 256))


def operation(function: str, *args: Any, module: str = "mlp.gate", **kwargs: Any) -> Operation:
    return Operation(function, module, args, kwargs, PLACE)


def test_a_router_gate_is_a_gemm_once_however_many_kernels_can_run_it() -> None:
    found = extract(
        gate(),
        operations=(
            operation("torch.ops.sgl_kernel.weight_packed_linear", TENSOR, WEIGHT, None, True),
            operation("sgl_kernel.dsv3_router_gemm", TENSOR, WEIGHT),
            operation("torch.nn.functional.linear", TENSOR, WEIGHT, None),
            operation("sglang.kernels.ops.gemm.new_gemm_kernel", TENSOR, WEIGHT),
        ),
    )
    assert names(found) == {"gemm_n_256_k_7168": ["mlp.gate"]}
    assert not found.problems
    (kernel,) = found.kernels
    assert kernel.facts["N"].origins == ("config:n_routed_experts",)
    assert kernel.facts["K"].origins == ("config:hidden_size",)


@pytest.mark.parametrize(
    "one",
    [
        operation("torch.nn.functional.linear", TENSOR, WEIGHT),
        operation("torch.nn.functional.linear", TENSOR, weight=WEIGHT),
        operation("torch.matmul", TENSOR, TURNED),
        operation("torch.mm", TENSOR, TURNED, out_dtype=Named("torch.float32")),
        operation("torch.Tensor.matmul", TENSOR, TURNED),
        operation("torch.matmul", WEIGHT, TENSOR),
        operation("torch.addmm", TENSOR, TENSOR, TURNED),
        operation("sglang.kernels.ops.gemm.bf16_fp32.linear_bf16_fp32", TENSOR, WEIGHT),
    ],
)
def test_conventions_of_functions(one: Operation) -> None:
    assert only(extract(gate(), operations=(one,))) == "gemm_n_256_k_7168"


def test_a_bias_is_no_weight() -> None:
    bias = ParameterRef("mlp.gate.bias", (256,))
    one = operation("torch.nn.functional.linear", TENSOR, WEIGHT, bias)
    assert only(extract(gate(), operations=(one,))) == "gemm_n_256_k_7168"


def test_a_product_with_a_layer_s_own_weight_is_the_layer_s() -> None:
    node = linear("mlp.gate", "ReplicatedLinear", input_size=7168, output_size=256)
    one = operation("torch.mm", TENSOR, TURNED, module="mlp")
    assert only(extract(node, operations=(one,))) == "gemm_n_256_k_7168"


def test_a_product_with_an_embedding_is_an_lm_head() -> None:
    weight = ParameterRef("embed.weight", None)
    one = operation("torch.nn.functional.linear", TENSOR, weight, module="")
    assert only(extract(embedding("embed"), operations=(one,))) == "gemm_n_128256_k_4096"


@pytest.mark.parametrize(
    ("operations", "reason"),
    [
        ((operation("some.new_gemm", TENSOR, WEIGHT),), "some.new_gemm"),
        (
            (
                operation(
                    "torch.nn.functional.linear", TENSOR, ParameterRef("mlp.gate.weight", None)
                ),
            ),
            "shape of mlp.gate.weight is not known",
        ),
        (
            (
                operation(
                    "torch.nn.functional.linear",
                    TENSOR,
                    ParameterRef("mlp.gate.weight", (Unknown("experts"), 7168)),
                ),
            ),
            "experts",
        ),
        (
            (
                operation("torch.matmul", TENSOR, WEIGHT),
                operation("torch.nn.functional.linear", TENSOR, WEIGHT),
            ),
            "disagree",
        ),
    ],
)
def test_products_that_cannot_be_read_are_problems(
    operations: tuple[Operation, ...], reason: str
) -> None:
    found = extract(gate(), operations=operations)
    assert not found.kernels
    (problem,) = found.problems
    assert reason in problem.reason


def test_a_parameter_of_a_rank_is_no_whole_layer() -> None:
    shape = (with_origins(32, frozenset({"config:n", "serving:tp"})), 7168)
    one = operation("torch.nn.functional.linear", TENSOR, ParameterRef("mlp.gate.weight", shape))
    found = extract(gate(), operations=(one,), tp=8)
    assert "32 is a rank's" in found.problems[0].reason
    found = extract(gate(), operations=(one,), tp=8, **RANK)
    notes = {k.name: k.notes for k in found.kernels}
    assert notes == {"gemm_n_32_k_7168": ("the share of one of 8 ranks",)}


def attention(cls: str = "DeepseekV2AttentionMLA") -> ModuleNode:
    return module("attn", f"sglang.srt.models.deepseek_v2.{cls}", {}, leaf=False)


def test_batched_products_with_a_parameter() -> None:
    shape = (config(16, "num_heads"), config(128, "qk_nope"), config(512, "rank"))
    weight = ParameterRef("attn.w_kc", shape)
    one = operation("torch.bmm", TENSOR, weight, module="attn")
    found = extract(attention(), operations=(one,))
    (kernel,) = found.kernels
    assert kernel.name == "bmm_bf16_n_512_k_128"
    assert kernel.facts["batch_size"].value == 16
    assert kernel.facts["K"].origins == ("config:qk_nope",)
    assert not found.problems
    assert not found.not_covered


@pytest.mark.parametrize(
    ("function", "shape", "reason"),
    [
        # Of one matrix times several, or of a sum, the name does not tell.
        ("torch.matmul", (16, 128, 512), "may multiply several matrices by one"),
        ("torch.einsum", (16, 128, 512), "may multiply several matrices by one"),
        ("torch.bmm", (16, Unknown("a size"), 512), "its sizes are 16"),
    ],
)
def test_other_batched_products_are_not_covered(
    function: str, shape: tuple[Any, ...], reason: str
) -> None:
    one = operation(function, TENSOR, ParameterRef("attn.w_kc", shape), module="attn")
    found = extract(attention(), operations=(one,))
    assert [m.what for m in found.not_covered] == [f"batched GEMM ({function}, w_kc)"]
    assert reason in found.not_covered[0].reason
    assert not found.kernels
    assert not found.problems


def test_a_layer_of_several_matrices() -> None:
    cls = LINEAR + "ColumnParallelBatchedLinear"
    sizes = {"batch": 2, "input_size": 128, "output_size": HIDDEN, "dtype": None}
    layer = module("a", cls, sizes, calls=[call(TENSOR)])
    (kernel,) = extract(layer, tp=4).kernels
    assert (kernel.name, kernel.facts["batch_size"].value) == ("bmm_bf16_n_4096_k_128", 2)
    (kernel,) = extract(layer, tp=4, **RANK).kernels
    assert (kernel.name, kernel.tags, kernel.notes) == (
        "bmm_bf16_n_1024_k_128",
        ("fi_api:flashinfer.gemm.bmm_bf16",),
        ("the share of one of 4 ranks",),
    )
    found = extract(module("a", cls, {**sizes, "batch": Unknown("a number")}))
    assert "batch is" in found.problems[0].reason


def grouped(quantization: Any = None, rows: Any = 1024) -> Extraction:
    """A layer whose weight is one matrix a group of heads, as DeepSeek-V4's `wo_a`."""
    cls, sizes = "ColumnParallelLinear", {"input_size": 4096, "output_size": 8192}
    layer = linear("attn.wo_a", cls, quantization=quantization, **sizes)
    view = operation("torch.Tensor.view", ModuleRef("attn.wo_a.weight"), TENSOR, rows, -1)
    return extract(layer, operations=(view,), tp=4)


@pytest.mark.parametrize(
    ("quantization", "name"),
    [(None, "bmm_bf16_n_1024_k_4096"), (FP8_BLOCK, "bmm_fp8_block_scale_n_1024_k_4096")],
)
def test_a_layer_of_groups(quantization: Any, name: str) -> None:
    found = grouped(quantization)
    (kernel,) = found.kernels
    assert kernel.name == name
    assert (kernel.facts["batch_size"].value, kernel.facts["batch_size"].note) == (
        2,
        "groups of a rank",
    )
    assert [use.path for use in kernel.uses] == ["attn.wo_a"]
    definition = fibcore_reference(kernel)
    assert definition.const_axes.keys() == kernel.facts.keys() - {"batch_size"}
    assert definition.var_axes == ("batch_size", "M")


def test_groups_of_other_formats_or_sizes_are_not_covered() -> None:
    int4 = Quantization("awq", "int4", "group", group_size=128)
    (missing,) = grouped(int4).not_covered
    assert missing.what == (
        "batched GEMM b8_n1024_k4096 with int4 weights (awq), one scale per group of 128"
    )
    for rows in (Unknown("rows"), 1000):
        (missing,) = grouped(rows=rows).not_covered
        assert missing.what == "batched GEMM"
        assert "rows out of 8192" in missing.reason
    assert "whatever" in grouped(Unknown("whatever")).problems[0].reason


def latent(quantization: Any = None, *, prefill: bool = True, **changed: Any) -> ModuleNode:
    """Latent attention: 16 heads of 128 + 64, a latent vector of 512, values of 128."""
    attn = "sglang.srt.layers.radix_attention.RadixAttention"
    absorbed = {"num_heads": 16, "head_dim": 576, "num_kv_heads": 1, "v_head_dim": 512, **changed}
    whole = {"num_heads": 16, "head_dim": 192, "num_kv_heads": 16, "v_head_dim": 128}
    children = {
        "kv_b_proj": linear(
            "attn.kv_b_proj",
            "ColumnParallelLinear",
            quantization=quantization,
            input_size=config(512, "kv_lora_rank"),
            output_size=16 * 256,
        ),
        "attn_mqa": module("attn.attn_mqa", attn, absorbed),
    }
    if prefill:
        children["attn_mha"] = module("attn.attn_mha", attn, whole)
    sizes = {"qk_nope_head_dim": config(128, "qk_nope_head_dim"), "v_head_dim": 128}
    return attrs.evolve(attention(), children=children, attributes=sizes)


@pytest.mark.parametrize("prefill", [True, False])
def test_absorbed_products_of_latent_attention(prefill: bool) -> None:
    found = extract(latent(prefill=prefill), tp=8)
    assert names(found) == {
        "gemm_n_4096_k_512": ["attn.kv_b_proj"],
        "bmm_bf16_n_512_k_128": ["attn"],
        "bmm_bf16_n_128_k_512": ["attn"],
    }
    query = found.kernels[1]
    assert query.facts["batch_size"].value == query.parameters["batch_size"] == 16
    assert (query.tags, query.notes) == (("fi_api:flashinfer.gemm.bmm_bf16",), ())


@pytest.mark.parametrize(
    ("quantization", "name", "note"),
    [
        (FP8_BLOCK, "bmm_bf16_n_512_k_128", "SGLang dequantises the weight"),
        (
            Quantization("w8a8_int8", "int8", "channel", activation="dynamic"),
            "bmm_bf16_n_512_k_128",
            "SGLang dequantises the weight",
        ),
        (
            Quantization("awq", "int4", "group", group_size=128),
            "bmm_bf16_n_512_k_128",
            "SGLang dequantises the weight",
        ),
        (
            Quantization("compressed_tensors", FP8, "channel", activation="dynamic"),
            "bmm_fp8_n_512_k_128",
            "SGLang gives the weight a single scale",
        ),
    ],
)
def test_absorbed_products_of_quantised_layers(
    quantization: Quantization, name: str, note: str
) -> None:
    found = {k.name: k for k in extract(latent(quantization)).kernels}
    assert note in found[name].notes[0]
    assert found[name].notes[0].endswith("attn.kv_b_proj")
    definition = fibcore_reference(found[name])
    assert definition.const_axes.keys() == found[name].facts.keys() - {"batch_size"}


def test_absorbed_products_that_are_not_covered() -> None:
    gptq = Quantization("gptq", "int4", "group", group_size=128)
    found = extract(latent(gptq))
    whats = [m.what for m in found.not_covered]
    words = "int4 weights (gptq), one scale per group of 128"
    assert f"absorbed query projection with {words}" in whats
    assert f"absorbed value projection with {words}" in whats
    found = extract(latent(Unknown("whatever")))
    assert "absorbed query projection" in [p.what for p in found.problems]
    assert not found.kernels


@pytest.mark.parametrize(
    "changed",
    [
        {"num_kv_heads": 2},
        {"v_head_dim": 576},
        {"v_head_dim": -1},
        {"head_dim": Unknown("a size")},
        {"num_heads": Unknown("a size")},
        {"v_head_dim": 500},  # no layer projects that up
    ],
)
def test_no_absorbed_products_without_a_latent_vector(changed: dict[str, Any]) -> None:
    assert names(extract(latent(**changed))).keys() == {"gemm_n_4096_k_512"}


def test_a_product_that_computes_more_is_another_kernel() -> None:
    weight = ParameterRef("layer.hc_fn", (24, 16384), "float32")
    one = operation("deep_gemm.tf32_hc_prenorm_gemm", TENSOR, weight, TENSOR, module="layer")
    layer = module("layer", "sglang.srt.models.deepseek_v4.Layer", {}, leaf=False)
    found = extract(layer, operations=(one,))
    assert not found.problems
    (missing,) = found.not_covered
    assert missing.what == "GEMM inside tf32_hc_prenorm_gemm"
    assert "sums of squares" in missing.reason
    # Another way to the same product is the GEMM that a definition describes.
    other = operation("torch.nn.functional.linear", TENSOR, weight, module="layer")
    found = extract(layer, operations=(one, other))
    assert [k.name for k in found.kernels] == ["gemm_n_24_k_16384"]


def test_a_layer_whose_weight_is_multiplied_by_another_one_is_no_gemm() -> None:
    sizes = {"input_size": 4096, "output_size": 1}
    layer = module("score", "sglang.srt.layers.linear.ReplicatedLinear", sizes)
    weight, other = ParameterRef("score.weight", (4096,)), ParameterRef("norm.weight", (4096,))
    found = extract(layer, operations=(operation("torch.mul", other, weight),))
    assert not found.kernels
    assert [m.what for m in found.not_covered] == [
        "GEMM of a ReplicatedLinear folded into another weight"
    ]
    # By a scale of its own it is still its own.
    scale = ParameterRef("score.weight_scale", (1,))
    found = extract(layer, operations=(operation("torch.mul", weight, scale),))
    assert [k.name for k in found.kernels] == ["gemm_n_1_k_4096"]


def test_operations_that_are_no_products_are_left_alone() -> None:
    found = extract(
        gate(),
        module("experts", "sglang.srt.layers.moe.fused_moe_triton.layer.FusedMoE", {}),
        operations=(
            operation("torch.nn.functional.embedding", TENSOR, WEIGHT),
            operation("torch.Tensor.view", WEIGHT, -1),
            operation("sglang.srt.layers.moe.topk.biased_grouped_topk", TENSOR, WEIGHT),
            operation(
                "torch.nn.functional.linear", TENSOR, ParameterRef("experts.w13_weight", (8, 4))
            ),
        ),
    )
    assert found == Extraction()


def test_float32_parameters_are_noted() -> None:
    weight = ParameterRef("mlp.gate.weight", (256, 7168), "float32")
    one = operation("torch.nn.functional.linear", TENSOR, weight)
    (kernel,) = extract(gate(), operations=(one,)).kernels
    assert kernel.notes == ("SGLang runs it in float32: mlp.gate",)


def test_a_gate_whose_forward_was_not_followed_is_a_problem() -> None:
    cls = "sglang.srt.models.deepseek_v2.MoEGate"
    silent = module("mlp.gate", cls, {}, leaf=False, attributes={"weight": WEIGHT})
    (problem,) = extract(silent).problems
    assert problem.what == "GEMM with the weight of a MoEGate"
    one = operation("torch.nn.functional.linear", TENSOR, WEIGHT)
    assert only(extract(silent, operations=(one,))) == "gemm_n_256_k_7168"
    # A vector, or a table that nothing says is a matrix of a product.
    scale = module("a", cls, {}, leaf=False, attributes={"weight": ParameterRef("a.weight", (8,))})
    table = module("b", "sglang.srt.models.x.Table", {}, leaf=False, attributes={"weight": WEIGHT})
    assert extract(scale, table) == Extraction()


def test_a_convolution_s_weight_in_a_linear_layer_is_no_gemm() -> None:
    sizes = {"input_size": 4, "output_size": 8192}
    found = extract(
        linear("mixer.conv1d", "ColumnParallelLinear", **sizes),
        linear("attn.q_conv1d", "ColumnParallelLinear", **sizes),
    )
    assert not found.kernels
    assert [(m.what, len(m.uses)) for m in found.not_covered] == [("causal convolution", 2)]
    called = module(
        "conv1d", LINEAR + "ReplicatedLinear", sizes, bases=LINEAR_BASES, calls=[call(TENSOR)]
    )
    assert only(extract(called)) == "gemm_n_8192_k_4"


def test_a_layer_that_the_model_widens_for_its_ranks_is_noted() -> None:
    widened = with_origins(8704, frozenset({"config:n_groups", "serving:tp"}))
    (kernel,) = extract(merged(output_sizes=[4096, widened]), tp=16).kernels
    assert kernel.name == "gemm_n_12800_k_4096"
    assert kernel.notes == ("the model's sizes depend on tp=16: gate_up_proj",)
    (kernel,) = extract(merged(output_sizes=[4096, widened]), tp=16, **RANK).kernels
    assert kernel.notes == ("the share of one of 16 ranks",)


def test_experts_that_are_modules_are_gemms_only_where_they_are_called() -> None:
    sizes = {"input_size": 2048, "output_size": 1408}
    path = "model.layers.1.mlp.experts.7.up_proj"
    silent = linear(path, "ReplicatedLinear", **sizes)
    assert extract(silent) == Extraction()
    cls = LINEAR + "ReplicatedLinear"
    called = module(path, cls, sizes, bases=LINEAR_BASES, calls=[call(TENSOR)])
    assert only(extract(called)) == "gemm_n_1408_k_2048"


def test_products_of_adapters_are_named() -> None:
    shrink = Operation(
        "sglang.kernels.ops.lora.shrink", "qkv", (), {"max_lora_rank": 16}, PLACE, beside=True
    )
    serving = Serving(launch=Launch("", arguments={"enable_lora": True}))
    found = matcher.extract(tree(qkv(), kernel_calls=(shrink,)), serving)
    (named,) = [op for op in found.not_covered if op.what == "LoRA: shrink"]
    assert "of rank 16 at most" in named.reason
    assert shrink.key in found.claimed


def test_aiters_product_is_a_linear_layers() -> None:
    weight = ParameterRef("gate.weight", (256, 7168), None)
    operation = Operation("aiter.tuned_gemm.tgemm.mm", "gate", (TENSOR, weight), {}, PLACE)
    (product,) = products(operation)
    assert (product.n, product.k) == (256, 7168)
