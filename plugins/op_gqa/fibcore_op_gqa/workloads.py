"""Batches to benchmark grouped query attention with."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from fibcore.plugin import Definition, Scalar, WorkloadCase
from fibcore_op_gqa.definitions import extras_of, kind_of, widths
from fibcore_op_gqa.names import PAGE_SIZE, Kind

if TYPE_CHECKING:
    import numpy as np

    from fibcore.plugin import Batch

    Arrays = Mapping[str, np.ndarray[Any, Any]]

# Of keys and values in an eight-bit cache, which are about 1: neither is 1, nor as the other.
_SCALES = {"k_scale": 1.5, "v_scale": 0.75}

# (sequences, median keys before the drafts, drafts each): what a server verifies in one call.
_DRAFTS = (
    *((1, 16, 8), (1, 128, 16), (1, 1024, 64), (1, 8192, 8), (4, 256, 16), (8, 1024, 8)),
    *((16, 512, 16), (32, 1024, 8), (64, 256, 4)),
)

FEW_QUERIES = 512
"""Up to so many queries stand in the dataset where they cannot be random."""


def workloads(
    definition: Definition, constants: Mapping[str, Scalar], seed: int
) -> tuple[WorkloadCase, ...]:
    """Decode batches, or prompts and chunks; random k and v over shuffled pages.

    Queries are random too, except where logits have a cap, and so are sinks over the range of the
    keys' sums. With a mask, trees of drafts are verified. Every query has a key, because
    flashinfer-bench takes an lse of -inf for a wrong result. Empty for attention that is not this
    plugin's.
    """
    kind = kind_of(definition)
    if kind is None:
        return ()
    from fibcore.plugin import decode_batches, prefill_batches, sequence_cases

    extras = extras_of(definition)
    if extras.mask:
        batches = _verified_batches(seed, definition.name)
    elif kind == "decode":
        batches = decode_batches(seed, definition.name)
    else:
        batches = prefill_batches(seed, definition.name, prefixes=kind == "prefill")
    if extras.chunk is not None:
        batches.append(_around_chunks(kind, extras.chunk))
    head_dim = widths(definition)[0]
    scale = float(constants.get("sm_scale", head_dim**-0.5))
    scalars = {"sm_scale": scale} | (_SCALES if extras.cache is not None else {})
    page_size = definition.const_axes.get(PAGE_SIZE.name)
    cases = sequence_cases(definition, batches, scalars, seed, page_size, _pairs)
    if extras.mask:
        pairs = zip(cases, batches, strict=True)
        cases = tuple(_with_mask(definition, case, batch, seed) for case, batch in pairs)
    if extras.sink:
        cases = tuple(_with_sinks(definition, case, page_size or 1, seed) for case in cases)
    cap = extras.cap
    if cap is None:
        return cases
    std = cap / 8 / (scale * head_dim**0.5)
    return tuple(_near_the_cap(definition, case, std, seed) for case in cases)


def _verified_batches(seed: int, name: str) -> list[Batch]:
    """Batches of 1 to 64 sequences, each with keys of its own and 4 to 64 drafts after them.

    A single sequence has 3 keys less than the power of two, so that no page is full.
    """
    from fibcore.plugin import Batch, generator

    found = []
    for count, median, drafts in _DRAFTS:
        label = f"{count} x {drafts} drafts after about {median} keys"
        before = [median - 3] if count == 1 else []
        if not before:
            before = list(generator(seed, name, label).lengths(count, median, 4 * median))
        keys = tuple(length + drafts for length in before)
        found.append(Batch(label, (drafts,) * count, keys))
    return found


def _tree_masks(
    queries: Sequence[int], keys: Sequence[int], seed: int, *words: object
) -> np.ndarray[Any, Any]:
    """Bool [sum of queries * keys]: the masks of all sequences, one after the other.

    The first draft of a sequence follows its last key; each other follows one that stands before it
    in no order. A draft sees the keys before the drafts, those that it follows, and itself.
    """
    import numpy as np

    from fibcore.plugin import generator

    draws = generator(seed, "tree", *words)
    parts = []
    for count, length in zip(queries, keys, strict=True):
        first = length - count
        seen = np.zeros((count, length), dtype=np.bool_)
        seen[:, :first] = True
        parents = draws.uniform(0.0, 1.0, count)
        for draft in range(count):
            if draft:
                seen[draft] |= seen[int(parents[draft] * draft) % draft]
            seen[draft, first + draft] = True
        parts.append(seen.reshape(-1))
    return np.concatenate(parts)


def _pairs(batch: Batch) -> dict[str, int]:
    """Elements of the masks of a batch's sequences."""
    return {"mask_len": sum(n * m for n, m in zip(batch.queries, batch.keys, strict=True))}


