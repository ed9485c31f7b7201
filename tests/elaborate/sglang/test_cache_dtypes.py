"""What the server keeps keys and values in where it is not told, on real sources."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fibcore.configs.catalogue import resolve_model
from fibcore.elaborate import elaborate
from fibcore.model.serving import Serving
from fibcore.model.tree import ModelTree
from fibcore.plugin import kv_cache_dtype
from fibcore.sources.tree import tree_at

MODEL = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 1,
    "vocab_size": 1024,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "max_position_embeddings": 2048,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
}
FLOAT8 = {"num_bits": 8, "type": "float", "strategy": "tensor", "symmetric": True, "dynamic": False}
GROUP = {"targets": ["Linear"], "weights": FLOAT8, "input_activations": FLOAT8}
COMPRESSED = {
    "quant_method": "compressed-tensors",
    "format": "float-quantized",
    "config_groups": {"group_0": GROUP},
}
MODELOPT = {"quant_method": "modelopt", "quant_algo": "FP8", "ignore": []}
FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic"}


@pytest.mark.parametrize(
    ("section", "since"),
    [
        (None, None),
        (FP8, None),
        (COMPRESSED, None),
        (MODELOPT, None),
        ({**MODELOPT, "kv_cache_scheme": FLOAT8}, "0.5.9"),
        ({**MODELOPT, "kv_cache_scheme": {**FLOAT8, "type": "int"}}, None),
        # 0.5.23 takes the scales of these for what they are, 0.5.9 does not read them.
        ({**COMPRESSED, "kv_cache_scheme": FLOAT8}, "0.5.23"),
        ({**FP8, "kv_cache_quant_algo": "FP8"}, "0.5.23"),
        # Scales that are made on the fly are ignored.
        ({**COMPRESSED, "kv_cache_scheme": {**FLOAT8, "dynamic": True}}, None),
    ],
)
def test_auto_follows_the_checkpoint_as_the_release_does(
    real: Callable[..., ModelTree], section: dict[str, Any] | None, since: str | None
) -> None:
    tree = real({**MODEL, **({"quantization_config": section} if section else {})})
    quantised = since == "0.5.9" or (since is not None and tree.source_version == since)
    assert tree.kv_cache_dtype == ("fp8_e4m3" if quantised else "model")
    assert kv_cache_dtype(tree) == ("float8_e4m3fn" if quantised else None)


CHOOSES_KEYS = {
    "architectures": ["DeepseekV32ForCausalLM"],
    "model_type": "deepseek_v32",
    "hidden_size": 256,
    "intermediate_size": 512,
    "moe_intermediate_size": 128,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "num_hidden_layers": 1,
    "first_k_dense_replace": 1,
    "moe_layer_freq": 1,
    "n_routed_experts": 8,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
    "topk_method": "noaux_tc",
    "scoring_func": "sigmoid",
    "norm_topk_prob": True,
    "routed_scaling_factor": 2.5,
    "q_lora_rank": 128,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "index_head_dim": 128,
    "index_n_heads": 64,
    "index_topk": 2048,
    "vocab_size": 1024,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000,
    "max_position_embeddings": 4096,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
}
ASKS_FOR_FP8 = {**MODELOPT, "kv_cache_scheme": FLOAT8}


@pytest.mark.parametrize(
    ("gpu", "section", "changed", "dtype"),
    [
        ("H100", ASKS_FOR_FP8, {}, "bfloat16"),
        ("B200", None, {}, "fp8_e4m3"),
        # One that has no indexer follows the checkpoint as others do.
        ("H100", ASKS_FOR_FP8, {"index_topk": None}, "fp8_e4m3"),
    ],
)
def test_the_gpu_decides_for_attention_to_chosen_keys(
    sglang_source: Path,
    gpu: str,
    section: dict[str, Any] | None,
    changed: dict[str, Any],
    dtype: str,
) -> None:
    config = {**CHOOSES_KEYS, **changed, **({"quantization_config": section} if section else {})}
    source = tree_at(sglang_source / "sglang", "sglang", "tests")
    model = resolve_model("small", config_file=config).config
    assert elaborate(source, model, Serving(gpu=gpu)).kv_cache_dtype == dtype
