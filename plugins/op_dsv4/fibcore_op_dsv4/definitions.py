"""Kernel to definition: axes, tensors, description and the rendered reference."""

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
    select,
    tensor,
    var,
)
from fibcore_op_dsv4.names import INDEX_SCALE_BYTES, KINDS, MARKS, SCALE_BYTES, KindName

_AXES = {
    "num_tokens": "Tokens: sequences in decode, new tokens in prefill.",
    "num_windows": "Windows that become latent vectors.",
    "num_heads": "Heads of a tensor-parallel rank; of an indexer, all of them.",
    "head_dim": "Elements of a head: of a query, and of a latent vector.",
    "rope_dim": "Last elements of a head, which are turned.",
    "page_size": "Vectors in a page.",
    "kv_pad_dim": "Key heads: all query heads share one.",
    "kv_cache_num_heads": "Key heads: all index heads share one.",
    "kv_dim": "Bytes of a latent vector with its scales.",
    "head_dim_with_scale": "Bytes of an index key and of its float32 scale.",
    "num_pages": "Pages of the cache.",
    "swa_num_pages": "Pages of the window's cache.",
    "swa_page_size": "Keys in a page of the window's cache.",
    "swa_kv_dim": "Bytes of a latent vector with its scales.",
    "compressed_num_pages": "Pages of the cache of compressed keys.",
    "compressed_page_size": "Keys in a page of the cache of compressed keys.",
    "compressed_kv_dim": "Bytes of a compressed latent vector with its scales.",
    "sparse_topk": "Keys of the window that a query sees at most.",
    "extra_topk": "Compressed keys that the longest list has room for.",
    "state_dim": "Numbers that a token has: for latent vectors, and scores.",
    "window": "Tokens that a latent vector is made of.",
    "num_states": "Places of the buffer of tokens.",
    "max_position": "Positions of the table of angles.",
}
_VAR = frozenset(
    {
        *("num_tokens", "num_windows", "num_pages", "swa_num_pages", "compressed_num_pages"),
        *("extra_topk", "num_states", "max_position"),
    }
)

_PLACES = "page number * page size + place in the page"
_BYTES = (
    "Bytes of latent vectors: of a page all vectors (fp8, then bfloat16), then all their scales; "
    "unused places hold anything."
)
_TABLE = {
    "cos_sin_cache": tensor(
        "max_position rope_dim", "float32", "cos and sin by turns, one pair for two elements."
    ),
    "positions": tensor("num_tokens", "int32", "Position of each token."),
}
_QUERY = {"query": tensor("num_tokens num_heads head_dim", "bfloat16", "Queries.")}
_SWA = {"swa_kv_cache": tensor("swa_num_pages swa_page_size kv_pad_dim swa_kv_dim", "int8", _BYTES)}
_COMPRESSED = {
    "compressed_kv_cache": tensor(
        "compressed_num_pages compressed_page_size kv_pad_dim compressed_kv_dim", "int8", _BYTES
    )
}
_SEEN = {
    "sparse_indices": tensor(
        "num_tokens sparse_topk", "int32", f"Keys of the window, as {_PLACES}; -1 for none."
    ),
    "swa_topk_lens": tensor("num_tokens", "int32", "How many of them count."),
}
_EXTRA_SEEN = {
    "extra_sparse_indices": tensor(
        "num_tokens extra_topk", "int32", f"Compressed keys, as {_PLACES}; -1 for none."
    ),
    "extra_sparse_topk_lens": tensor("num_tokens", "int32", "How many of them count."),
}
_LOGITS = {
    "sinks": tensor("num_heads", "float32", "Logit of each head that has no value."),
    "bmm1_scale": scalar("float32", "Factor of the logits before the softmax."),
}
_COMPRESS = {
    "kv_score_input": tensor(
        "num_tokens state_dim",
        "float32",
        "New tokens: numbers for latent vectors, then scores; with overlap, of each first those "
        "for the window behind the token's own.",
    ),
    "kv_score_buffer": tensor("num_states state_dim", "float32", "Tokens before, alike."),
    "ape": tensor("window head_dim", "float32", "Added to scores, by place in the window."),
    "window_indices": tensor(
        "num_windows window",
        "int32",
        "Tokens of each window: places of the buffer, or num_states + rows of kv_score_input; -1 "
        "before a sequence begins.",
    ),
    "write_indices": tensor(
        "num_tokens", "int32", "Place of the buffer that each new token goes to; -1 for none."
    ),
}
_PLACE = {
    "out_loc": tensor("num_tokens", "int32", f"Where each goes, as {_PLACES}; -1 for nowhere.")
}
_LATENT_CACHE = {"kv_cache": tensor("num_pages page_size kv_pad_dim kv_dim", "int8", _BYTES)}
_INDEX_CACHE = {
    "k_index_cache_fp8": tensor(
        "num_pages page_size kv_cache_num_heads head_dim_with_scale",
        "int8",
        "Bytes of index keys: of a page all keys in float8_e4m3fn, then all their scales in "
        "float32; unused places hold anything.",
    )
}
_OUTPUT = {
    "output": tensor("num_tokens num_heads head_dim", "bfloat16", "Attention; 0 without keys.")
}


