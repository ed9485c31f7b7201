"""Models with more than softmax attention: what is covered is there, all else has a name.

The facts are those of the models' config.json, with the keys that SGLang's classes read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from fibcore.extraction.unclaimed import unclaimed_modules
from fibcore.model.serving import Serving
from fibcore.model.tree import ModelTree
from fibcore.ops.registry import Registry

FALCON_H1 = {  # Falcon-H1-0.5B: attention and a state space in every layer
    "architectures": ["FalconH1ForCausalLM"],
    "model_type": "falcon_h1",
    "hidden_size": 1024,
    "intermediate_size": 2048,
    "num_hidden_layers": 36,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "vocab_size": 32784,
    "mamba_d_conv": 4,
    "mamba_d_head": 64,
    "mamba_d_ssm": 1536,
    "mamba_d_state": 128,
    "mamba_expand": 2,
    "mamba_n_groups": 1,
    "mamba_n_heads": 24,
    "mamba_chunk_size": 128,
    "mamba_conv_bias": True,
    "mamba_proj_bias": False,
    "mamba_norm_before_gate": False,
    "mamba_rms_norm": False,
    "attention_bias": False,
    "mlp_bias": False,
    "projectors_bias": False,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "rope_theta": 1e11,
    "max_position_embeddings": 16384,
    "tie_word_embeddings": False,
    "key_multiplier": 0.39,
    "attention_in_multiplier": 1.0,
    "attention_out_multiplier": 0.9375,
    "embedding_multiplier": 5.65,
    "lm_head_multiplier": 0.039,
    "mlp_multipliers": [0.88, 0.58],
    "ssm_in_multiplier": 1.25,
    "ssm_out_multiplier": 0.23,
    "ssm_multipliers": [0.35, 0.25, 0.35, 0.5, 0.35],
}
GRANITE = {  # granite-4.0-h-tiny: 4 attention layers among 36 state spaces
    "architectures": ["GraniteMoeHybridForCausalLM"],
    "model_type": "granitemoehybrid",
    "hidden_size": 1536,
    "intermediate_size": 512,
    "shared_intermediate_size": 1024,
    "num_hidden_layers": 40,
    "num_attention_heads": 12,
    "num_key_value_heads": 4,
    "num_local_experts": 64,
    "num_experts_per_tok": 6,
    "vocab_size": 100352,
    "layer_types": ["attention" if i in (5, 15, 25, 35) else "mamba" for i in range(40)],
    "mamba_chunk_size": 256,
    "mamba_conv_bias": True,
    "mamba_d_conv": 4,
    "mamba_d_head": 64,
    "mamba_d_state": 128,
    "mamba_expand": 2,
    "mamba_n_groups": 1,
    "mamba_n_heads": 48,
    "mamba_proj_bias": False,
    "attention_bias": False,
    "attention_multiplier": 0.0078125,
    "embedding_multiplier": 12,
    "residual_multiplier": 0.22,
    "logits_scaling": 6,
    "normalization_function": "rmsnorm",
    "position_embedding_type": "nope",
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000,
    "rope_scaling": None,
    "hidden_act": "silu",
    "tie_word_embeddings": True,
    "max_position_embeddings": 131072,
}
KIMI_LINEAR = {  # Kimi-Linear-48B-A3B: latent attention in every fourth layer
    "architectures": ["KimiLinearForCausalLM"],
    "model_type": "kimi_linear",
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 27,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "head_dim": 72,
    "vocab_size": 163840,
    "kv_lora_rank": 512,
    "q_lora_rank": None,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "mla_use_nope": True,
    "first_k_dense_replace": 1,
    "moe_layer_freq": 1,
    "num_experts": 256,
    "num_experts_per_token": 8,
    "num_shared_experts": 1,
    "moe_intermediate_size": 1024,
    "moe_renormalize": True,
    "moe_router_activation_func": "sigmoid",
    "routed_scaling_factor": 2.446,
    "use_grouped_topk": True,
    "num_expert_group": 1,
    "topk_group": 1,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "rope_scaling": None,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "num_nextn_predict_layers": 0,
    "linear_attn_config": {
        "full_attn_layers": [4, 8, 12, 16, 20, 24, 27],
        "kda_layers": [i for i in range(1, 27) if i % 4],
        "head_dim": 128,
        "num_heads": 32,
        "short_conv_kernel_size": 4,
    },
    "max_position_embeddings": 1048576,
    "model_max_length": 1048576,
}
LFM2 = {  # LFM2-1.2B: 6 attention layers among 10 short convolutions
    "architectures": ["Lfm2ForCausalLM"],
    "model_type": "lfm2",
    "hidden_size": 2048,
    "block_ff_dim": 12288,
    "intermediate_size": 12288,
    "block_auto_adjust_ff_dim": True,
    "block_ffn_dim_multiplier": 1.0,
    "block_multiple_of": 256,
    "conv_L_cache": 3,
    "conv_bias": False,
    "layer_types": ["full_attention" if i in (2, 5, 8, 10, 12, 14) else "conv" for i in range(16)],
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "norm_eps": 1e-5,
    "rope_theta": 1000000.0,
    "vocab_size": 65536,
    "max_position_embeddings": 128000,
    "tie_embedding": True,
}
JET = {  # Jet-Nemotron-2B: full, windowed and linear attention
    "architectures": ["JetNemotronForCausalLM"],
    "model_type": "jet_nemotron",
    "hidden_size": 1536,
    "intermediate_size": 8960,
    "num_hidden_layers": 28,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "vocab_size": 151936,
    "layer_types": [
        "attn" if i in (15, 20) else "swa" if i in (21, 22) else "jet" for i in range(28)
    ],
    "efficient_attention_config": {
        "swa": {"window_size": 1152},
        "jet": {
            "mode": "chunk",
            "head_dim": 96,
            "num_heads": 12,
            "expand_v": 2.0,
            "norm_eps": 1e-5,
            "conv_size": 4,
            "dconv_generator_reduction": 8,
            "dconv_implementation": "triton",
        },
    },
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0,
    "rope_scaling": None,
    "max_position_embeddings": 65536,
    "hidden_act": "silu",
    "tie_word_embeddings": True,
}
NEMOTRON_3 = {  # Nemotron-3-Nano: state spaces, experts of relu2, 6 attention layers
    "architectures": ["NemotronHForCausalLM"],
    "model_type": "nemotron_h",
    "hidden_size": 2688,
    "intermediate_size": 1856,
    "num_hidden_layers": 52,
    "hybrid_override_pattern": "MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME",
    "num_attention_heads": 32,
    "num_key_value_heads": 2,
    "head_dim": 128,
    "attention_head_dim": 128,
    "vocab_size": 131072,
    "mamba_num_heads": 64,
    "mamba_head_dim": 64,
    "mamba_hidden_act": "silu",
    "mamba_proj_bias": False,
    "ssm_state_size": 128,
    "n_groups": 8,
    "conv_kernel": 4,
    "chunk_size": 128,
    "expand": 2,
    "use_bias": False,
    "use_conv_bias": True,
    "mlp_bias": False,
    "attention_bias": False,
    "mlp_hidden_act": "relu2",
    "n_routed_experts": 128,
    "n_shared_experts": 1,
    "moe_intermediate_size": 1856,
    "moe_shared_expert_intermediate_size": 3712,
    "num_experts_per_tok": 6,
    "n_group": 1,
    "topk_group": 1,
    "norm_topk_prob": True,
    "routed_scaling_factor": 2.5,
    "layer_norm_epsilon": 1e-5,
    "norm_eps": 1e-5,
    "residual_in_fp32": False,
    "rescale_prenorm_residual": True,
    "max_position_embeddings": 262144,
    "tie_word_embeddings": False,
    "sliding_window": None,
}
BERT = {
    "architectures": ["BertModel"],
    "model_type": "bert",
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "vocab_size": 30522,
    "type_vocab_size": 2,
    "max_position_embeddings": 512,
    "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
    "position_embedding_type": "absolute",
    "pad_token_id": 0,
}
GROK_2 = {
    "architectures": ["Grok1ForCausalLM"],
    "model_type": "git",
    "hidden_size": 8192,
    "intermediate_size": 32768,
    "moe_intermediate_size": 16384,
    "num_hidden_layers": 64,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 131072,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-5,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "attn_logit_softcapping": 30.0,
    "router_logit_softcapping": 30.0,
    "final_logit_softcapping": 50,
    "attn_temperature_len": 1024,
    "residual_moe": True,
    "embedding_multiplier_scale": 90.50966799187809,
    "output_multiplier_scale": 0.5,
    "rope_theta": 208533496,
    "rope_type": "original",
    "scaling_factor": 16.0,
    "original_max_position_embeddings": 8192,
    "extrapolation_factor": 1.0,
    "attn_factor": 1.0,
    "beta_fast": 8,
    "beta_slow": 1,
    "hidden_act": "gelu",
}
BAICHUAN = {  # Baichuan2-13B: ALiBi, of which SGLang makes slopes that its CUDA layers do not use
    "architectures": ["BaichuanForCausalLM"],
    "model_type": "baichuan",
    "hidden_size": 5120,
    "intermediate_size": 13696,
    "num_hidden_layers": 40,
    "num_attention_heads": 40,
    "vocab_size": 125696,
    "model_max_length": 4096,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-6,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "pad_token_id": 0,
}
LONGCAT = {
    "architectures": ["LongcatFlashForCausalLM"],
    "model_type": "longcat_flash",
    "hidden_size": 6144,
    "ffn_hidden_size": 12288,
    "expert_ffn_hidden_size": 2048,
    "num_layers": 28,
    "num_attention_heads": 64,
    "kv_lora_rank": 512,
    "q_lora_rank": 1536,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "n_routed_experts": 512,
    "zero_expert_num": 256,
    "zero_expert_type": "identity",
    "moe_topk": 12,
    "norm_topk_prob": False,
    "routed_scaling_factor": 6.0,
    "router_bias": False,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000000.0,
    "max_position_embeddings": 131072,
    "mla_scale_q_lora": True,
    "mla_scale_kv_lora": True,
    "vocab_size": 131072,
    "attention_bias": False,
    "attention_method": "MLA",
    "hidden_act": "silu",
    "tie_word_embeddings": False,
}

Everything = Callable[[Any], tuple[Counter[str], Counter[str], Counter[str]]]


@pytest.fixture(scope="module")
def everything(real: Callable[..., ModelTree], op_plugins: Registry) -> Everything:
    """Layers by kernel (page size 1), by what is not covered, and by what no plugin knows."""

    def extract(config: Any) -> tuple[Counter[str], Counter[str], Counter[str]]:
        tree = real(config)
        extractions, errors = op_plugins.extract(tree, Serving(options={"page_size": (1,)}))
        assert not errors
        assert not tree.missing
        kernels: Counter[str] = Counter()
        gaps: Counter[str] = Counter()
        for _, extraction in extractions:
            for kernel in extraction.kernels:
                kernels[kernel.name] += len({use.path for use in kernel.uses})
            for entry in extraction.not_covered:
                gaps[entry.what] += len({use.path for use in entry.uses})
        claimed = frozenset().union(*(e.claimed for _, e in extractions))
        left = Counter(use.cls.rpartition(".")[2] for use in unclaimed_modules(tree, claimed))
        return kernels, gaps, left

    return extract


def gqa(sizes: str, layers: int, suffix: str = "") -> dict[str, int]:
    """The three kernels of an attention layer at page size 1."""
    names = (
        f"gqa_paged_decode_{sizes}_ps1",
        f"gqa_paged_prefill_causal_{sizes}_ps1",
        f"gqa_ragged_prefill_causal_{sizes}",
    )
    return {name + suffix: layers for name in names}


@pytest.mark.parametrize(
    ("config", "kernels", "gaps", "left"),
    [
        pytest.param(
            FALCON_H1,
            {
                **gqa("h8_kv2_d64", 36),
                "gemm_n_3352_k_1024": 36,
                "gemm_n_1024_k_1536": 36,
                "silu_and_mul_h4096": 36,
                "mamba_ssu_decode_h24_d64_s128_ng1": 36,
                "mamba_ssd_prefill_h24_d64_s128_ng1": 36,
                "causal_conv1d_update_d1792_w4_silu_bias": 36,
                "causal_conv1d_prefill_d1792_w4_silu_bias": 36,
            },
            {"causal convolution": 36},
            {},
            id="falcon-h1",
        ),
        pytest.param(
            GRANITE,
            {
                **gqa("h12_kv4_d128", 4),
                "gemm_n_6448_k_1536": 36,
                "moe_bf16_renorm_topk6_e64_h1536_i512": 40,
                "mamba_ssu_decode_h48_d64_s128_ng1": 36,
                "mamba_ssd_prefill_h48_d64_s128_ng1": 36,
            },
            {"causal convolution": 36},
            {},
            id="granite-4-hybrid",
        ),
        pytest.param(
            KIMI_LINEAR,
            {
                "mla_paged_decode_h32_ckv512_kpe64_ps1": 7,
                "mla_ragged_prefill_causal_h32_qk192_vo128": 7,
                "moe_bf16_ds_routing_topk8_ng1_kg1_e256_h2304_i1024": 26,
                "gemm_n_8192_k_512": 7,
                "kda_decode_qk32_v32_d128_k_last": 20,
                "kda_mtp_qk32_v32_d128_k_last": 20,
                "kda_prefill_qk32_v32_d128_k_last": 20,
            },
            {
                "batched GEMM b32_n512_k128 (absorbed query projection)": 7,
                "batched GEMM b32_n128_k512 (absorbed value projection)": 7,
            },
            {},
            id="kimi-linear",
        ),
        pytest.param(
            LFM2,
            {
                **gqa("h32_kv8_d64", 6),
                "gemm_n_6144_k_2048": 10,
                "rmsnorm_h64": 12,
                "causal_conv1d_update_d2048_w3": 10,
                "causal_conv1d_prefill_d2048_w3": 10,
            },
            {},
            {},
            id="lfm2",
        ),
        pytest.param(
            JET,
            {**gqa("h12_kv2_d128", 2), **gqa("h12_kv2_d128", 2, "_swa1153")},
            {},
            {"JetBlock": 24},
            id="jet-nemotron",
        ),
        pytest.param(
            NEMOTRON_3,
            {
                **gqa("h32_kv2_d128", 6),
                "gemm_n_10304_k_2688": 23,
                "gemm_n_128_k_2688": 23,
                "mamba_ssu_decode_h64_d64_s128_ng8": 23,
                "mamba_ssd_prefill_h64_d64_s128_ng8": 23,
                "moe_bf16_relu2_ds_routing_topk6_ng1_kg1_e128_h2688_i1856": 23,
            },
            {"causal convolution": 23},
            {},
            id="nemotron-3",
        ),
        pytest.param(
            BERT,
            {
                "gemm_n_2304_k_768": 12,
                "gemm_n_3072_k_768": 12,
                "gelu_i3072": 12,
                "layernorm_bf16_h768": 25,
                "gqa_ragged_prefill_h12_kv12_d64": 12,
            },
            {},
            {},
            id="bert",
        ),
        pytest.param(
            GROK_2,
            {
                "gemm_n_10240_k_8192": 64,
                "gemm_n_8_k_8192": 64,
                "moe_bf16_gelu_softcap_routing_topk2_e8_h8192_i16384": 64,
            },
            {
                "GeluAndMul that is not run": 64,
                "gqa_paged with logit cap 30 and temperature by position beyond 1024": 64,
                "rmsnorm_h8192 inside fused_rmsnorm": 1,
                "rmsnorm_h8192 inside fused_dual_residual_rmsnorm": 256,
            },
            {},
            id="grok-2",
        ),
        pytest.param(
            BAICHUAN,
            {"gemm_n_15360_k_5120": 40, "silu_and_mul_h27392": 40},
            {"gqa_paged with ALiBi biases": 40},
            {},
            id="baichuan2-13b",
        ),
    ],
)
def test_what_is_covered_and_what_has_a_name(
    everything: Everything,
    config: dict[str, Any],
    kernels: dict[str, int],
    gaps: dict[str, int],
    left: dict[str, int],
) -> None:
    found = everything(config)
    for counted, expected in zip(found, (kernels, gaps, left), strict=True):
        assert {name: counted[name] for name in expected} == expected
    layers = Counter(k.partition("_")[0] for k in found[0] if "_decode_" in k)
    wanted = Counter(k.partition("_")[0] for k in kernels if "_decode_" in k)
    assert layers == wanted, "attention of no other kind"


def test_zero_experts_are_chosen(everything: Everything, request: pytest.FixtureRequest) -> None:
    if "0.5.23" in request.node.name:
        pytest.skip("the config class of that release leaves rope_parameters, which it needs, None")
    kernels, gaps, _ = everything(LONGCAT)
    assert kernels["mla_paged_decode_h64_ckv512_kpe64_ps1"] == 56
    assert kernels["gemm_n_768_k_6144"] == 28  # the router scores the zero experts too
    assert kernels["moe_bf16_softmax_bias_routing_topk12_e512_h6144_i2048"] == 28
    assert gaps["batched GEMM b64_n512_k128 (absorbed query projection)"] == 56


def test_an_embedding_is_no_gemm(everything: Everything) -> None:
    kernels, _, left = everything(BERT)
    assert [name for name in kernels if "30522" in name] == ["embedding_v30522_h768"]
    assert not left["VocabParallelEmbedding"]
