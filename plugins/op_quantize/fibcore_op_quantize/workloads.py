"""Sizes to benchmark with."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fibcore.plugin import TOKENS, Definition, Scalar, WorkloadCase
from fibcore_op_quantize.definitions import kind_of
from fibcore_op_quantize.kinds import Kind

if TYPE_CHECKING:
    import numpy as np

SMALL_ROWS = 64
"""Up to so many rows the activations stand in the dataset, 2 bytes an element."""

LARGEST = 4.0
"""The largest elements of rows of small workloads are of this size, and of a sixteenth of it."""


def workloads(
    definition: Definition,
    constants: Mapping[str, Scalar],  # noqa: ARG001 - the hook's
    seed: int,
) -> tuple[WorkloadCase, ...]:
    """1 to 8192 rows; none where it is not known what a definition computes."""
    kind = kind_of(definition)
    if kind is None:
        return ()
    made = []
    for rows in TOKENS:
        tensors = functools.partial(_tensors, definition, kind, rows, seed)
        made.append(WorkloadCase(f"{rows} rows", {"M": rows}, tensors=tensors))
    return tuple(made)


def _tensors(
    definition: Definition, kind: Kind, rows: int, seed: int
) -> Mapping[str, np.ndarray[Any, Any]]:
    """Few rows with groups of two sizes; the scale that is given."""
    import numpy as np

    from fibcore.plugin import generator

    found: dict[str, np.ndarray[Any, Any]] = {}
    if rows <= SMALL_ROWS:
        k = definition.const_axes["K"]
        draws = generator(seed, definition.name, kind.input, rows)
        # Every second group of 16 elements is a sixteenth as large.
        size = np.where(np.arange(k) // 16 % 2, 1.0, 1 / 16).astype(np.float32)
        if kind.group > 16:
            size = np.where(np.arange(k) // kind.group % 2, 1.0, 1 / 16).astype(np.float32)
        found[kind.input] = draws.uniform(-LARGEST, LARGEST, rows, k) * size
    if kind.given:
        # Of other rows, which are normally distributed, hardly any element is larger.
        given = 6.0 * 448.0 / LARGEST if kind.packed else LARGEST / 448.0
        found[kind.given] = np.array([given], np.float32)
    return found
