"""Builds the kernels of latent attention layers, with the proof of each constant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fibcore.plugin import Fact, Kernel, ModuleNode, Scalar, Serving, fact, with_origins
from fibcore_op_mla.layer_settings import Shape
from fibcore_op_mla.names import (
    KINDS,
    PAGE_SIZE,
    Kind,
    flashinfer_has,
    paged_name,
    ragged_name,
)

LENIENT = ("sm_scale", "head_dim_before_absorption")
"""Parameters in which layers may differ that run the same kernel: they describe an input."""


def absorbed_kernels(
    layer: ModuleNode,
    shape: Shape,
    twin: Shape | None,
    scale: float | None,
    cache: str | None,
    serving: Serving,
) -> Iterator[Kernel]:
    """Paged decode and causal prefill over the latent cache, for every page size.

    Args:
        layer: The absorbed RadixAttention layer.
        shape: Its sizes.
        twin: Sizes of the materialised layer beside it; None where there is none.
        scale: Factor of the logits; None where it is not known.
        cache: Dtype of a quantised cache; None for that of the queries.
        serving: Which stages and page sizes to give.
    """
    ckv, kpe = shape.value, shape.key - shape.value
    sizes = {
        "num_qo_heads": fact(shape.heads, layer, f"query heads of {_rank(serving)}"),
        "head_dim_ckv": fact(ckv, layer, "v_head_dim: the latent vector"),
        "head_dim_kpe": fact(kpe, layer, "head_dim - v_head_dim: the rope part", shape.key, ckv),
    }
    # The scale follows from the size of a head before absorption, which the twin still shows.
    before = None if twin is None else twin.key
    extra: dict[str, Scalar] = {}
    if before is not None:
        extra["head_dim_before_absorption"] = int(before)
    if cache is not None:
        extra["cache_dtype"] = cache
    kinds: tuple[Kind, ...] = ("decode", "prefill")
    for kind in kinds:
        if KINDS[kind].stage in serving.stages:
            for page_size in serving.value(PAGE_SIZE):
                asked = with_origins(page_size, frozenset({PAGE_SIZE.origin}))
                page = fact(asked, layer, "tokens in a page of the KV cache")
                yield _kernel(
                    kind,
                    paged_name(kind, shape.heads, ckv, kpe, page_size, cache),
                    {**sizes, "page_size": page},
                    extra,
                    (ckv, kpe),
                    _scale_fact(layer, scale, before),
                    serving,
                )


def materialised_kernels(
    layer: ModuleNode, shape: Shape, scale: float | None, serving: Serving
) -> Iterator[Kernel]:
    """Ragged causal prefill, where prefill is wanted.

    Args:
        layer: The materialised RadixAttention layer.
        shape: Its sizes.
        scale: Factor of the logits; None where it is not known.
        serving: Which stages to give.
    """
    if KINDS["ragged"].stage in serving.stages:
        sizes = {
            "num_qo_heads": fact(shape.heads, layer, f"query heads of {_rank(serving)}"),
            "num_kv_heads": fact(shape.kv_heads, layer, "every query head has its own keys"),
            "qk_dim": fact(shape.key, layer, "a query and key head, rope part included"),
            "vo_dim": fact(shape.value, layer, "a value and output head"),
        }
        yield _kernel(
            "ragged",
            ragged_name(shape.heads, shape.key, shape.value),
            sizes,
            {},
            (shape.key, shape.value),
            _scale_fact(layer, scale, shape.key),
            serving,
        )


def scale_in_words(scale: float, head_dim: int | None) -> str:
    """The scale and, where it tells more, how it compares with 1 / sqrt(head_dim)."""
    if head_dim is None:
        return f"{scale:.9g}"
    factor = scale * head_dim**0.5
    if abs(factor - 1) < 1e-9:
        return f"{scale:.9g}, 1 / sqrt({head_dim})"
    return f"{scale:.9g}, 1 / sqrt({head_dim}) times {factor:.6g}"


def _kernel(
    kind: Kind,
    name: str,
    sizes: Mapping[str, Fact],
    extra: Mapping[str, Scalar],
    head_dims: tuple[int, int],
    scale: Fact | None,
    serving: Serving,
) -> Kernel:
    parameters: dict[str, Scalar] = {"kind": kind, **{n: s.value for n, s in sizes.items()}}
    parameters.update(extra)
    facts = dict(sizes)
    if scale is not None:
        parameters["sm_scale"] = scale.value
        facts["sm_scale"] = scale
    tags = [f"stage:{KINDS[kind].stage}", f"tp:{serving.ranks(sizes['num_qo_heads'].origins)}"]
    if "cache_dtype" in extra:
        tags.append(f"quantization:{extra['cache_dtype']}")
    if flashinfer_has(kind, *head_dims):
        tags.append(f"fi_api:{KINDS[kind].flashinfer}")
    return Kernel(
        KINDS[kind].op_type,
        name,
        parameters,
        facts,
        uses=(),
        tags=tuple(tags),
        choice=f"attention of {KINDS[kind].stage}",
    )


def _scale_fact(layer: ModuleNode, scale: float | None, head_dim: int | None) -> Fact | None:
    if scale is None:
        return None
    note = f"the model's value of the input sm_scale: {scale_in_words(scale, head_dim)}"
    return fact(scale, layer, note)


def _rank(serving: Serving) -> str:
    return f"one of {serving.attention_tp} tensor-parallel ranks"
