"""Sizes to benchmark norms of rows that ranks share with."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fibcore.plugin import TOKENS, Definition, Scalar, WorkloadCase
from fibcore_op_split_rmsnorm.definitions import constant, form_of

if TYPE_CHECKING:
    import numpy as np

SMALL_TOKENS = 256
"""Up to so many tokens the rows stand in the dataset, 2 bytes an element."""


def workloads(
    definition: Definition,
    constants: Mapping[str, Scalar],  # noqa: ARG001 - the hook's
    seed: int,
) -> tuple[WorkloadCase, ...]:
    """1 to 8192 tokens; none for a definition with other tensors.

    Where there are few tokens, every second row is so small that epsilon matters.
    """
    form = form_of(definition)
    if form is None:
        return ()
    made = []
    for tokens in TOKENS:
        label, axes = f"{tokens} tokens", {"num_tokens": tokens}
        if form == "apply":
            tensors = functools.partial(_sums, definition, tokens, seed)
            made.append(WorkloadCase(label, axes, tensors=tensors))
        else:
            made.append(WorkloadCase(label, axes))
    return tuple(made)


def _sums(definition: Definition, tokens: int, seed: int) -> Mapping[str, np.ndarray[Any, Any]]:
    """Sums of all ranks, whose means are about 1; of tokens 0, 2, ... about epsilon.

    A rank's own rows are as large as these, so that normalised ones are about 1.
    """
    import numpy as np

    from fibcore.plugin import generator

    draws = generator(seed, definition.name, "sums", tokens)
    mean = draws.uniform(0.5, 2.0, 2, tokens)
    small = tokens <= SMALL_TOKENS
    if small:
        mean[:, ::2] *= constant(definition, "EPSILON") or 1.0
    sizes = [definition.const_axes[name] for name in ("q_size", "k_size")]
    elements = np.array(sizes)[:, None] * (constant(definition, "RANKS") or 1.0)
    made = {"sums": (mean * elements).astype(np.float32)}
    if small:
        for row, (name, size) in enumerate(zip(("q", "k"), sizes, strict=True)):
            made[name] = draws.uniform(-1.0, 1.0, tokens, size) * np.sqrt(3 * mean[row])[:, None]
    return made
