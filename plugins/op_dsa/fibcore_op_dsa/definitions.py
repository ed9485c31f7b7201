"""Kernel to definition: axes, tensors, constraints, description and the rendered reference."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import cast

from fibcore.plugin import (
    Axis,
    Definition,
    Identity,
    Kernel,
    Scalar,
    TensorSpec,
    const,
    in_name,
    joined,
    other_than,
    render,
    scalar,
    tensor,
    var,
)
from fibcore_op_dsa.names import OP_TYPE, SCALE_BYTES, STEMS, Kind, bytes_of_row


def define(kernel: Kernel) -> Definition:
    """The definition of a kernel of this plugin."""
    kind = cast(Kind, kernel.parameters["kind"])
    axes = _AXES[kind](kernel.parameters)
    constants = {n.upper(): axis.value for n, axis in axes.items() if axis.value is not None}
    text = joined(files(__package__) / "references", f"{STEMS[kind]}.py")
    return Definition(
        name=kernel.name,
        op_type=kernel.op_type,
        axes=axes,
        inputs=inputs(kind),
        outputs=outputs(kind),
        reference=render(text, constants),
        description=_description(kernel.parameters, kind),
        tags=kernel.tags,
        constraints=_CONSTRAINTS[kind],
    )


_SIZES_IN_NAME = {
    "attention": {
        "h": "num_qo_heads",
        "ckv": "head_dim_ckv",
        "kpe": "head_dim_kpe",
        "topk": "topk",
        "ps": "page_size",
    },
    "indexer": {
        "h": "num_index_heads",
        "d": "index_head_dim",
        "topk": "topk",
        "ps": "page_size",
    },
}


def identify(definition: Definition) -> Identity:
    """No variant; sizes that the name gives otherwise, and a scale that does not fit its bytes."""
    kind: Kind = "indexer" if "num_index_heads" in definition.axes else "attention"
    found = list(in_name(definition, _SIZES_IN_NAME[kind]))
    sizes = definition.const_axes
    if "kv_dim" in sizes and {"head_dim_ckv", "head_dim_kpe"} <= set(sizes):
        row = bytes_of_row(sizes["head_dim_ckv"], sizes["head_dim_kpe"])
        found += other_than(
            definition, "kv_dim", row, "a latent vector, its scales and a rope part"
        )
    head_dim = definition.const_axes.get("index_head_dim")
    bytes_of_key = definition.const_axes.get("head_dim_with_scale")
    if head_dim is None or bytes_of_key is None:
        return Identity("", tuple(found))
    if bytes_of_key != head_dim + SCALE_BYTES:
        found.append(
            f"a key of {head_dim} bytes and a scale of {SCALE_BYTES} are not {bytes_of_key} bytes"
        )
    return Identity("", tuple(found))


def kind_of(definition: Definition) -> Kind | None:
    """Which of the plugin's kernels has exactly these tensors; None where none has."""
    if definition.op_type != OP_TYPE:
        return None
    for kind in STEMS:
        same = _plain(definition.inputs) == _plain(inputs(kind))
        if same and _plain(definition.outputs) == _plain(outputs(kind)):
            return kind
    return None


_CACHES: dict[str, dict[str, TensorSpec]] = {
    "attention": {
        "ckv_cache": tensor(
            "num_pages page_size head_dim_ckv",
            "bfloat16",
            "Latent vectors in pages, keys and values at once; unused places hold anything.",
        ),
        "kpe_cache": tensor(
            "num_pages page_size head_dim_kpe",
            "bfloat16",
            "Rope part of the keys, placed like the latent vectors.",
        ),
    },
    "scaled": {
        "kv_cache": tensor(
            "num_pages page_size kv_dim",
            "int8",
            "Bytes of tokens: latent vector, which is key and value at once, in float8_e4m3fn, a "
            "float32 scale for 128 of its elements, rope part of the key in bfloat16; unused "
            "places hold anything.",
        ),
    },
}


def inputs(kind: Kind) -> dict[str, TensorSpec]:
    """The inputs in order."""
    if kind == "indexer":
        return {
            "q_index_fp8": tensor(
                "batch_size num_index_heads index_head_dim",
                "float8_e4m3fn",
                "Index queries; their scales are part of the weights.",
            ),
            "k_index_cache_fp8": tensor(
                "num_pages page_size kv_cache_num_heads head_dim_with_scale",
                "int8",
                "Bytes of the index keys in pages: of a page all keys in float8_e4m3fn, then all "
                "their scales in float32; unused places hold anything.",
            ),
            "weights": tensor(
                "batch_size num_index_heads", "float32", "Weight of each index head, by query."
            ),
            "seq_lens": tensor("batch_size", "int32", "Keys that each query chooses from."),
            "block_table": tensor(
                "batch_size max_num_pages",
                "int32",
                "Page numbers of each query's sequence, in token order; those behind its last page "
                "may be anything.",
            ),
        }
    return {
        "q_nope": tensor(
            "num_tokens num_qo_heads head_dim_ckv",
            "bfloat16",
            "Queries without position, projected into the latent space.",
        ),
        "q_pe": tensor(
            "num_tokens num_qo_heads head_dim_kpe", "bfloat16", "Rope part of the queries."
        ),
        **_CACHES[kind],
        "sparse_indices": tensor(
            "num_tokens topk",
            "int32",
            "Keys that each query sees, as page number * page_size + place in the page; -1 for "
            "none.",
        ),
        "sm_scale": scalar(
            "float32",
            "Factor of the logits before the softmax; follows from the size of a head before "
            "absorption.",
        ),
    }


