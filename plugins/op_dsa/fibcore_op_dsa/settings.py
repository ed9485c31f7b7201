"""Reads what attention layers and indexers of SGLang are set to; raises `UndecidedError`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from fibcore.plugin import (
    ModuleNode,
    Named,
    ParameterRef,
    UndecidedError,
    decided,
    decided_size,
    with_origins,
)

INDEXER = "Indexer"
"""The module that chooses keys, in layers/attention/nsa (SGLang 0.5.9) and dsa (0.5.23)."""

POOLED_INDEXER = "IndexerKPool"
"""One that chooses among pools of keys (0.5.23)."""

COMPRESSED_INDEXER = "C4Indexer"
"""One that chooses among compressed keys, in layers/attention/dsv4 (since 0.5.12).

It gives its scores to the same kernels. A page of compressed keys has those of 256 tokens, 4 each.
"""

# What a module of latent attention calls its switch to sparse attention, in 0.5.9 and 0.5.23. A
# layer may be sparse without an indexer of its own, by an earlier layer's choice of keys.
_SWITCHES = ("use_nsa", "use_dsa")

# Settings of RadixAttention that make it another function, and what stands for none of it.
_PLAIN: dict[str, tuple[Any, ...]] = {
    "sliding_window_size": (-1, 0, None),
    "logit_cap": (0, None),
    "is_cross_attention": (False, None),
    "use_irope": (False, None),
    "pos_encoding_mode": ("NONE", None),
    "xai_temperature_len": (-1, 0, None),
}
# Names under which a model hands attention sinks to RadixAttention.forward.
_SINKS = ("sinks", "attn_sink")
# Keys that a query always sees: the first ones, and those just before it (0.5.23).
_ALWAYS_CHOSEN = ("num_init_tokens", "num_local_tokens")


@attrs.frozen
class Shape:
    """Sizes of an absorbed attention layer.

    Attributes:
        heads: Query heads of a rank.
        key: Elements of a key: latent vector and rope part.
        latent: Elements of the latent vector.
    """

    heads: int
    key: int
    latent: int


def setting(node: ModuleNode, name: str, default: Any = None) -> Any:
    """A setting of the layer; what the model assigned to it later wins over the argument."""
    value = node.attributes[name] if name in node.attributes else node.argument(name, default)
    return decided(value, name)


def is_sparse(parent: ModuleNode) -> bool:
    """Whether a module of attention reads only keys that an indexer chose.

    Raises:
        UndecidedError: its switch is not known.
    """
    if indexer_of(parent) is not None:
        return True
    return any(
        decided(parent.attributes[name], name) is True
        for name in _SWITCHES
        if name in parent.attributes
    )


def indexer_of(parent: ModuleNode) -> ModuleNode | None:
    """The module's own indexer; None where it has none."""
    return next((c for c in parent.children.values() if c.is_a(INDEXER, POOLED_INDEXER)), None)


def absorbed_shape(layer: ModuleNode) -> Shape | None:
    """The sizes of a RadixAttention layer in absorbed form; None where it has another form.

    Raises:
        UndecidedError: a size is not known.
    """
    kv_heads = decided_size(setting(layer, "num_kv_heads"), "num_kv_heads")
    key = decided_size(setting(layer, "head_dim"), "head_dim")
    value = setting(layer, "v_head_dim", -1)
    if value in (-1, None):
        return None
    latent = decided_size(value, "v_head_dim")
    if kv_heads != 1 or latent >= key:
        return None
    return Shape(decided_size(setting(layer, "num_heads"), "num_heads"), key, latent)


def scale_of(layer: ModuleNode) -> float:
    """The factor of the logits, with its origins.

    Raises:
        UndecidedError: it is not known, or is no positive number.
    """
    value = setting(layer, "scaling")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UndecidedError(f"scaling is {value!r}, not a number")
    if not (math.isfinite(value) and value > 0):
        raise UndecidedError(f"scaling is {value}, not a positive number")
    return value


def features(layer: ModuleNode, parent: ModuleNode) -> Iterator[str]:
    """What a layer adds to plain attention to the keys that were chosen.

    Raises:
        UndecidedError: a setting that decides it is not known.
    """
    for name, plain in _PLAIN.items():
        value = setting(layer, name, plain[0])
        if value not in plain:
            yield f"with {name} {value}"
    kind = setting(layer, "attn_type", "decoder")
    text = kind.name if isinstance(kind, Named) else str(kind)
    if text.rpartition(".")[2].lower() != "decoder":
        yield f"of type {text}"
    if _has_sinks(layer, parent):
        yield "with attention sinks"


def always_chosen(indexer: ModuleNode) -> Iterator[str]:
    """Which keys an indexer chooses whatever their scores.

    Raises:
        UndecidedError: it is not known.
    """
    for name in _ALWAYS_CHOSEN:
        count = decided(indexer.attributes.get(name, 0), name)
        if isinstance(count, bool) or not isinstance(count, int):
            raise UndecidedError(f"{name} is {count!r}, not a number")
        if count > 0:
            yield f"{name} {count}"


def _has_sinks(layer: ModuleNode, parent: ModuleNode) -> bool:
    """Whether logits of attention sinks are handed to the layer, or kept beside it for it."""
    for call in layer.calls:
        for name in _SINKS:
            sinks = call.kwargs.get(name)
            if getattr(sinks, "is_tensor", False):
                return True
            if decided(sinks, name) is not None:
                return True
    return any(
        "sink" in name and isinstance(value, ParameterRef)
        for name, value in parent.attributes.items()
    )


def indexer_sizes(indexer: ModuleNode, config: Mapping[str, Any]) -> tuple[int, int, int]:
    """Index heads, elements of a key, and how many keys are chosen.

    The backend of the first releases with compressed keys reads the last one from the config.

    Raises:
        UndecidedError: a size is not known.
    """
    if indexer.is_a(COMPRESSED_INDEXER):  # its constructor is given a config
        topk = config.get("index_topk")
        if isinstance(topk, int):
            topk = with_origins(topk, frozenset({"config:index_topk"}))
        held = {"index_topk": topk, **indexer.attributes}
        names = ("n_heads", "head_dim", "index_topk")
        found = [decided_size(held.get(name), name) for name in names]
    else:
        names = ("index_n_heads", "index_head_dim", "index_topk")
        found = [decided_size(indexer.argument(name), name) for name in names]
    return found[0], found[1], found[2]
