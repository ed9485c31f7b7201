"""Sizes to benchmark gated norms with."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fibcore.plugin import TOKENS, Definition, Scalar, WorkloadCase
from fibcore_op_gated_rmsnorm import silu_gate
from fibcore_op_gated_rmsnorm.definitions import epsilon, shape_of
from fibcore_op_gated_rmsnorm.names import SILU_GATE

if TYPE_CHECKING:
    import numpy as np

SMALL_ROWS = 256
"""Up to so many rows the activations stand in the dataset, 2 bytes an element."""


def workloads(
    definition: Definition,
    constants: Mapping[str, Scalar],  # noqa: ARG001 - the hook's
    seed: int,
) -> tuple[WorkloadCase, ...]:
    """1 to 8192 rows; none for a norm with other inputs.

    Where there are few rows, every second one is so small that epsilon matters: in rows of standard
    normal numbers, no kernel that forgets it shows.
    """
    if definition.op_type == SILU_GATE:
        return silu_gate.workloads(definition)
    if shape_of(definition) is None:
        return ()
    small = 2 * math.sqrt(epsilon(definition) or 0.0)
    made = []
    for rows in TOKENS:
        label, axes = f"{rows} rows", {"batch_size": rows}
        if small and rows <= SMALL_ROWS:
            tensors = functools.partial(_rows, definition, rows, small, seed)
            made.append(WorkloadCase(label, axes, tensors=tensors))
        else:
            made.append(WorkloadCase(label, axes))
    return tuple(made)


def _rows(
    definition: Definition, rows: int, small: float, seed: int
) -> Mapping[str, np.ndarray[Any, Any]]:
    """Evenly distributed activations; rows 0, 2, ... have the size `small`, others 1."""
    import numpy as np

    from fibcore.plugin import generator

    edge = math.sqrt(3)  # the root mean square is 1
    size = np.where(np.arange(rows) % 2, 1.0, small).astype(np.float32)[:, None]
    draws = generator(seed, definition.name, "hidden_states", rows)
    hidden = definition.const_axes["hidden_size"]
    return {"hidden_states": draws.uniform(-edge, edge, rows, hidden) * size}
