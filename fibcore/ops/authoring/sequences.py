"""Batches of sequences as a server runs them: lengths, offsets, page tables."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import attrs
import numpy as np

from fibcore.model.definition import Definition
from fibcore.ops.authoring.draws import generator
from fibcore.ops.hookspecs import WorkloadCase

if TYPE_CHECKING:
    from numpy.typing import NDArray

LONGEST = 32768
"""Keys of the longest sequences."""

# (sequences, median keys): few long contexts, many short ones, and what lies between.
_DECODE = (
    *((1, 128), (1, 1024), (1, 8192), (1, LONGEST), (2, 2048), (4, 1024), (8, 4096), (8, LONGEST)),
    *((16, 1024), (16, 8192), (32, 512), (32, 4096), (64, 1024), (64, 2048), (128, 512)),
    *((128, 1024), (256, 256), (256, 1024)),
)
# InferenceX's random requests: (tokens of a prompt, tokens of its answer, requests at a time).
_REQUESTS = ((1024, 1024, 64), (1024, 8192, 32), (8192, 1024, 16))
_LEAST = 0.8
"""What the lengths of such a request are at least, as a share of the most."""
# New tokens of prompts without a prefix: (prompts, median).
_PROMPTS = ((1, 1), (1, 128), (1, 1024), (1, 8192), (4, 512), (16, 256), (64, 64))
# One sequence: new tokens, and keys before them.
_CHUNKS = ((64, 4096), (2048, 6144), (2048, 30720), (8192, 24576))


# What single sequences are shorter than a power of two: their last page is not full, whatever the
# size of pages, as a last page hardly ever is.
_RAGGED = 27


@attrs.frozen
class Batch:
    """Sequences that a kernel takes in one call.

    Attributes:
        label: What people read.
        queries: New tokens of each sequence, at least one each.
        keys: Keys of each sequence, its new tokens included.
    """

    label: str
    queries: tuple[int, ...]
    keys: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many sequences."""
        return len(self.keys)


def decode_batches(seed: int, name: str) -> list[Batch]:
    """Batches of 1 to 256 sequences with one query each and up to `LONGEST` keys.

    Most have log-normal lengths; three are what InferenceX's random requests come to.
    """
    found = []
    for count, median in _DECODE:
        single = median - _RAGGED
        label = f"{count} x {single} keys" if count == 1 else f"{count} x about {median} keys"
        draws = generator(seed, name, label)
        keys = [single] if count == 1 else draws.lengths(count, median, min(LONGEST, 8 * median))
        found.append(Batch(label, (1,) * count, tuple(keys)))
    found[-1:-1] = [_answering(seed, name, *request) for request in _REQUESTS]
    return found


def _answering(seed: int, name: str, isl: int, osl: int, count: int) -> Batch:
    """Requests with random (isl, osl) in the middle of their answers, as a benchmark keeps them."""
    label = f"{count} requests of up to {isl} in, {osl} out"
    draws = generator(seed, name, label)
    prompts = draws.uniform(_LEAST * isl, isl, count)
    answered = draws.uniform(_LEAST * osl, osl, count) * draws.uniform(0.0, 1.0, count)
    return Batch(label, (1,) * count, tuple(int(n) for n in prompts + answered))


def prefill_batches(seed: int, name: str, *, prefixes: bool) -> list[Batch]:
    """Prompts of up to 8192 tokens; with `prefixes` also chunks of longer ones, and mixed batches.

    Args:
        seed: Of the lengths that are drawn.
        name: Of the definition; others draw other lengths.
        prefixes: Whether a sequence may have keys before its new tokens.
    """
    found = []
    for count, median in _PROMPTS:
        single = max(1, median - _RAGGED)
        label = f"{count} x {single} tokens" if count == 1 else f"{count} x about {median} tokens"
        draws = generator(seed, name, label)
        lengths = [single] if count == 1 else draws.lengths(count, median, 4 * median)
        found.append(Batch(label, tuple(lengths), tuple(lengths)))
    for isl, count in ((1024, 8), (8192, 2)):
        label = f"{count} random prompts of up to {isl}"
        drawn = generator(seed, name, label).uniform(_LEAST * isl, isl, count)
        lengths = [int(n) for n in drawn]
        found.append(Batch(label, tuple(lengths), tuple(lengths)))
    if not prefixes:
        return found
    for queries, after in _CHUNKS:
        before = after - _RAGGED
        found.append(Batch(f"{queries} tokens after {before}", (queries,), (queries + before,)))
    for prompts, decoding in ((3, 29), (8, 120)):
        # What continuous batching makes of a server under load: most sequences decode, a few
        # have just arrived, and one long prompt takes the rest of the token budget.
        label = f"{prompts} prompts, {decoding} decoding, a chunk of 1024 after 15360"
        draws = generator(seed, name, label)
        new = draws.lengths(prompts, 256, 2048)
        contexts = draws.lengths(decoding, 1024, 8192)
        found.append(Batch(label, (1024, *new, *(1,) * decoding), (16384, *new, *contexts)))
    return found