def outputs(kind: Kind) -> dict[str, TensorSpec]:
    """The outputs in order."""
    if kind == "indexer":
        return {
            "topk_indices": tensor(
                "batch_size topk",
                "int32",
                "The keys with the largest scores, in any order, as page number * page_size + "
                "place in the page; -1 behind them where a query has fewer keys.",
            )
        }
    return {
        "output": tensor(
            "num_tokens num_qo_heads head_dim_ckv", "bfloat16", "Attention output; 0 without keys."
        ),
        "lse": tensor(
            "num_tokens num_qo_heads",
            "float32",
            "Base-2 logarithm of the sum of exp(logit); -inf without keys.",
        ),
    }


def _plain(specs: Mapping[str, TensorSpec]) -> list[tuple[str, object, str]]:
    return [(name, spec.shape, spec.dtype) for name, spec in specs.items()]


def _attention_axes(parameters: Mapping[str, Scalar]) -> dict[str, Axis]:
    def size(name: str, description: str) -> Axis:
        return const(int(parameters[name]), description)

    return {
        "num_tokens": var("Queries: sequences in decode, new tokens in prefill."),
        "num_qo_heads": size("num_qo_heads", "Query heads of a tensor-parallel rank."),
        "head_dim_ckv": size("head_dim_ckv", "Latent vector."),
        "head_dim_kpe": size("head_dim_kpe", "Rope part of a key."),
        "page_size": size("page_size", "Tokens in a page."),
        "topk": size("topk", "Keys that a query sees at most."),
        "num_pages": var("Pages of the cache."),
    }


def _scaled_axes(parameters: Mapping[str, Scalar]) -> dict[str, Axis]:
    row = const(int(parameters["kv_dim"]), "Bytes of a token, with scales and rope part.")
    return {**_attention_axes(parameters), "kv_dim": row}


def _indexer_axes(parameters: Mapping[str, Scalar]) -> dict[str, Axis]:
    def size(name: str, description: str) -> Axis:
        return const(int(parameters[name]), description)

    return {
        "batch_size": var("Queries: sequences in decode, new tokens in prefill."),
        "num_index_heads": size("num_index_heads", "Index heads; every rank has all of them."),
        "index_head_dim": size("index_head_dim", "Index query and key."),
        "page_size": size("page_size", "Tokens in a page."),
        "topk": size("topk", "Keys that are chosen for a query."),
        "max_num_pages": var("Pages of the longest sequence that the page table has room for."),
        "num_pages": var("Pages of the cache."),
        "kv_cache_num_heads": size("kv_cache_num_heads", "Key heads: all index heads share one."),
        "head_dim_with_scale": size(
            "head_dim_with_scale", "Bytes of a key and of its float32 scale."
        ),
    }


_AXES = {"attention": _attention_axes, "scaled": _scaled_axes, "indexer": _indexer_axes}

_CONSTRAINTS: dict[Kind, tuple[str, ...]] = {
    "attention": ("sparse_indices.shape[-1] == topk", "ckv_cache.shape[1] == page_size"),
    # The cache stands in workloads, and is too large for a constraint to be computed from it.
    "scaled": ("sparse_indices.shape[-1] == topk",),
    "indexer": ("topk <= max_num_pages * page_size",),
}


def _description(parameters: Mapping[str, Scalar], kind: Kind) -> str:
    if kind == "indexer":
        return (
            f"Choice of the {parameters['topk']} keys that a query of sparse attention (DSA) sees: "
            "those of its sequence with the largest scores. A score is the sum over index heads of "
            "weight * relu(query . key), times the key's scale. Which ones of keys with equal "
            "scores are chosen is not said."
        )
    words = [
        f"Sparse latent attention (DSA): each query sees at most {parameters['topk']} keys.",
        "An indexer chose them for it. The key projection is absorbed into the queries, all heads",
        "share the cached latent vectors and rope parts as keys, and the latents are the values.",
        f"{parameters['num_qo_heads']} query heads of one tensor-parallel rank.",
    ]
    if kind == "scaled":
        words.append("Latent vectors are kept in fp8, with a scale for 128 elements.")
    if "sm_scale" in parameters:
        words.append(f"The model's sm_scale is {float(parameters['sm_scale']):.9g}.")
    return " ".join(words)
