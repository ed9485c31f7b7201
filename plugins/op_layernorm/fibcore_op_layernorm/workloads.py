"""Sizes to benchmark with."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fibcore.plugin import TOKENS, Definition, Scalar, WorkloadCase
from fibcore_op_layernorm.definitions import epsilon, known_form

if TYPE_CHECKING:
    import numpy as np

SMALL_ROWS = 256
"""Up to so many rows the activations stand in the dataset, 2 bytes an element."""


def workloads(
    definition: Definition,
    constants: Mapping[str, Scalar],  # noqa: ARG001 - the hook's
    seed: int,
) -> tuple[WorkloadCase, ...]:
    """1 to 8192 rows; none for a norm with other tensors.

    Where there are few rows, their means are not zero and every second one deviates so little that
    epsilon matters: in rows of standard normal numbers, no kernel that forgets either shows.
    """
    if known_form(definition) is None:
        return ()
    small = 2 * math.sqrt(epsilon(definition) or 0.0)
    made = []
    for rows in TOKENS:
        label, axes = f"{rows} rows", {"batch_size": rows}
        if rows <= SMALL_ROWS:
            tensors = functools.partial(_rows, definition, rows, small, seed)
            made.append(WorkloadCase(label, axes, tensors=tensors))
        else:
            made.append(WorkloadCase(label, axes))
    return tuple(made)


def _rows(
    definition: Definition, rows: int, small: float, seed: int
) -> Mapping[str, np.ndarray[Any, Any]]:
    """Evenly distributed rows about half their deviation; rows 0, 2, ... deviate by `small`."""
    import numpy as np

    from fibcore.plugin import generator

    edge = math.sqrt(3)  # evenly from -edge to edge deviates by 1
    size = np.where(np.arange(rows) % 2, 1.0, small or 1.0).astype(np.float32)[:, None]
    draws = generator(seed, definition.name, "hidden_states", rows)
    values = draws.uniform(-edge, edge, rows, definition.const_axes["hidden_size"])
    return {"hidden_states": (values + 0.5) * size}
