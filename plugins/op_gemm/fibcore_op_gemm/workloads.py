"""Sizes to benchmark matrix products with."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fibcore.plugin import TOKENS, Definition, Scalar, WorkloadCase
from fibcore_op_gemm.formats import Format, of_definition
from fibcore_op_gemm.weight_only import WeightOnly

if TYPE_CHECKING:
    import numpy as np

# Normal numbers that are cut off at 2, as flashinfer-bench draws fp8, have this standard deviation.
CLAMPED_STD = 0.96
# Integers of 8 bits, which it draws evenly; and such bytes read as two numbers e2m1 each, whose
# squares are 8.5625 in the mean.
INT8_STD = 73.9
E2M1_STD = 2.926
# Of the elements of C. With those of one, the rounding of a Hopper tensor core's fp8 sums comes
# near 1e-2, which flashinfer-bench allows.
TARGET_STD = 0.5
# Of a rank where no model says how many it has.
HEADS = 16


def workloads(
    definition: Definition, constants: Mapping[str, Scalar], seed: int
) -> tuple[WorkloadCase, ...]:
    """1 to 8192 rows of A; random matrices, and scales that keep C at about one half.

    Batched ones have as many matrices as a model has heads. None for a definition with other
    tensors.
    """
    matrices = of_definition(definition)
    if matrices is None:
        return ()
    if definition.var_axes != (("batch_size", "M") if matrices.batched else ("M",)):
        return ()
    cases = []
    for m in TOKENS:
        axes = {"M": m}
        if matrices.batched:
            axes = {"batch_size": int(constants.get("batch_size", HEADS)), "M": m}
        if isinstance(matrices, WeightOnly):
            given = functools.partial(_weight_only, definition, matrices, seed)
            cases.append(WorkloadCase(f"{m} rows", axes, tensors=given))
        elif matrices.scales is None:
            cases.append(WorkloadCase(f"{m} rows", axes))
        else:
            scales = functools.partial(_scales, definition, matrices, seed, axes)
            cases.append(WorkloadCase(f"{m} rows", axes, tensors=scales))
    return tuple(cases)


def _scales(
    definition: Definition, matrices: Format, seed: int, axes: Mapping[str, int]
) -> Mapping[str, np.ndarray[Any, Any]]:
    """Scales that differ by up to three (powers of two by four); those of B are alike for all M."""
    import numpy as np

    from fibcore.plugin import generator

    sizes = {**definition.const_axes, **axes}
    std = INT8_STD if matrices.dtype == "int8" else CLAMPED_STD
    std = E2M1_STD if matrices.packed else std
    # Of A; where weights alone are quantised it is normal numbers.
    std_of_a = std if matrices.dtype_of_a is None else 1.0
    size = TARGET_STD / (std * std_of_a * math.sqrt(sizes["K"]))
    # Where one more scale multiplies the product, the others, which have few bits, are about one.
    middles = {"A_scale": 1.0, "B_scale": 1.0 if matrices.alpha else size}
    middles = {name: middle for name, middle in middles.items() if name in definition.inputs}
    if matrices.scales == "tensor":  # not one, so that leaving it out shows
        return {
            "A_scale": np.array([1.25], np.float32),
            "B_scale": np.array([size / 1.25], np.float32),
        }
    found: dict[str, np.ndarray[Any, Any]] = {}
    for name, middle in middles.items():
        seeds = (axes["M"],) if name == "A_scale" else ()
        draws = generator(seed, definition.name, name, *seeds)
        shape = [sizes[axis] for axis in definition.inputs[name].shape or ()]
        if matrices.scale_dtype == "int8":
            steps = draws.uniform(-1.5, 1.5, *shape).round()
            found[name] = (steps + 127 + round(math.log2(middle))).astype("uint8").view("int8")
        else:
            found[name] = draws.uniform(0.5 * middle, 1.5 * middle, *shape)
    if matrices.alpha:
        found["alpha"] = generator(seed, definition.name, "alpha").uniform(size, size, 1)
    return found


def _weight_only(
    definition: Definition, matrices: WeightOnly, seed: int
) -> Mapping[str, np.ndarray[Any, Any]]:
    """Scales of integers, which are drawn evenly like their zero points, and the groups' order."""
    import numpy as np

    from fibcore.plugin import generator

    sizes = definition.const_axes
    count = 2**matrices.bits
    # Of evenly drawn integers, less half their number or another one.
    std = math.sqrt(count**2 / (6 if matrices.zeros else 12))
    middle = TARGET_STD / (std * math.sqrt(sizes["K"]))
    shape = [sizes[axis] for axis in definition.inputs["B_scale"].shape or ()]
    draws = generator(seed, definition.name, "B_scale")
    found: dict[str, np.ndarray[Any, Any]] = {
        "B_scale": draws.uniform(0.5 * middle, 1.5 * middle, *shape)
    }
    if matrices.act_order:
        groups = np.arange(sizes["K"]) // (sizes["K"] // sizes["num_k_blocks"])
        order = generator(seed, definition.name, "g_idx").uniform(0, 1, sizes["K"]).argsort()
        found["g_idx"] = groups[order].astype(np.int32)
    return found
