"""How much memory a workload takes on a device."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from fibcore.errors import UsageError
from fibcore.model.definition import Definition, TensorSpec

DEFAULT_LIMIT = 16 * 2**30
"""Bytes of inputs and outputs that a workload may take unless another bound is given."""

_BITS = {
    "float32": 32,
    "float16": 16,
    "bfloat16": 16,
    "float8_e4m3fn": 8,
    "float8_e5m2": 8,
    "float4_e2m1": 4,
    "int64": 64,
    "int32": 32,
    "int16": 16,
    "int8": 8,
    "bool": 8,
}
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_UNITS |= {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]i?)?B?", re.IGNORECASE)


def shape_of(
    spec: TensorSpec, definition: Definition, axes: Mapping[str, int]
) -> tuple[int, ...] | None:
    """The shape of an input or output; None for a scalar.

    Args:
        spec: The input or output.
        definition: Whose it is.
        axes: Sizes of the var axes.
    """
    if spec.shape is None:
        return None
    const = definition.const_axes
    return tuple(const[axis] if axis in const else axes[axis] for axis in spec.shape)


def device_bytes(definition: Definition, axes: Mapping[str, int]) -> int:
    """Bytes of all inputs and outputs, from shapes and dtypes; scalars count nothing.

    What an implementation takes besides (workspaces, copies) comes on top.
    """
    total = 0
    for spec in (*definition.inputs.values(), *definition.outputs.values()):
        shape = shape_of(spec, definition, axes)
        if shape is not None:
            total += -(-math.prod(shape) * _BITS[spec.dtype] // 8)
    return total


def parse_size(text: str) -> int:
    """The bytes that people mean by `16GiB`, `16G` (10**9), `500 MB` or `1048576`.

    Raises:
        UsageError: the text is no size.
    """
    match = _SIZE.fullmatch(text.strip())
    unit = (match[2] or "") if match else ""
    known = unit[:1].upper() + unit[1:].lower()
    if match is None or float(match[1]) <= 0:
        raise UsageError(
            "no such size", where="--max-memory", expected="a size such as 16GiB", found=repr(text)
        )
    return int(float(match[1]) * _UNITS[known])


def in_words(size: int) -> str:
    """A number of bytes as people read it: `1.5 GiB`."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"
