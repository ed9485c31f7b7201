"""How far an output may be from the expected one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from fibcore.verification.emitted.tolerances import (  # noqa: E402 - needs torch
    is_narrow,
    tolerance_of,
    with_rounding,
)


def tolerance(
    dtype: str, inputs: str = "bfloat16", override: float | None = None, **own: Any
) -> Any:
    definition = {"inputs": {"x": {"dtype": inputs}}, "outputs": {"y": {"dtype": dtype}}}
    return tolerance_of(definition, "y", SimpleNamespace(**own), override)


@pytest.mark.parametrize(
    ("dtype", "wanted"),
    [
        ("float32", (1e-5, 1e-5, 1.0)),
        ("float16", (1e-3, 1e-3, 1.0)),
        ("bfloat16", (1e-2, 8e-3, 1.0)),
        ("float8_e4m3fn", (2e-1, 1e-1, 0.85)),
        ("int32", (0.0, 0.0, 1.0)),
        ("bool", (0.0, 0.0, 1.0)),
    ],
)
def test_default_tolerances(dtype: str, wanted: tuple[float, float, float]) -> None:
    assert tolerance(dtype) == wanted


def test_fp8_inputs_make_every_floating_output_coarse() -> None:
    assert tolerance("bfloat16", "float8_e4m3fn") == (2e-1, 1e-1, 0.85)
    assert tolerance("int32", "float8_e4m3fn") == (0.0, 0.0, 1.0)


def test_template_and_option_override() -> None:
    own = {"TOLERANCES": {"float32": (1.0, 2.0)}, "MATCHED_RATIO": {"y": 0.5}}
    assert tolerance("float32", **own) == (1.0, 2.0, 0.5)
    assert tolerance("float32", TOLERANCES={"y": (3.0, 4.0), "float32": (1.0, 2.0)}) == (3, 4, 1)
    assert tolerance("float32", override=0.25, **own) == (0.25, 0.25, 0.5)
    assert tolerance("int32", override=0.25) == (0.0, 0.0, 1.0)


def test_roundings_count_where_they_are_more() -> None:
    assert with_rounding(0.5, None) == 0.5
    strange = torch.tensor([0.25, 1.0, torch.nan, torch.inf])
    found = with_rounding(0.5, strange)
    assert found.tolist() == [0.5, 1.0, 0.5, 0.5]
    assert found.dtype == torch.float64


@pytest.mark.parametrize(
    ("dtype", "narrow"),
    [("float8_e4m3fn", True), ("float4_e2m1", True), ("float16", False), ("int8", False)],
)
def test_narrow(dtype: str, narrow: bool) -> None:
    assert is_narrow(dtype) is narrow