def _stored(dtype: str, cache: dict[str, TensorSpec]) -> dict[str, TensorSpec]:
    rows = {
        "kv": tensor("num_tokens head_dim", dtype, "Latent vectors or index keys."),
        "weight": tensor("head_dim", dtype, "Weight of the RMSNorm."),
    }
    return {**rows, **_TABLE, **_PLACE, **cache}


INPUTS: dict[KindName, dict[str, TensorSpec]] = {
    "window": {**_QUERY, **_SWA, **_SEEN, **_LOGITS},
    "compressed": {**_QUERY, **_SWA, **_COMPRESSED, **_SEEN, **_EXTRA_SEEN, **_LOGITS},
    "overlap": _COMPRESS,
    "plain": _COMPRESS,
    "k_store": _stored("bfloat16", _LATENT_CACHE),
    "latent_store": _stored("float32", _LATENT_CACHE),
    "index_k_store": _stored("float32", _INDEX_CACHE),
    "q_norm_rope": {
        "q": tensor("num_tokens num_heads head_dim", "bfloat16", "Queries."),
        **_TABLE,
    },
    "inverse_rope": {
        "x": tensor("num_tokens num_heads rope_dim", "bfloat16", "Last elements of the output."),
        **_TABLE,
    },
    "index_q": {
        "q": tensor("num_tokens num_heads head_dim", "bfloat16", "Index queries."),
        "weights": tensor("num_tokens num_heads", "bfloat16", "Weight of each index head."),
        "weight_scale": scalar("float32", "Factor of all weights."),
        **_TABLE,
    },
}

_COMPRESSED_OUTPUTS = {
    "output": tensor("num_windows head_dim", "float32", "A latent vector of each window."),
    "updated_kv_score_buffer": tensor(
        "num_states state_dim", "float32", "The buffer with the new tokens."
    ),
}
_UPDATED = {
    "updated_kv_cache": tensor(
        "num_pages page_size kv_pad_dim kv_dim", "int8", "The cache with the vectors in it."
    )
}
OUTPUTS: dict[KindName, dict[str, TensorSpec]] = {
    "window": _OUTPUT,
    "compressed": _OUTPUT,
    "overlap": _COMPRESSED_OUTPUTS,
    "plain": _COMPRESSED_OUTPUTS,
    "k_store": _UPDATED,
    "latent_store": _UPDATED,
    "index_k_store": {
        "updated_k_index_cache_fp8": tensor(
            "num_pages page_size kv_cache_num_heads head_dim_with_scale",
            "int8",
            "The cache with the keys in it.",
        )
    },
    "q_norm_rope": {
        "output": tensor(
            "num_tokens num_heads head_dim", "bfloat16", "Queries as attention takes them."
        )
    },
    "inverse_rope": {
        "output": tensor("num_tokens num_heads rope_dim", "bfloat16", "They, turned back.")
    },
    "index_q": {
        "q_fp8": tensor(
            "num_tokens num_heads head_dim", "float8_e4m3fn", "Index queries without their scales."
        ),
        "weights_out": tensor(
            "num_tokens num_heads", "float32", "Weights times the factor and the queries' scales."
        ),
    },
}


def define(kernel: Kernel) -> Definition:
    """The definition of a kernel of this plugin."""
    name = cast(KindName, kernel.parameters["kind"])
    kind, axes = KINDS[name], axes_of(name, kernel.parameters)
    text = select(joined(files(__package__) / "references", f"{kind.file}.py"), kind.words, MARKS)
    values: dict[str, object] = {n.upper(): axis.value for n, axis in axes.items() if axis.value}
    if "eps" in kernel.parameters:
        values["EPS"] = kernel.parameters["eps"]
    return Definition(
        name=kernel.name,
        op_type=kernel.op_type,
        axes=axes,
        inputs=INPUTS[name],
        outputs=OUTPUTS[name],
        reference=render(text, values),
        description=_description(name, kernel.parameters),
        tags=kernel.tags,
    )


def axes_of(name: KindName, sizes: Mapping[str, Scalar]) -> dict[str, Axis]:
    """Every axis that the tensors of a kind have."""
    specs = (*INPUTS[name].values(), *OUTPUTS[name].values())
    used = {axis for spec in specs for axis in spec.shape or ()}
    return {
        axis: var(text) if axis in _VAR else const(int(sizes[axis]), text)
        for axis, text in _AXES.items()
        if axis in used
    }


