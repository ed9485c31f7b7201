"""Sizes to benchmark matrix products with."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fibcore.plugin import TOKENS, Definition, Scalar, WorkloadCase
from fibcore_op_gemm.formats import of_definition

if TYPE_CHECKING:
    import numpy as np

# Normal numbers that are cut off at 2, as flashinfer-bench draws fp8, have this standard deviation.
CLAMPED_STD = 0.96
# Of the elements of C. With those of one, the rounding of a Hopper tensor core's fp8 sums comes
# near 1e-2, which flashinfer-bench allows.
TARGET_STD = 0.5


def workloads(
    definition: Definition,
    constants: Mapping[str, Scalar],  # noqa: ARG001 - the hook's
    seed: int,
) -> tuple[WorkloadCase, ...]:
    """1 to 8192 rows of A; random matrices, and for fp8 scales that keep C at about one half.

    None for a definition with other tensors.
    """
    matrices = of_definition(definition)
    if definition.var_axes != ("M",) or matrices is None:
        return ()
    if not matrices.block_scaled:
        return tuple(WorkloadCase(f"{m} rows", {"M": m}) for m in TOKENS)
    scales = functools.partial(_scales, definition, seed)
    return tuple(
        WorkloadCase(f"{m} rows", {"M": m}, tensors=functools.partial(scales, m)) for m in TOKENS
    )


def _scales(definition: Definition, seed: int, m: int) -> Mapping[str, np.ndarray[Any, Any]]:
    """Scales that differ from block to block by up to three; those of B are the same for all M."""
    from fibcore.plugin import generator

    axes = definition.const_axes
    blocks = axes["num_k_blocks"]
    middle = TARGET_STD / (CLAMPED_STD**2 * math.sqrt(axes["K"]))
    of_b = generator(seed, definition.name, "B_scale")
    of_a = generator(seed, definition.name, "A_scale", m)
    return {
        "A_scale": of_a.uniform(0.5, 1.5, m, blocks),
        "B_scale": of_b.uniform(0.5 * middle, 1.5 * middle, axes["num_n_blocks"], blocks),
    }
