"""What a server keeps keys and values in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fibcore.model.serving import Serving
from fibcore.model.tree import ModelTree

FP8 = "float8_e4m3fn"
_SERVED: Mapping[str, str | None] = {
    "model": None,
    "bf16": None,
    "bfloat16": None,
    "fp8_e4m3": FP8,
    "fp8_e5m2": "float8_e5m2",
    "fp4_e2m1": "float4_e2m1",
    "fp4_mx_block16": "float4_e2m1",
}
"""Choices of `--kv-cache-dtype`, and the model's own dtype.

One that is not here stands for itself, so that none is plain.
"""


_LINEAR: Mapping[str, str] = {
    "BailingMoELinearAttention": "float32",
    "MiniCPMLightningMixer": "bfloat16",
}
"""Classes of models that hold linear attention in a `RadixAttention`, and the dtype of its rows."""


def linear_attention_dtype(path: str, tree: ModelTree) -> str | None:
    """The dtype of queries, keys and values of linear attention that looks like softmax attention.

    A server sends some calls of `RadixAttention` to its backend of linear attention, by the layer's
    number (`LightningAttentionBackend` of `srt/layers/attention/linear`). Such a layer keeps a
    state of each sequence and writes no keys. What holds the layer tells.

    Args:
        path: Where a `RadixAttention` stands.
        tree: The model.

    Returns:
        The dtype; None for softmax attention.
    """
    holder = tree.parent(path)
    return None if holder is None else _LINEAR.get(holder.class_name)


_BACKENDS = (
    *("dsa_prefill_backend", "dsa_decode_backend"),
    *("nsa_prefill_backend", "nsa_decode_backend"),  # until 0.5.12 or so
)
_PLAIN_ROWS = ("trtllm", "tilelang", "triton", "aiter")
"""Backends of attention to chosen keys whose fp8 caches hold nothing but the numbers."""
_HOPPER = ("H100", "H200")


def has_block_scales(serving: Serving) -> bool | None:
    """Whether an fp8 cache of latent attention to chosen keys holds scales among its numbers.

    FlashMLA's kernels read rows of latent numbers in fp8, a float32 scale for 128 of them, and the
    rope part in bfloat16; TensorRT-LLM's and TileLang's read plain numbers
    (`calculate_mla_kv_cache_dim` of SGLang 0.5.23, `model_runner_kv_cache_mixin.py` of 0.5.9). The
    backends that the launch gives tell, or that the server made of it. On Hopper FlashMLA's is the
    one by default.

    Args:
        serving: How the model is served.

    Returns:
        None where neither the launch nor the GPU tells.
    """
    told = [serving.argument(name) for name in _BACKENDS]
    named = [backend for backend in told if isinstance(backend, str)]
    if any(backend in _PLAIN_ROWS for backend in named):
        return False
    if serving.gpu in _HOPPER or any(backend.startswith("flashmla") for backend in named):
        return True
    return None


def kv_cache_dtype(tree: ModelTree) -> str | None:
    """Dtype of a model's KV cache where it is quantised; None for the model's own dtype.

    What the server is told with `--kv-cache-dtype` comes first, then what the release makes of the
    checkpoint with `--kv-cache-dtype auto`: recent ones take FP8 from ModelOpt's
    `kv_cache_quant_algo` and `kv_cache_scheme`, and from a compressed-tensors `kv_cache_scheme`.
    Where neither is known (in trees that are written by hand), the config of a ModelOpt checkpoint
    tells.
    """
    if tree.kv_cache_dtype != "auto":
        return _SERVED.get(tree.kv_cache_dtype, tree.kv_cache_dtype)
    return FP8 if any(_says_fp8(section) for section in _quantizations(tree)) else None


def _quantizations(tree: ModelTree) -> Iterator[Mapping[str, Any]]:
    """What the config says of quantisation, that of a nested text model first."""
    for config in (tree.config.get("text_config"), tree.config):
        found = config.get("quantization_config") if isinstance(config, Mapping) else None
        if isinstance(found, Mapping):
            yield found


def _says_fp8(quantization: Mapping[str, Any]) -> bool:
    for section in (quantization, quantization.get("quantization")):
        algorithm = section.get("kv_cache_quant_algo") if isinstance(section, Mapping) else None
        if isinstance(algorithm, str) and algorithm.upper() == "FP8":
            return True
    scheme = quantization.get("kv_cache_scheme")
    if "quant_algo" not in quantization:
        return False
    if isinstance(scheme, Mapping):
        return (scheme.get("type"), scheme.get("num_bits")) == ("float", 8)
    return isinstance(scheme, str) and scheme.strip().upper() in ("FP8", "FLOAT8")