def kind_of(definition: Definition) -> KindName | None:
    """Which of the plugin's kernels has exactly these tensors; None where none has."""
    for name, kind in KINDS.items():
        if (
            definition.op_type == kind.op_type
            and _plain(definition.inputs) == _plain(INPUTS[name])
            and _plain(definition.outputs) == _plain(OUTPUTS[name])
            and set(definition.axes) <= set(_AXES)
            and (name != "overlap" or _overlaps(definition))
        ):
            return name
    return None


def _overlaps(definition: Definition) -> bool:
    """Whether tokens have numbers for two windows: four of each element, and not two."""
    sizes = definition.const_axes
    return sizes.get("state_dim") == 4 * sizes.get("head_dim", 0)


def identify(definition: Definition) -> Identity:
    """No variant, for tensors and sizes tell kinds apart; sizes that do not go together."""
    name = kind_of(definition)
    found = list(in_name(definition, KINDS[name].sizes if name is not None else {}))
    sizes = definition.const_axes
    head = sizes.get("head_dim")
    if head is not None:
        if "rope_dim" in sizes:
            whole = head + sizes["rope_dim"] + SCALE_BYTES
            found += other_than(definition, "kv_dim", whole, "head_dim + rope_dim + 8")
        index = head + INDEX_SCALE_BYTES
        found += other_than(definition, "head_dim_with_scale", index, "head_dim + 4")
        if "state_dim" in sizes and sizes["state_dim"] not in (2 * head, 4 * head):
            found.append(f"state_dim is {sizes['state_dim']}, and neither 2 nor 4 times {head}")
    if "swa_kv_dim" in sizes:
        window = sizes["swa_kv_dim"]
        found += other_than(definition, "compressed_kv_dim", window, "swa_kv_dim")
    return Identity("", tuple(found))


def _plain(specs: Mapping[str, TensorSpec]) -> list[tuple[str, object, str]]:
    return [(name, spec.shape, spec.dtype) for name, spec in specs.items()]


_STORED = "normalised, its last elements turned by the angles of its position"
_DESCRIPTIONS: dict[KindName, str] = {
    "window": (
        "Latent attention of each query to a window of keys before it. All heads share the latent "
        "vectors, which are keys and values, kept in fp8. Each head has a sink."
    ),
    "compressed": (
        "Latent attention of each query to a window of keys before it, and to compressed keys, "
        "each of several tokens. All heads share the latent vectors, which are keys and values, "
        "kept in fp8. Each head has a sink. One softmax is over both."
    ),
    "overlap": (
        "A latent vector of each window of tokens: a softmax over the tokens, element by element, "
        "weighs their numbers. The first half of a window are the tokens of the one before, which "
        "have numbers and scores of their own for that. New tokens go to a buffer. Kernels write "
        "it in place."
    ),
    "plain": (
        "A latent vector of each window of tokens: a softmax over the tokens, element by element, "
        "weighs their numbers. New tokens go to a buffer. Kernels write it in place."
    ),
    "k_store": (
        f"A token's latent vector, {_STORED}, goes to a paged cache: in fp8 with a power of two "
        "as the scale of 64 elements, and the turned ones in bfloat16. Kernels write in place."
    ),
    "latent_store": (
        f"A compressed latent vector, {_STORED}, goes to a paged cache: in fp8 with a power of "
        "two as the scale of 64 elements, and the turned ones in bfloat16. Kernels write in place."
    ),
    "index_k_store": (
        f"A compressed index key, {_STORED}, goes through a Hadamard transform and then to a paged "
        "cache, in fp8 with one scale. Kernels write in place."
    ),
    "q_norm_rope": (
        "Each head of a query, normalised without a weight, its last elements turned by the angles "
        "of the position. Kernels may round what they normalise before they turn it."
    ),
    "inverse_rope": (
        "The last elements of attention's output, turned back by the angles of each query's "
        "position: values are keys here, and those are turned. Kernels write in place."
    ),
    "index_q": (
        "Index queries, their last elements turned by the angles of the position, go through a "
        "Hadamard transform and into fp8; their scales become a part of the heads' weights."
    ),
}


def _description(name: KindName, parameters: Mapping[str, Scalar]) -> str:
    words = [_DESCRIPTIONS[name]]
    if name in ("window", "compressed"):
        words.append(f"{parameters['num_heads']} query heads of one tensor-parallel rank.")
    if "bmm1_scale" in parameters:
        words.append(f"The model's bmm1_scale is {float(parameters['bmm1_scale']):.9g}.")
    if "weight_scale" in parameters:
        words.append(f"The model's weight_scale is {float(parameters['weight_scale']):.9g}.")
    return " ".join(words)
