"""Sizes to benchmark with."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fibcore.plugin import TOKENS, Definition, Scalar, WorkloadCase
from fibcore_op_activation.definitions import HALF, kind_of

if TYPE_CHECKING:
    import numpy as np

SMALL_ROWS = 16
"""Up to so many rows the activations stand in the dataset, 2 bytes an element."""

WIDEST = 8.0
"""Elements of small workloads lie evenly in -WIDEST to WIDEST: from there on GELU and SiLU are 0 or
the element itself. A normal distribution has hardly any beyond 4, where forms of GELU differ."""

BEYOND = 1.5
"""Where a limit clamps, elements go so many times as far."""

SCALARS = {"beta": 4.0, "linear_beta": 25.0, "alpha": 1.702, "limit": 10.0}
"""Scalars of definitions that no model is known of: those of Kimi K3, of gpt-oss, DeepSeek-V4's."""


def workloads(
    definition: Definition, constants: Mapping[str, Scalar], seed: int
) -> tuple[WorkloadCase, ...]:
    """1 to 8192 rows; none where it is not known what a definition computes."""
    kind = kind_of(definition)
    if kind is None or kind.width not in definition.const_axes:
        return ()
    width = definition.const_axes[kind.width]
    half = {HALF: width // 2} if kind.gated else {}
    scalars = {name: float(constants.get(name, SCALARS[name])) for name in kind.scalars}
    widest = max(WIDEST, BEYOND * scalars.get("limit", 0.0))
    made = []
    for rows in TOKENS:
        label, axes = f"{rows} rows", {"num_tokens": rows, **half}
        if rows <= SMALL_ROWS:
            tensors = functools.partial(_rows, definition.name, rows, width, seed, widest)
            made.append(WorkloadCase(label, axes, scalars, tensors=tensors))
        else:
            made.append(WorkloadCase(label, axes, scalars))
    return tuple(made)


def _rows(
    name: str, rows: int, width: int, seed: int, widest: float
) -> Mapping[str, np.ndarray[Any, Any]]:
    """Evenly distributed elements."""
    from fibcore.plugin import generator

    draws = generator(seed, name, "input", rows)
    return {"input": draws.uniform(-widest, widest, rows, width)}
