"""Sizes to benchmark norms of rows that ranks share with."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fibcore.plugin import TOKENS, Definition, Scalar, WorkloadCase
from fibcore_op_split_rmsnorm.definitions import constant, form_of

if TYPE_CHECKING:
    import numpy as np


def workloads(
    definition: Definition,
    constants: Mapping[str, Scalar],  # noqa: ARG001 - the hook's
    seed: int,
) -> tuple[WorkloadCase, ...]:
    """1 to 8192 tokens; none for a definition with other tensors.

    Sums are those of ranks with numbers of any size: every second mean square is about epsilon.
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
    """Sums whose means are from 0.5 to 2, and of tokens 0, 2, ... about epsilon."""
    import numpy as np

    from fibcore.plugin import generator

    mean = generator(seed, definition.name, "sums", tokens).uniform(0.5, 2.0, 2, tokens)
    mean[:, ::2] *= constant(definition, "EPSILON") or 1.0
    sizes = [definition.const_axes[name] for name in ("q_size", "k_size")]
    elements = np.array(sizes)[:, None] * (constant(definition, "RANKS") or 1.0)
    return {"sums": (mean * elements).astype(np.float32)}