def _with_mask(definition: Definition, case: WorkloadCase, batch: Batch, seed: int) -> WorkloadCase:
    """The case with the masks of trees of drafts."""
    made = functools.partial(_masks, case.tensors, definition, batch, seed)
    return attrs.evolve(case, tensors=made)


def _masks(others: Callable[[], Arrays], definition: Definition, batch: Batch, seed: int) -> Arrays:
    """The tensors of a case and a mask."""
    mask = _tree_masks(batch.queries, batch.keys, seed, definition.name, batch.label)
    return {**others(), "custom_mask": mask}


def _around_chunks(kind: Kind, chunk: int) -> Batch:
    """Sequences that end where a chunk ends or begins: there a key more or less shows most."""
    from fibcore.plugin import Batch

    if kind == "decode":
        keys = (chunk, chunk + 1, chunk + 2, 2 * chunk + 9, chunk + 65)
        return Batch(f"ends of chunks of {chunk} keys", (1,) * len(keys), keys)
    prompts = (chunk + 64, 100)
    return Batch(f"prompts beyond a chunk of {chunk} keys", prompts, prompts)


def _with_sinks(
    definition: Definition, case: WorkloadCase, tokens_per_page: int, seed: int
) -> WorkloadCase:
    """The case with sinks from 0 to what the exponentials of the mean sequence's logits come to.

    A sink of about 1, as random inputs are, takes nothing that shows from thousands of keys.
    """
    axes = case.axes
    keys = axes.get("total_kv", axes.get("num_kv_indices", 0) * tokens_per_page)
    mean = max(1, keys // max(1, axes["len_indptr"] - 1))
    window = extras_of(definition).window or extras_of(definition).chunk or mean
    made = functools.partial(
        _sinks, case.tensors, definition, case.label, math.log(min(mean, window)) + 1, seed
    )
    return attrs.evolve(case, tensors=made)


def _sinks(
    others: Callable[[], Arrays], definition: Definition, label: str, highest: float, seed: int
) -> Arrays:
    """The tensors of a case and sinks from 0 to `highest`."""
    from fibcore.plugin import generator

    draws = generator(seed, definition.name, "sinks", label)
    return {
        **others(),
        "sinks": draws.uniform(0.0, highest, definition.const_axes["num_qo_heads"]),
    }


def _near_the_cap(
    definition: Definition, case: WorkloadCase, std: float, seed: int
) -> WorkloadCase:
    """The case with queries whose logits come near the cap, where there are not too many."""
    queries = case.axes.get("total_q", case.axes.get("batch_size", 0))
    if queries > FEW_QUERIES:
        return case
    made = functools.partial(_queries, case.tensors, definition, case.label, queries, std, seed)
    return attrs.evolve(case, tensors=made)


def _queries(
    others: Callable[[], Arrays],
    definition: Definition,
    label: str,
    queries: int,
    std: float,
    seed: int,
) -> Arrays:
    """The tensors of a case and queries: every second head has this standard deviation, others 1.

    Logits of standard normal queries and keys are about one, where a cap changes nothing.
    """
    from fibcore.plugin import generator

    axes = definition.const_axes
    edge = 3**0.5  # of an even distribution with the standard deviation 1
    draws = generator(seed, definition.name, "q", label)
    q = draws.uniform(-edge, edge, queries, axes["num_qo_heads"], widths(definition)[0])
    q[:, ::2] *= std
    return {**others(), "q": q}
