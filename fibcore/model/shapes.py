"""Shapes of inputs and outputs, and the memory that they take on a device."""

from __future__ import annotations

import math
from collections.abc import Mapping

from fibcore.model.definition import Definition, TensorSpec
from fibcore.model.dtypes import TABLE


def shape_of(
    spec: TensorSpec, definition: Definition, axes: Mapping[str, int]
) -> tuple[int, ...] | None:
    """The shape of an input or output; None for a scalar.

    Args:
        spec: The input or output.
        definition: The definition that has it.
        axes: Sizes of the var axes.
    """
    if spec.shape is None:
        return None
    const = definition.const_axes
    return tuple(const[axis] if axis in const else axes[axis] for axis in spec.shape)


def tensor_bytes(spec: TensorSpec, definition: Definition, axes: Mapping[str, int]) -> int:
    """Bytes of an input or output on a device; a scalar counts nothing.

    Args:
        spec: The input or output.
        definition: The definition that has it.
        axes: Sizes of the var axes.
    """
    shape = shape_of(spec, definition, axes)
    return 0 if shape is None else -(-math.prod(shape) * TABLE[spec.dtype].bits // 8)


def device_bytes(definition: Definition, axes: Mapping[str, int]) -> int:
    """Bytes of all inputs and outputs, from shapes and dtypes; scalars count nothing.

    What an implementation takes besides (workspaces, copies) comes on top.
    """
    specs = (*definition.inputs.values(), *definition.outputs.values())
    return sum(tensor_bytes(spec, definition, axes) for spec in specs)