def sequence_cases(
    definition: Definition,
    batches: Sequence[Batch],
    scalars: Mapping[str, int | float | bool],
    seed: int,
    tokens_per_page: int | None = None,
    sizes: Callable[[Batch], Mapping[str, int]] | None = None,
) -> tuple[WorkloadCase, ...]:
    """Workloads of a kernel whose sequences stand one after the other, or in pages.

    Axes and tensors have FlashInfer's names: axes batch_size, len_indptr, total_q and total_kv, and
    with pages also num_kv_indices and num_pages; int32 tensors qo_indptr, kv_indptr, and with pages
    kv_indices and kv_last_page_len. What the definition does not have is left out, and what it has
    beside them is random.

    Args:
        definition: The definition.
        batches: What a server runs.
        scalars: Values of its scalar inputs.
        seed: Of the page numbers.
        tokens_per_page: Of a paged cache; None where keys stand one after the other.
        sizes: Sizes of a batch's axes beside those.
    """
    found = []
    for batch in batches:
        axes = _axes(batch, tokens_per_page) | dict(sizes(batch) if sizes is not None else {})
        found.append(
            WorkloadCase(
                batch.label,
                {name: axes[name] for name in definition.var_axes},
                scalars,
                functools.partial(_tensors, definition, batch, tokens_per_page, seed),
            )
        )
    return tuple(found)


def _axes(batch: Batch, tokens_per_page: int | None) -> dict[str, int]:
    axes = {
        "batch_size": batch.size,
        "len_indptr": batch.size + 1,
        "total_q": sum(batch.queries),
        "total_kv": sum(batch.keys),
    }
    if tokens_per_page is not None:
        used = sum(page_counts(batch.keys, tokens_per_page))
        axes |= {"num_kv_indices": used, "num_pages": pool_size(used)}
    return axes


def _tensors(
    definition: Definition, batch: Batch, tokens_per_page: int | None, seed: int
) -> dict[str, NDArray[np.int32]]:
    made = {"qo_indptr": indptr(batch.queries)}
    if tokens_per_page is None:
        made["kv_indptr"] = indptr(batch.keys)
    else:
        pages = page_counts(batch.keys, tokens_per_page)
        made["kv_indptr"] = indptr(pages)
        made["kv_indices"] = page_numbers(seed, sum(pages), definition.name, batch.label)
        made["kv_last_page_len"] = last_page_lengths(batch.keys, tokens_per_page)
    return {name: made[name] for name in definition.inputs if name in made}


def indptr(lengths: Sequence[int]) -> NDArray[np.int32]:
    """int32 [len(lengths) + 1]: where each of them begins when they stand one after the other."""
    return np.array([0, *itertools.accumulate(lengths)], dtype=np.int32)


def page_counts(keys: Sequence[int], tokens_per_page: int) -> list[int]:
    """Pages that each sequence takes."""
    return [-(-n // tokens_per_page) for n in keys]


def pool_size(used: int) -> int:
    """Pages of a cache in which `used` are in use: some are free, and page 0 is never handed out.

    SGLang keeps it for padded tokens (`srt/mem_cache/allocator.py`).
    """
    return 1 + used + used // 16


def page_numbers(seed: int, used: int, *words: object) -> NDArray[np.int32]:
    """int32 [used]: different pages of a pool of `pool_size(used)`, in no order."""
    order = generator(seed, "pages", *words).permutations(1, pool_size(used) - 1)[0]
    numbers: NDArray[np.int32] = (order[:used] + 1).astype(np.int32)
    return numbers


def last_page_lengths(keys: Sequence[int], tokens_per_page: int) -> NDArray[np.int32]:
    """int32 [sequences]: tokens in the last page of each, 0 for one without keys."""
    return np.array([(n - 1) % tokens_per_page + 1 if n else 0 for n in keys], dtype=np.int32)
