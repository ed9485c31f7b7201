"""What the server keeps keys and values in where it is not told, on real sources."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fibcore.model.tree import ModelTree
from fibcore.plugin import kv_cache_dtype

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
