"""Random numbers for workloads: the same for the same seed, whatever the version of NumPy.

NumPy promises the streams of its bit generators and not those of the distributions made from them;
so the few distributions that are needed are made here, from bits and exact arithmetic.
"""

from __future__ import annotations

import hashlib
import math
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CHUNK = 2**20  # numbers that are drawn at a time, which bounds the memory


def generator(seed: int, *words: object) -> Draws:
    """Numbers that depend on `seed` and `words` (a definition's name, a case's label)."""
    text = "\0".join([str(int(seed)), *map(str, words)])
    return Draws(int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big"))


class Draws:
    """A stream of random numbers; every call goes on where the last one ended."""

    def __init__(self, seed: int) -> None:
        """Begin a stream; `generator` makes the seed."""
        self._bits = np.random.PCG64(seed)

    def uniform(self, low: float, high: float, *shape: int) -> NDArray[np.float32]:
        """float32 numbers [*shape], evenly distributed from `low` to `high`."""
        count = int(np.prod(shape, dtype=np.int64))
        flat = np.empty(count, np.float32)
        for start in range(0, count, _CHUNK):
            raw = self._raw(min(_CHUNK, count - start))
            # 24 bits are what a float32 holds; then one product and one sum, rounded as IEEE says.
            part = (raw >> np.uint64(40)).astype(np.float64) * 2.0**-24
            flat[start : start + len(part)] = part * (high - low) + low
        return flat.reshape(shape)

    def permutations(self, rows: int, count: int) -> NDArray[np.int64]:
        """int64 [rows, count]; each row is an order of 0 to count - 1."""
        raw = self._raw(rows * count).reshape(rows, count)
        return np.argsort(raw, axis=1, kind="stable")

    def lengths(self, count: int, median: int, longest: int, sigma: float = 0.8) -> list[int]:
        """Lengths of `count` sequences, from 1 to `longest`.

        Log-normally distributed: most near the median and a few far longer, as prompts and
        answers in logs of serving are.
        """
        normal = NormalDist()
        # Never 0 or 1, whose quantiles are infinite.
        chances = ((self._raw(count) >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
        drawn = (median * math.exp(sigma * normal.inv_cdf(chance)) for chance in chances.tolist())
        return [min(max(round(length), 1), longest) for length in drawn]

    def _raw(self, count: int) -> NDArray[Any]:
        return self._bits.random_raw(count)
