"""How far an output may be from the expected one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

# (rtol, atol) by dtype of the output, as the dataset's conventions have them.
TOLERANCES = {
    "float64": (1e-5, 1e-5),
    "float32": (1e-5, 1e-5),
    "float16": (1e-3, 1e-3),
    "bfloat16": (1e-2, 8e-3),
}
# For every floating-point output of a kernel with fp8 (or narrower) inputs or outputs: rounding to
# three mantissa bits moves single elements far, so a share of them may lie outside.
FP8_TOLERANCE = (2e-1, 1e-1)
FP8_MATCHED_RATIO = 0.85


def tolerance_of(
    definition: Mapping[str, Any], name: str, module: Any, override: float | None
) -> tuple[float, float, float]:
    """(rtol, atol, least fraction of elements inside) of an output.

    In order: the override (for rtol and atol), the template's TOLERANCES and MATCHED_RATIO by
    output name and by dtype, the defaults. Integers and booleans have to be equal, whatever the
    override.
    """
    dtype = definition["outputs"][name]["dtype"]
    own, ratios = getattr(module, "TOLERANCES", {}), getattr(module, "MATCHED_RATIO", {})
    default: tuple[float, float] = (0.0, 0.0)
    default_ratio = 1.0
    if dtype.startswith(("float", "bfloat")):
        default = TOLERANCES.get(dtype, FP8_TOLERANCE)
        specs = (*definition["inputs"].values(), *definition["outputs"].values())
        if any(is_narrow(spec["dtype"]) for spec in specs):
            default, default_ratio = FP8_TOLERANCE, FP8_MATCHED_RATIO
    rtol, atol = own.get(name, own.get(dtype, default))
    if override is not None and dtype.startswith(("float", "bfloat")):
        rtol = atol = override
    return rtol, atol, ratios.get(name, ratios.get(dtype, default_ratio))


def with_rounding(atol: float, rounding: torch.Tensor | None) -> float | torch.Tensor:
    """The absolute tolerance of each element: what roundings make of it, where that is more.

    What is no finite number gives no room: with NaN every error would be inside.
    """
    if rounding is None:
        return atol
    found = rounding.to(torch.float64)
    return torch.where(found.isfinite(), found, atol).clamp(min=atol)


def is_narrow(dtype: str) -> bool:
    """Whether a dtype has eight bits or fewer and is a floating-point one."""
    return dtype.startswith(("float8", "float4"))
