"""Bytes that one rank holds of a model: its weights, and keys and values of one token.

Counted are the weights of linear layers, experts, vocabularies and other parameters whose shapes
the tree has, with the scales of their formats. Activations, graphs and what a library allocates are
not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from fibcore.model.dtypes import TABLE
from fibcore.model.serving import Serving
from fibcore.model.tree import ModelTree, ModuleNode, ParameterRef, Quantization, Unknown
from fibcore.ops.authoring.caches import kv_cache_dtype, linear_attention_dtype
from fibcore.ops.authoring.decided import UndecidedError, decided_size
from fibcore.ops.authoring.linears import EMBEDDING, rank_sizes, rank_vocabulary

EXPERTS = "FusedMoE"
_ATTENTION = "RadixAttention"
_FLOAT32 = 4
_LONG = ("float32", "float")
_NARROW_GROUP = 32
"""Groups up to this size have scales of a byte (MX formats, NVFP4), longer ones of two."""


@attrs.frozen
class RankMemory:
    """What one rank holds.

    Attributes:
        weights: Bytes of weights.
        per_token: Bytes of keys and values of one token, in all layers of the rank; None where a
            layer's are not known.
        not_counted: Modules whose weights are not known, by class, with the reason.
    """

    weights: int
    per_token: int | None
    not_counted: Mapping[str, str]


def rank_memory(tree: ModelTree, serving: Serving) -> RankMemory:
    """The bytes of one rank of a model.

    Args:
        tree: The model at these sizes.
        serving: How it is served.
    """
    # The server serves a checkpoint of float32 in 16 bits, unless `--dtype` says otherwise.
    bits = 32 if serving.argument("dtype") in _LONG else 16
    total = 0
    lost: dict[str, str] = {}
    for node in tree.root.walk():
        try:
            total += sum(_weights(node, serving, bits))
        except UndecidedError as why:  # noqa: PERF203 - each on its own
            lost.setdefault(node.class_name, str(why))
    return RankMemory(total, _per_token(tree, bits), lost)


def has_experts(tree: ModelTree) -> bool:
    """Whether a model has layers of routed experts."""
    return any(node.is_a(EXPERTS) for node in tree.root.walk())


def _weights(node: ModuleNode, serving: Serving, bits: int) -> Iterator[int]:
    if node.is_a(EXPERTS):
        yield _experts(node, serving, bits)
        return
    if node.is_a(EMBEDDING + "VocabParallelEmbedding"):
        sizes = rank_vocabulary(node, serving)
    else:
        found = rank_sizes(node, serving)
        if found is None:
            yield from _parameters(node, bits)
            return
        sizes = found
    yield _matrix(sizes.n.value, sizes.k.value, node.quantization, bits)


def _experts(node: ModuleNode, serving: Serving, bits: int) -> int:
    fused = node.argument("num_fused_shared_experts", 0)
    shared = fused if isinstance(fused, int) else 0
    routed = decided_size(node.argument("num_experts"), "num_experts") - shared
    hidden = decided_size(node.argument("hidden_size"), "hidden_size")
    inner = decided_size(node.argument("intermediate_size"), "intermediate_size")
    local = -(-routed // serving.ep) + shared
    inner = -(-inner // serving.expert_tp)
    gated = node.argument("is_gated", True) is not False
    first = _matrix((2 if gated else 1) * inner, hidden, node.quantization, bits)
    return local * (first + _matrix(hidden, inner, node.quantization, bits))


def _parameters(node: ModuleNode, bits: int) -> Iterator[int]:
    """Bytes of parameters that a module has by itself, where their shapes are known."""
    for value in node.attributes.values():
        if isinstance(value, ParameterRef) and value.shape is not None:
            known = [size for size in value.shape if isinstance(size, int)]
            if len(known) == len(value.shape):
                own = TABLE.get(value.dtype or "")
                yield math.prod(known) * (own.bits if own is not None else bits) // 8


def _matrix(n: int, k: int, quantization: Quantization | Unknown | None, bits: int) -> int:
    """Bytes of a weight [n, k] with its scales."""
    if quantization is None:
        return n * k * bits // 8
    if isinstance(quantization, Unknown):
        raise UndecidedError(f"its quantisation is {quantization}")
    dtype = TABLE.get(quantization.weight_dtype)
    if dtype is None or quantization.scheme == "format":
        raise UndecidedError(f"weights of {quantization.method} take bytes that are not known")
    weights = -(-n * k * dtype.bits // 8)
    if quantization.block is not None:
        rows, columns = quantization.block
        return weights + _FLOAT32 * -(-n // rows) * -(-k // columns)
    if quantization.group_size:
        size = quantization.group_size
        return weights + n * -(-k // size) * (1 if size <= _NARROW_GROUP else 2)
    return weights + _FLOAT32 * (n if quantization.scheme == "channel" else 1)


def _per_token(tree: ModelTree, bits: int) -> int | None:
    dtype = kv_cache_dtype(tree)
    if dtype is not None:
        known = TABLE.get(dtype)
        if known is None:
            return None
        bits = known.bits
    latent = _config(tree, "kv_lora_rank")
    layers: dict[Any, int] = {}
    for node in tree.root.walk():
        if not node.is_a(_ATTENTION) or node.idle:
            continue
        if linear_attention_dtype(node.path, tree) is not None:
            continue  # it keeps a state of each sequence
        elements = _cached(node, latent)
        if elements is None:
            return None
        layer = node.argument("layer_id", node.path)
        layer = node.path if isinstance(layer, Unknown) else layer
        # The absorbed and the materialised form of latent attention share one cache.
        layers[layer] = min(layers.get(layer, elements), elements)
    return sum(layers.values()) * bits // 8


def _cached(node: ModuleNode, latent: Any) -> int | None:
    """Elements that a layer keeps of one token."""
    try:
        heads = decided_size(node.argument("num_kv_heads"), "num_kv_heads")
        key = decided_size(node.argument("head_dim"), "head_dim")
    except UndecidedError:
        return None
    value = node.argument("v_head_dim", -1)
    if not isinstance(value, int):
        return None
    value = key if value <= 0 else value
    if heads == 1 and latent is not None and value == latent:
        return key  # values are a part of the keys
    return heads * (key + value)


def _config(tree: ModelTree, name: str) -> Any:
    nested = tree.config.get("text_config")
    inner = nested.get(name) if isinstance(nested, Mapping) else None
    return tree.config.get(name) if inner is None else inner
