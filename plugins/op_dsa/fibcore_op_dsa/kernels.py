"""Builds the kernels of sparse attention and of indexers, with the proof of each constant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fibcore.plugin import Fact, Kernel, ModuleNode, Scalar, Serving, decided_size, fact, origins_of
from fibcore.plugin import with_origins as from_origins
from fibcore_op_dsa.names import (
    FLASHINFER,
    INDEX_PAGE_SIZE,
    OP_TYPE,
    PAGE_SIZE,
    SCALE_BYTES,
    SCALED_BLOCK,
    SCALED_PAGE_SIZE,
    Kind,
    attention_name,
    bytes_of_row,
    flashinfer_has,
    indexer_name,
)
from fibcore_op_dsa.settings import Shape, indexer_sizes

LENIENT = ("sm_scale",)
"""Parameters in which layers may differ that run the same kernel: they describe an input."""


def attention_kernels(
    layer: ModuleNode, shape: Shape, indexer: ModuleNode, scale: float | None, serving: Serving
) -> Iterator[Kernel]:
    """Attention to the chosen keys, in decode and prefill, for every page size.

    Args:
        layer: The absorbed RadixAttention layer.
        shape: Its sizes.
        indexer: The module that chooses the keys.
        scale: Factor of the logits; None where it is not known.
        serving: Which page sizes to give.

    Raises:
        UndecidedError: how many keys are chosen is not known.
    """
    sizes, extra, ranks = _sizes(layer, shape, indexer, scale, serving)
    ckv, kpe, topk = (int(sizes[n].value) for n in ("head_dim_ckv", "head_dim_kpe", "topk"))
    tags = ["sparse:topk", f"tp:{ranks}"]
    if flashinfer_has(ckv, kpe):
        tags.append(f"fi_api:{FLASHINFER}")
    for page_size in serving.value(PAGE_SIZE):
        asked = from_origins(page_size, frozenset({PAGE_SIZE.origin}))
        page = fact(asked, layer, "tokens in a page of the KV cache")
        name = attention_name(shape.heads, ckv, kpe, topk, page_size)
        yield _kernel("attention", name, {**sizes, "page_size": page}, extra, tags, _CHOICE)


def scaled_kernel(
    layer: ModuleNode, shape: Shape, indexer: ModuleNode, scale: float | None, serving: Serving
) -> Kernel:
    """Attention to the chosen keys of a cache of fp8 with scales, in decode and prefill.

    Prefill calls the same kernel on Hopper (`_set_default_nsa_backends` of SGLang 0.5.9,
    `_dsa_split_backend_resolution` of 0.5.23: `flashmla_kv` for both stages).

    Args:
        layer: The absorbed RadixAttention layer.
        shape: Its sizes.
        indexer: The module that chooses the keys.
        scale: Factor of the logits; None where it is not known.
        serving: Over how many ranks the heads are split.

    Raises:
        UndecidedError: how many keys are chosen is not known.
    """
    sizes, extra, ranks = _sizes(layer, shape, indexer, scale, serving)
    ckv, kpe, topk = (int(sizes[n].value) for n in ("head_dim_ckv", "head_dim_kpe", "topk"))
    page = "tokens in a page of a cache with scales, the only size of FlashMLA's kernel"
    row = f"bytes of a token: numbers in fp8, a scale for {SCALED_BLOCK}, rope part in bfloat16"
    sizes |= {
        "page_size": fact(SCALED_PAGE_SIZE, layer, page),
        "kv_dim": fact(bytes_of_row(ckv, kpe), layer, row, shape.key, shape.latent),
    }
    name = attention_name(shape.heads, ckv, kpe, topk, SCALED_PAGE_SIZE, "scaled")
    tags = ["sparse:topk", f"tp:{ranks}", "quantization:float8_e4m3fn"]
    return _kernel("scaled", name, sizes, extra, tags, _CHOICE)


# A step reads one cache, with pages of one size.
_CHOICE = "attention to chosen keys"


def _sizes(
    layer: ModuleNode, shape: Shape, indexer: ModuleNode, scale: float | None, serving: Serving
) -> tuple[dict[str, Fact], dict[str, Fact], int]:
    """The sizes but those of the cache, what else the model says, and the ranks of the heads."""
    topk = decided_size(indexer.argument("index_topk"), "index_topk")
    rope = shape.key - shape.latent
    ranks = serving.ranks(origins_of(shape.heads))
    rank = f"query heads of one of {ranks} tensor-parallel ranks"
    sizes = {
        "num_qo_heads": fact(shape.heads, layer, rank),
        "head_dim_ckv": fact(shape.latent, layer, "v_head_dim: the latent vector"),
        "head_dim_kpe": fact(
            rope, layer, "head_dim - v_head_dim: the rope part", shape.key, shape.latent
        ),
        "topk": fact(topk, indexer, "keys that the indexer chooses for a query"),
    }
    extra = {} if scale is None else {"sm_scale": fact(scale, layer, _scale_note(scale))}
    return sizes, extra, ranks


def indexer_kernel(indexer: ModuleNode, config: Mapping[str, Any]) -> Kernel:
    """The choice of keys. All ranks have all index heads.

    Raises:
        UndecidedError: a size is not known.
    """
    heads, head_dim, topk = indexer_sizes(indexer, config)
    sizes = {
        "num_index_heads": fact(heads, indexer, "index heads; no rank has a part of them"),
        "index_head_dim": fact(head_dim, indexer, "elements of an index query and key"),
        "topk": fact(topk, indexer, "keys that are chosen for a query"),
        "page_size": fact(
            INDEX_PAGE_SIZE, indexer, "tokens in a page of index keys, the only size on NVIDIA GPUs"
        ),
        "kv_cache_num_heads": fact(1, indexer, "all index heads share a key"),
        "head_dim_with_scale": fact(
            head_dim + SCALE_BYTES, indexer, "bytes of a key in fp8 and its float32 scale", head_dim
        ),
    }
    name = indexer_name(heads, head_dim, topk, INDEX_PAGE_SIZE)
    return _kernel("indexer", name, sizes, {}, ["stage:indexer", "quantization:float8_e4m3fn"], "")


def _kernel(
    kind: Kind,
    name: str,
    sizes: Mapping[str, Fact],
    extra: Mapping[str, Fact],
    tags: list[str],
    choice: str,
) -> Kernel:
    facts = {**sizes, **extra}
    parameters: dict[str, Scalar] = {"kind": kind, **{n: f.value for n, f in facts.items()}}
    return Kernel(OP_TYPE, name, parameters, facts, uses=(), tags=tuple(tags), choice=choice)


def _scale_note(scale: float) -> str:
    return f"the model's value of the input sm_scale: {scale:.9g}"
