"""Batches in which drafts are verified, and which keys each draft sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from fibcore.plugin import Batch

# (sequences, median keys before the drafts, drafts each): what a server verifies in one call.
_BATCHES = (
    *((1, 16, 8), (1, 128, 16), (1, 1024, 64), (1, 8192, 8), (4, 256, 16), (8, 1024, 8)),
    *((16, 512, 16), (32, 1024, 8), (64, 256, 4)),
)


def verified_batches(seed: int, name: str) -> list[Batch]:
    """Batches of 1 to 64 sequences, each with keys of its own and 4 to 64 drafts after them.

    A single sequence has 3 keys less than the power of two, so that no page is full.
    """
    from fibcore.plugin import Batch, generator

    found = []
    for count, median, drafts in _BATCHES:
        label = f"{count} x {drafts} drafts after about {median} keys"
        before = [median - 3] if count == 1 else []
        if not before:
            before = list(generator(seed, name, label).lengths(count, median, 4 * median))
        keys = tuple(length + drafts for length in before)
        found.append(Batch(label, (drafts,) * count, keys))
    return found


def tree_masks(
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
