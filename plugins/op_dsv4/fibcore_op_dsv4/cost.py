"""What attention to compressed keys costs, and what goes into it and comes out of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from fibcore.plugin import Cost, Definition, Kernel, StepBatch, moved, tensor_bytes
from fibcore_op_dsv4.definitions import kind_of
from fibcore_op_dsv4.names import PAGE_SIZE, KindName

Values = Mapping[str, Sequence[int]]
_CACHES = {
    "kv_cache": "updated_kv_cache",
    "k_index_cache_fp8": "updated_k_index_cache_fp8",
}


def step_sizes(kernel: Kernel, batch: StepBatch) -> dict[str, int]:
    """Windows that end in a step, and compressed keys of sequences as long as the batch's.

    A window ends with the token whose position is the last before a multiple of the ratio.
    """
    sizes = {name: int(size) for name, size in kernel.parameters.items() if type(size) is int}
    if "window" in sizes:
        ratio = sizes["window"] // (2 if kernel.parameters["kind"] == "overlap" else 1)
        states = batch.sequences * sizes["window"]
        return {"num_windows": _windows(ratio, batch), "num_states": states}
    if "compressed_page_size" in sizes:
        held = batch.keys * sizes["compressed_page_size"] // PAGE_SIZE
        chosen = kernel.facts.get("extra_topk")
        return {"extra_topk": held if chosen is None else min(held, int(chosen.value))}
    if sizes.get("page_size", PAGE_SIZE) < PAGE_SIZE:  # a row is a window's, not a token's
        return {"num_tokens": _windows(PAGE_SIZE // sizes["page_size"], batch)}
    return {}


def _windows(ratio: int, batch: StepBatch) -> int:
    before = batch.keys - batch.tokens // batch.sequences
    return batch.sequences * (batch.keys // ratio - before // ratio)


def cost(definition: Definition, axes: Mapping[str, int], values: Values) -> Cost | None:
    """Products of queries and the keys that they see; caches are read where they are seen.

    None for a definition that is not this plugin's.
    """
    kind = kind_of(definition)
    if kind is None:
        return None
    if kind in ("window", "compressed"):
        return _attention(definition, axes, values, kind)
    if kind in ("overlap", "plain"):
        return _compress(definition, axes, values)
    if "out_loc" in definition.inputs:
        return _store(definition, axes)
    sizes = definition.const_axes
    heads = sizes["num_heads"] * axes["num_tokens"]
    flops = 3 * sizes["rope_dim"]
    if kind == "q_norm_rope":
        flops += 3 * sizes["head_dim"]
    elif kind == "index_q":
        flops += _transform(sizes["head_dim"])
    return moved(definition, axes, flops * heads, "float32", instead=_table(definition, axes))


def _transform(size: int) -> int:
    """Additions of a fast Hadamard transform, and what quantising takes."""
    return size * (size.bit_length() - 1) + 3 * size


def _table(definition: Definition, axes: Mapping[str, int]) -> dict[str, int]:
    """The rows of the table of angles that are read: at most one a token."""
    rows = min(axes["num_tokens"], axes["max_position"])
    return {"cos_sin_cache": 4 * definition.const_axes["rope_dim"] * rows}


def _store(definition: Definition, axes: Mapping[str, int]) -> Cost:
    """A kernel writes in place: what is stored is written once, and nothing of a cache is read."""
    sizes = definition.const_axes
    cache = next(name for name in _CACHES if name in definition.inputs)
    size = sizes.get("kv_dim", sizes.get("head_dim_with_scale", 0))
    pool = tensor_bytes(definition.inputs[cache], definition, axes)
    flops = 4 * sizes["head_dim"] + 3 * sizes["rope_dim"]
    flops += 3 * sizes["head_dim"] if "kv_dim" in sizes else _transform(sizes["head_dim"])
    read = {cache: 0, **_table(definition, axes)}
    found = moved(definition, axes, flops * axes["num_tokens"], "float32", instead=read)
    return attrs.evolve(found, bytes_written=min(size * axes["num_tokens"], pool))


def _compress(definition: Definition, axes: Mapping[str, int], values: Values) -> Cost:
    """Of a window's tokens the numbers and scores that count are read: an element of each."""
    sizes = definition.const_axes
    row, window = sizes["state_dim"], sizes["window"]
    elements = window * sizes["head_dim"] * axes["num_windows"]
    seen = values.get("window_indices")
    buffered = axes["num_windows"] * window
    if seen is not None:
        buffered = len({index for index in seen if 0 <= index < axes["num_states"]})
    read = {"kv_score_buffer": min(8 * sizes["head_dim"] * buffered, 4 * row * axes["num_states"])}
    found = moved(definition, axes, 6 * elements, "float32", instead=read)
    written = 4 * sizes["head_dim"] * axes["num_windows"]
    written += 4 * row * min(axes["num_tokens"], axes["num_states"])
    found = attrs.evolve(found, bytes_written=written)
    if seen is not None:
        return found
    least = moved(definition, axes, 0, "float32", instead={"kv_score_buffer": 0})
    return attrs.evolve(
        found,
        assumes="tokens of windows are in the buffer, and no windows share them",
        least=attrs.evolve(least, bytes_written=written),
    )


def _attention(
    definition: Definition, axes: Mapping[str, int], values: Values, kind: KindName
) -> Cost:
    """A latent vector is key and value of all heads and is read once, whoever sees it."""
    sizes = definition.const_axes
    parts = [("swa_kv_cache", "swa", "sparse_indices", "swa_topk_lens")]
    if kind == "compressed":
        extra = ("extra_sparse_indices", "extra_sparse_topk_lens")
        parts.append(("compressed_kv_cache", "compressed", *extra))

    def count(pairs: int, keys: Mapping[str, int]) -> Cost:
        flops = 4 * sizes["head_dim"] * sizes["num_heads"] * pairs
        read = {cache: sizes[f"{pool}_kv_dim"] * keys[cache] for cache, pool, _, _ in parts}
        return moved(definition, axes, flops, "bfloat16", instead=read)

    pairs, keys, known = 0, {}, True
    for cache, pool, indices, lengths in parts:
        width = sizes["sparse_topk"] if pool == "swa" else axes["extra_topk"]
        held = axes[f"{pool}_num_pages"] * sizes[f"{pool}_page_size"]
        listed, counted = values.get(indices), values.get(lengths)
        if listed is None or counted is None:
            known = False
            seen = axes["num_tokens"] * min(width, held)
            pairs, keys[cache] = pairs + seen, min(seen, held)
            continue
        there = [
            index
            for row, length in enumerate(counted)
            for index in listed[row * width : row * width + max(0, length)]
            if index >= 0
        ]
        pairs, keys[cache] = pairs + len(there), len(set(there))
    if known:
        return count(pairs, keys)
    return attrs.evolve(
        count(pairs, keys),
        assumes="each query sees as many keys as it may, and no other sees them",
        least=count(0, dict.fromkeys(keys, 0)),
    )
