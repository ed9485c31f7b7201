"""Real models on SGLang's real source, both known versions: exact sizes, counts and norm calls.

The configs are the published constants of each model, written down as facts. The answers follow
from them and from how SGLang serves the model.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from fibcore.errors import ConfigError, ServingError
from fibcore.model.tree import ModelTree, ModuleNode, ParameterRef, Quantization, origins_of

Real = Callable[..., ModelTree]
Config = Mapping[str, Any]

COMMON = {"hidden_act": "silu", "tie_word_embeddings": False, "torch_dtype": "bfloat16"}
LLAMA = {
    **COMMON,
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "attention_bias": False,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "max_position_embeddings": 131072,
    "mlp_bias": False,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-05,
    "rope_scaling": {
        "factor": 8.0,
        "high_freq_factor": 4.0,
        "low_freq_factor": 1.0,
        "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    },
    "rope_theta": 500000.0,
    "vocab_size": 128256,
}
MISTRAL_NEMO = {
    **COMMON,
    "architectures": ["MistralForCausalLM"],
    "model_type": "mistral",
    "head_dim": 128,
    "hidden_size": 5120,
    "intermediate_size": 14336,
    "max_position_embeddings": 131072,
    "num_attention_heads": 32,
    "num_hidden_layers": 40,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-05,
    "rope_theta": 1000000.0,
    "sliding_window": None,
    "vocab_size": 131072,
}
QWEN2 = {
    **COMMON,
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "max_position_embeddings": 131072,
    "max_window_layers": 28,
    "num_attention_heads": 28,
    "num_hidden_layers": 28,
    "num_key_value_heads": 4,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "sliding_window": 131072,
    "use_sliding_window": False,
    "vocab_size": 152064,
}
QWEN3 = {
    **COMMON,
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "attention_bias": False,
    "head_dim": 128,
    "hidden_size": 4096,
    "intermediate_size": 12288,
    "max_position_embeddings": 40960,
    "max_window_layers": 36,
    "num_attention_heads": 32,
    "num_hidden_layers": 36,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "sliding_window": None,
    "use_sliding_window": False,
    "vocab_size": 151936,
}
MIXTRAL = {
    **COMMON,
    "architectures": ["MixtralForCausalLM"],
    "model_type": "mixtral",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "max_position_embeddings": 32768,
    "num_attention_heads": 32,
    "num_experts_per_tok": 2,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "num_local_experts": 8,
    "rms_norm_eps": 1e-05,
    "rope_theta": 1000000.0,
    "sliding_window": None,
    "vocab_size": 32000,
}
QWEN2_MOE = {
    **COMMON,
    "architectures": ["Qwen2MoeForCausalLM"],
    "model_type": "qwen2_moe",
    "decoder_sparse_step": 1,
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "max_position_embeddings": 8192,
    "max_window_layers": 21,
    "moe_intermediate_size": 1408,
    "norm_topk_prob": False,
    "num_attention_heads": 16,
    "num_experts": 60,
    "num_experts_per_tok": 4,
    "num_hidden_layers": 24,
    "num_key_value_heads": 16,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "shared_expert_intermediate_size": 5632,
    "sliding_window": 32768,
    "use_sliding_window": False,
    "vocab_size": 151936,
}
QWEN3_MOE = {
    **COMMON,
    "architectures": ["Qwen3MoeForCausalLM"],
    "model_type": "qwen3_moe",
    "attention_bias": False,
    "decoder_sparse_step": 1,
    "head_dim": 128,
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "max_position_embeddings": 40960,
    "max_window_layers": 48,
    "mlp_only_layers": [],
    "moe_intermediate_size": 768,
    "norm_topk_prob": True,
    "num_attention_heads": 32,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "num_hidden_layers": 48,
    "num_key_value_heads": 4,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000.0,
    "sliding_window": None,
    "use_sliding_window": False,
    "vocab_size": 151936,
}
FP8 = {
    "activation_scheme": "dynamic",
    "fmt": "e4m3",
    "quant_method": "fp8",
    "weight_block_size": [128, 128],
}
DEEPSEEK_V3 = {
    **COMMON,
    "architectures": ["DeepseekV3ForCausalLM"],
    "model_type": "deepseek_v3",
    "attention_bias": False,
    "first_k_dense_replace": 3,
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "kv_lora_rank": 512,
    "max_position_embeddings": 163840,
    "moe_intermediate_size": 2048,
    "moe_layer_freq": 1,
    "n_group": 8,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "norm_topk_prob": True,
    "num_attention_heads": 128,
    "num_experts_per_tok": 8,
    "num_hidden_layers": 61,
    "num_key_value_heads": 128,
    "num_nextn_predict_layers": 1,
    "q_lora_rank": 1536,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "quantization_config": FP8,
    "rms_norm_eps": 1e-06,
    "rope_scaling": {
        "beta_fast": 32,
        "beta_slow": 1,
        "factor": 40,
        "mscale": 1.0,
        "mscale_all_dim": 1.0,
        "original_max_position_embeddings": 4096,
        "type": "yarn",
    },
    "rope_theta": 10000,
    "routed_scaling_factor": 2.5,
    "scoring_func": "sigmoid",
    "topk_group": 4,
    "topk_method": "noaux_tc",
    "v_head_dim": 128,
    "vocab_size": 129280,
}
GEMMA2 = {
    "architectures": ["Gemma2ForCausalLM"],
    "model_type": "gemma2",
    "attention_bias": False,
    "attn_logit_softcapping": 50.0,
    "final_logit_softcapping": 30.0,
    "head_dim": 256,
    "hidden_act": "gelu_pytorch_tanh",
    "hidden_activation": "gelu_pytorch_tanh",
    "hidden_size": 3584,
    "intermediate_size": 14336,
    "max_position_embeddings": 8192,
    "num_attention_heads": 16,
    "num_hidden_layers": 42,
    "num_key_value_heads": 8,
    "query_pre_attn_scalar": 256,
    "rms_norm_eps": 1e-06,
    "rope_theta": 10000.0,
    "sliding_window": 4096,
    "vocab_size": 256000,
}
QWEN3_NEXT = {
    **COMMON,
    "architectures": ["Qwen3NextForCausalLM"],
    "model_type": "qwen3_next",
    "attention_bias": False,
    "decoder_sparse_step": 1,
    "full_attention_interval": 4,
    "head_dim": 256,
    "hidden_size": 2048,
    "intermediate_size": 5120,
    "linear_conv_kernel_dim": 4,
    "linear_key_head_dim": 128,
    "linear_num_key_heads": 16,
    "linear_num_value_heads": 32,
    "linear_value_head_dim": 128,
    "max_position_embeddings": 262144,
    "mlp_only_layers": [],
    "moe_intermediate_size": 512,
    "norm_topk_prob": True,
    "num_attention_heads": 16,
    "num_experts": 512,
    "num_experts_per_tok": 10,
    "num_hidden_layers": 48,
    "num_key_value_heads": 2,
    "partial_rotary_factor": 0.25,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 10000000,
    "shared_expert_intermediate_size": 512,
    "vocab_size": 151936,
}

BLOCK = Quantization("fp8", "float8_e4m3fn", "block", (128, 128), None, "dynamic")


def at(tree: ModelTree, path: str) -> ModuleNode:
    found = tree.find(path)
    assert found is not None, path
    return found


def each(tree: ModelTree, path: str) -> list[ModuleNode]:
    """The module of this path in every layer; `{}` stands for the layer."""
    count = len(at(tree, "model.layers").children)
    return [node for i in range(count) if (node := tree.find(path.format(i))) is not None]


def one_of_all(tree: ModelTree, path: str, *names: str) -> tuple[Any, ...]:
    """Constructor arguments that are the same in every layer that has this module."""
    found = {tuple(_hashable(n.argument(name)) for name in names) for n in each(tree, path)}
    assert len(found) == 1, found
    return found.pop()


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def norms(tree: ModelTree, path: str) -> list[str]:
    """How a norm is called in each layer: plain, or fused with the add of a residual."""
    kinds = []
    for node in each(tree, path) if "{}" in path else [at(tree, path)]:
        calls = {"plain" if c.argument(1, "residual") is None else "fused" for c in node.calls}
        kinds.append("+".join(sorted(calls)) or "never called")
    return kinds


def first_plain(count: int) -> list[str]:
    """The first layer has no residual to add."""
    return ["plain"] + ["fused"] * (count - 1)


def whole(tree: ModelTree) -> ModelTree:
    assert tree.missing == ()
    assert tree.warnings == ()
    return tree


QKV = ("hidden_size", "head_size", "total_num_heads", "total_num_kv_heads", "bias")
ATTENTION = ("num_heads", "head_dim", "num_kv_heads", "scaling")


def test_llama(real: Real) -> None:
    tree = whole(real(LLAMA))
    layer = "model.layers.{}."
    assert len(each(tree, "model.layers.{}")) == 32
    assert one_of_all(tree, layer + "self_attn.qkv_proj", *QKV) == (4096, 128, 32, 8, False)
    assert one_of_all(tree, layer + "self_attn.o_proj", "input_size", "output_size") == (4096, 4096)
    assert one_of_all(tree, layer + "self_attn.attn", *ATTENTION) == (32, 128, 8, 128**-0.5)
    assert one_of_all(tree, layer + "self_attn.attn", "sliding_window_size", "logit_cap") == (-1, 0)
    assert one_of_all(tree, layer + "mlp.gate_up_proj", "input_size", "output_sizes") == (
        4096,
        (14336, 14336),
    )
    assert one_of_all(tree, layer + "mlp.down_proj", "input_size", "output_size") == (14336, 4096)
    assert [n.argument("layer_id") for n in each(tree, layer + "self_attn.attn")] == list(range(32))
    assert norms(tree, layer + "input_layernorm") == first_plain(32)
    assert norms(tree, layer + "post_attention_layernorm") == ["fused"] * 32
    assert norms(tree, "model.norm") == ["fused"]
    assert one_of_all(tree, layer + "input_layernorm", "hidden_size", "eps") == (4096, 1e-05)
    head = at(tree, "lm_head")
    assert (head.argument("num_embeddings"), head.argument("embedding_dim")) == (128256, 4096)
    assert all(n.quantization is None for n in tree.walk())
    assert tree.operations == ()
    rope = at(tree, "model.layers.0.self_attn.rotary_emb")
    assert rope.class_name == "Llama3RotaryEmbedding"
    assert (rope.argument("base"), rope.argument("scaling_factor")) == (500000.0, 8.0)


@pytest.mark.parametrize(("tp", "heads", "kv"), [(1, 32, 8), (4, 8, 2), (8, 4, 1), (16, 2, 1)])
def test_attention_heads_are_those_of_a_rank(real: Real, tp: int, heads: int, kv: int) -> None:
    tree = whole(real(LLAMA, tp=tp))
    path = "model.layers.{}.self_attn.attn"
    assert one_of_all(tree, path, "num_heads", "num_kv_heads") == (heads, kv)
    node = at(tree, path.format(31))
    assert {"config:num_attention_heads", "serving:tp"} <= origins_of(node.argument("num_heads"))
    assert "config:num_key_value_heads" in origins_of(node.argument("num_kv_heads"))
    assert "config:hidden_size" in origins_of(node.argument("head_dim"))
    # Linear layers are given the whole layer's sizes, whatever the rank.
    assert one_of_all(tree, "model.layers.{}.self_attn.qkv_proj", *QKV)[2:4] == (32, 8)


@pytest.mark.parametrize("tp", [3, 5, 64])
def test_ranks_that_do_not_divide_the_heads(real: Real, tp: int) -> None:
    with pytest.raises(ServingError) as caught:
        real(LLAMA, tp=tp)
    assert f"tp={tp}" in str(caught.value)
    assert "32" in (caught.value.found or "")
    assert (caught.value.where or "").startswith("sglang/srt/")


@pytest.mark.parametrize("key", ["hidden_size", "intermediate_size", "rms_norm_eps"])
def test_a_key_that_no_class_can_default(real: Real, key: str) -> None:
    # An unknown model type has no config class to take a default from.
    config = {k: v for k, v in LLAMA.items() if k != key} | {"model_type": "no-such-type"}
    with pytest.raises(ConfigError) as caught:
        real(config)
    assert key in str(caught.value)
    assert ".py:" in (caught.value.where or "")


def test_mistral_with_heads_of_another_size(real: Real) -> None:
    tree = whole(real(MISTRAL_NEMO))
    layer = "model.layers.{}."
    # 32 heads of 128 on a width of 5120: the attention's width is 4096.
    assert one_of_all(tree, layer + "self_attn.qkv_proj", *QKV) == (5120, 128, 32, 8, False)
    assert one_of_all(tree, layer + "self_attn.o_proj", "input_size", "output_size") == (4096, 5120)
    assert one_of_all(tree, layer + "self_attn.attn", *ATTENTION) == (32, 128, 8, 128**-0.5)
    assert norms(tree, layer + "input_layernorm") == first_plain(40)
    assert norms(tree, "model.norm") == ["fused"]


def test_qwen2_has_biases_on_qkv_alone(real: Real) -> None:
    tree = whole(real(QWEN2))
    layer = "model.layers.{}."
    assert one_of_all(tree, layer + "self_attn.qkv_proj", *QKV) == (3584, 128, 28, 4, True)
    assert one_of_all(tree, layer + "self_attn.o_proj", "input_size", "bias") == (3584, False)
    assert one_of_all(tree, layer + "mlp.gate_up_proj", "output_sizes", "bias") == (
        (18944, 18944),
        False,
    )
    assert one_of_all(tree, layer + "self_attn.attn", *ATTENTION) == (28, 128, 4, 128**-0.5)
    assert norms(tree, layer + "input_layernorm") == first_plain(28)
    assert norms(tree, layer + "post_attention_layernorm") == ["fused"] * 28


def test_qwen3_normalises_queries_and_keys(real: Real) -> None:
    tree = whole(real(QWEN3, tp=2))
    attention = "model.layers.{}.self_attn."
    assert one_of_all(tree, attention + "qkv_proj", *QKV) == (4096, 128, 32, 8, False)
    assert one_of_all(tree, attention + "attn", *ATTENTION) == (16, 128, 4, 128**-0.5)
    for name in ("q_norm", "k_norm"):
        assert one_of_all(tree, attention + name, "hidden_size", "eps") == (128, 1e-06)
        assert norms(tree, attention + name) == ["plain"] * 36
    assert norms(tree, "model.layers.{}.input_layernorm") == first_plain(36)
    assert norms(tree, "model.layers.{}.post_attention_layernorm") == ["fused"] * 36
    assert norms(tree, "model.norm") == ["fused"]
    # The fused kernel of both norms is an operation on their weights.
    fused = [o for o in tree.operations if o.function.endswith("fused_inplace_qknorm")]
    assert len(fused) == 36
    assert fused[5].kwargs["q_weight"] == ParameterRef(
        "model.layers.5.self_attn.q_norm.weight", (128,), None
    )


def test_mixtral(real: Real) -> None:
    tree = whole(real(MIXTRAL))
    moe = "model.layers.{}.block_sparse_moe."
    assert one_of_all(tree, moe + "gate", "input_size", "output_size", "bias") == (4096, 8, False)
    assert one_of_all(
        tree, moe + "experts", "num_experts", "top_k", "hidden_size", "intermediate_size"
    ) == (8, 2, 4096, 14336)
    assert one_of_all(tree, moe + "topk", "top_k", "renormalize") == (2, True)
    assert all(n.calls for n in each(tree, moe + "gate"))
    assert len(each(tree, moe + "experts")) == 32
    assert norms(tree, "model.layers.{}.input_layernorm") == first_plain(32)


def test_qwen2_moe_has_a_shared_expert(real: Real) -> None:
    tree = whole(real(QWEN2_MOE))
    moe = "model.layers.{}.mlp."
    assert one_of_all(
        tree, moe + "experts", "num_experts", "top_k", "hidden_size", "intermediate_size"
    ) == (60, 4, 2048, 1408)
    assert one_of_all(tree, moe + "topk", "top_k", "renormalize") == (4, False)
    assert one_of_all(tree, moe + "gate", "input_size", "output_size") == (2048, 60)
    shared = moe + "shared_expert."
    assert one_of_all(tree, shared + "gate_up_proj", "input_size", "output_sizes") == (
        2048,
        (5632, 5632),
    )
    assert one_of_all(tree, shared + "down_proj", "input_size", "output_size") == (5632, 2048)
    gate = at(tree, "model.layers.7.mlp.shared_expert_gate")
    assert gate.cls == "torch.nn.Linear"
    assert (gate.argument("in_features"), gate.argument("out_features")) == (2048, 1)
    assert len(each(tree, moe + "experts")) == 24
    assert norms(tree, "model.layers.{}.input_layernorm") == first_plain(24)
    assert norms(tree, "model.layers.{}.post_attention_layernorm") == ["fused"] * 24


def test_qwen3_moe_in_fp8_keeps_routers_and_the_head(real: Real) -> None:
    kept = [f"model.layers.{i}.mlp.gate" for i in range(48)]
    quantised = {
        **QWEN3_MOE,
        "quantization_config": {**FP8, "modules_to_not_convert": ["lm_head", *kept]},
    }
    tree = whole(real(quantised))
    found: dict[str, set[Any]] = {}
    for node in tree.walk():
        if node.leaf:
            name = node.path.rpartition(".")[2]
            found.setdefault(name, set()).add(node.quantization)
    assert {name for name, kinds in found.items() if kinds == {BLOCK}} == {
        "qkv_proj",
        "o_proj",
        "experts",
    }
    assert {name for name, kinds in found.items() if kinds == {None}} >= {"gate", "lm_head", "topk"}
    assert not any(len(kinds) > 1 for kinds in found.values())
    assert one_of_all(
        tree,
        "model.layers.{}.mlp.experts",
        "num_experts",
        "top_k",
        "hidden_size",
        "intermediate_size",
    ) == (128, 8, 2048, 768)
    assert one_of_all(tree, "model.layers.{}.mlp.topk", "renormalize") == (True,)
    assert norms(tree, "model.layers.{}.input_layernorm") == first_plain(48)
    plain = real(QWEN3_MOE)
    assert all(n.quantization is None for n in plain.walk())
    assert [n.path for n in plain.walk()] == [n.path for n in tree.walk()]


def test_layers_that_the_quantisation_leaves_out(real: Real) -> None:
    ignored = ["model.layers.1.self_attn.o_proj", "lm_head"]
    tree = whole(real({**LLAMA, "quantization_config": {**FP8, "ignored_layers": ignored}}))
    kinds = [n.quantization for n in each(tree, "model.layers.{}.self_attn.o_proj")]
    assert kinds == [BLOCK, None] + [BLOCK] * 30
    # A merged projection has the name of none of its parts and is left out with them only.
    merged = [n.quantization for n in each(tree, "model.layers.{}.self_attn.qkv_proj")]
    assert merged == [BLOCK] * 32


def yarn(factor: float, mscale: float) -> float:
    return 0.1 * mscale * math.log(factor) + 1.0


def test_deepseek_v3_on_eight_ranks(real: Real) -> None:
    tree = whole(real(DEEPSEEK_V3, tp=8, ep=8))
    attention = "model.layers.{}.self_attn."
    # Softmax scale of the heads before absorption (128 + 64), times YaRN's mscale twice.
    scaling = 192**-0.5 * yarn(40, 1.0) ** 2
    mqa = one_of_all(tree, attention + "attn_mqa", *ATTENTION, "v_head_dim")
    mha = one_of_all(tree, attention + "attn_mha", *ATTENTION, "v_head_dim")
    assert (*mqa[:3], mqa[4]) == (16, 576, 1, 512)
    assert (*mha[:3], mha[4]) == (16, 192, 16, 128)
    assert mqa[3] == mha[3] == pytest.approx(scaling, rel=1e-12)
    assert len(each(tree, attention + "attn_mqa")) == 61
    sizes = {
        "fused_qkv_a_proj_with_mqa": (7168, 1536 + 512 + 64),
        "q_b_proj": (1536, 128 * 192),
        "kv_b_proj": (512, 128 * (128 + 128)),
        "o_proj": (128 * 128, 7168),
    }
    for name, expected in sizes.items():
        assert one_of_all(tree, attention + name, "input_size", "output_size") == expected, name
    assert norms(tree, attention + "q_a_layernorm") == ["plain"] * 61
    assert norms(tree, attention + "kv_a_layernorm") == ["plain"] * 61
    assert one_of_all(tree, attention + "kv_a_layernorm", "hidden_size") == (512,)
    assert norms(tree, "model.layers.{}.input_layernorm") == first_plain(61)
    assert norms(tree, "model.layers.{}.post_attention_layernorm") == ["fused"] * 61
    assert norms(tree, "model.norm") == ["fused"]
    kinds = Counter(n.class_name for n in each(tree, "model.layers.{}.mlp"))
    assert kinds == {"DeepseekV2MLP": 3, "DeepseekV2MoE": 58}
    assert [n.path for n in each(tree, "model.layers.{}.mlp.gate_up_proj")] == [
        f"model.layers.{i}.mlp.gate_up_proj" for i in range(3)
    ]


@pytest.mark.parametrize(("ep", "experts", "chosen", "shared"), [(8, 256, 8, 58), (1, 257, 9, 0)])
def test_deepseek_v3_fuses_the_shared_expert_where_all_are_local(
    real: Real, ep: int, experts: int, chosen: int, shared: int
) -> None:
    tree = whole(real(DEEPSEEK_V3, tp=8, ep=ep))
    moe = "model.layers.{}.mlp."
    assert one_of_all(
        tree, moe + "experts", "num_experts", "top_k", "hidden_size", "intermediate_size"
    ) == (experts, chosen, 7168, 2048)
    assert one_of_all(tree, moe + "experts", "routed_scaling_factor") == (2.5,)
    assert len(each(tree, moe + "shared_experts")) == shared
    topk = at(tree, "model.layers.60.mlp.topk")
    names = ("renormalize", "use_grouped_topk", "num_expert_group", "topk_group")
    assert tuple(topk.argument(n) for n in names) == (True, True, 8, 4)
    assert topk.argument("correction_bias") == ParameterRef(
        "model.layers.60.mlp.gate.e_score_correction_bias", (256,), "float32"
    )


def test_deepseek_v3_routes_by_an_operation_on_a_parameter(real: Real) -> None:
    tree = real(DEEPSEEK_V3, tp=8, ep=8)
    routers = {}
    for operation in tree.operations:
        if operation.module.endswith(".mlp.gate"):
            (weight,) = (a for a in operation.args if isinstance(a, ParameterRef))
            routers[operation.module] = weight
    assert list(routers) == [f"model.layers.{i}.mlp.gate" for i in range(3, 61)]
    for path, weight in routers.items():
        assert weight.path == f"{path}.weight"
        assert weight.shape == (256, 7168)


def test_deepseek_v3_is_quantised_but_for_norms_routers_and_the_head(real: Real) -> None:
    tree = real(DEEPSEEK_V3, tp=8, ep=8)
    plain, blocks = set(), set()
    for node in tree.walk():
        if node.leaf and node.is_a("LinearBase", "FusedMoE", "VocabParallelEmbedding"):
            (blocks if node.quantization == BLOCK else plain).add(node.path.rpartition(".")[2])
    assert blocks == {
        "fused_qkv_a_proj_with_mqa",
        "q_b_proj",
        "kv_b_proj",
        "o_proj",
        "gate_up_proj",
        "down_proj",
        "experts",
    }
    assert plain == {"embed_tokens", "lm_head"}


def test_gemma2_has_norms_on_both_sides(real: Real) -> None:
    tree = whole(real(GEMMA2))
    layer = "model.layers.{}."
    assert norms(tree, layer + "input_layernorm") == first_plain(42)
    assert norms(tree, layer + "post_attention_layernorm") == ["plain"] * 42
    assert norms(tree, layer + "pre_feedforward_layernorm") == ["fused"] * 42
    assert norms(tree, layer + "post_feedforward_layernorm") == ["plain"] * 42
    assert norms(tree, "model.norm") == ["fused"]
    assert at(tree, "model.norm").class_name == "GemmaRMSNorm"
    attn = layer + "self_attn.attn"
    assert one_of_all(tree, attn, *ATTENTION, "logit_cap") == (16, 256, 8, 256**-0.5, 50.0)
    # Every other layer looks back over a window; SGLang's bound is inclusive.
    windows = [n.argument("sliding_window_size") for n in each(tree, attn)]
    assert windows == [4095, None] * 21


def test_qwen3_next_alternates_linear_and_full_attention(real: Real) -> None:
    tree = whole(real(QWEN3_NEXT))
    layers = each(tree, "model.layers.{}")
    full = [i for i, n in enumerate(layers) if "linear_attn" not in n.children]
    assert full == list(range(3, 48, 4))
    assert one_of_all(tree, "model.layers.{}.attn", *ATTENTION) == (16, 256, 2, 256**-0.5)
    assert [n.argument("layer_id") for n in each(tree, "model.layers.{}.attn")] == full
    # Queries come with an output gate of the same size: 2 * 16 heads.
    assert one_of_all(tree, "model.layers.{}.qkv_proj", *QKV) == (2048, 256, 32, 2, False)
    linear = "model.layers.{}.linear_attn.attn"
    names = ("num_k_heads", "num_v_heads", "head_k_dim", "head_v_dim")
    assert one_of_all(tree, linear, *names) == (16, 32, 128, 128)
    assert len(each(tree, linear)) == 36
    for name in ("q_norm", "k_norm"):
        assert norms(tree, "model.layers.{}." + name) == ["plain"] * 12
    assert norms(tree, "model.layers.{}.input_layernorm") == first_plain(48)
    assert norms(tree, "model.layers.{}.post_attention_layernorm") == ["fused"] * 48
    experts = each(tree, "model.layers.{}.mlp.experts")
    assert len(experts) == 48
    fused = experts[0].argument("num_fused_shared_experts")
    assert {n.argument("num_experts") for n in experts} == {512 + fused}
    assert {n.argument("top_k") for n in experts} == {10 + fused}
    assert len(each(tree, "model.layers.{}.mlp.shared_expert")) == (0 if fused else 48)
