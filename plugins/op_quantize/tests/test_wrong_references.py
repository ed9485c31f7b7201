"""The properties of the test template against plausible mistakes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fibcore.plugin import Definition
from fibcore.testing.mutations import with_constants
from fibcore.testing.templates import Template
from fibcore.testing.wrong_references import (
    Mistake,
    assert_rejected,
    assert_wrong_ones_rejected,
    parameters,
)
from fibcore_op_quantize import fibcore_implementations
from fibcore_op_quantize.kinds import KINDS

pytest.importorskip("torch")

Make = Callable[..., Definition]

AMAX = "x.abs().amax(dim=-1)"
PLAIN = "per_token_group_quant_fp8_g128"
POWERS = "per_token_group_quant_fp8_ue8m0_g128"
ROW, INT8 = "per_token_quant_fp8", "per_token_quant_int8"
ALL, STATIC = "per_tensor_quant_fp8", "static_quant_fp8"
MX, NV = "mxfp8_quantize", "nvfp4_quantize"
BY = "x / scale.unsqueeze(-1)"
WRITE = "scales[rows] = scale"
FLOOR = "EPSILON = 1e-10"
AWAY = "away = (x - whole).abs() >= "
POWER = "torch.where(mantissa > 0.5, scale / mantissa, scale)"
OF_A_ROW = f"({AMAX}.amax(-1, True) * torch.ones(NUM_GROUPS))"
CODE = "code = torch.where(below % 2 == 0, below, above)"
FACTOR = "x * factor.unsqueeze(-1)"
PAIR = "code[:, ::2] + 16 * code[:, 1::2]"
LOOP = "range(0, m, chunk):\n        rows"

# Name, kinds, text of the reference, text in its place.
MISTAKES = [
    ("signed largest", (PLAIN, POWERS, ROW, INT8, MX, NV), AMAX, "x.amax(dim=-1)"),
    ("mean size", (PLAIN, ROW, INT8, NV), AMAX, "x.abs().mean(dim=-1)"),
    ("scale of the dtype's own range", (PLAIN, ROW), "LARGEST = 448.0", "LARGEST = 240.0"),
    ("range of int8 from -128", (INT8,), "LARGEST = 127.0", "LARGEST = 128.0"),
    ("no floor below the scale", (PLAIN, INT8), FLOOR, "EPSILON = 0.0"),
    ("another floor", (PLAIN, INT8), FLOOR, "EPSILON = 1e-12"),
    ("reciprocal scales", (PLAIN, ROW, INT8), WRITE, "scales[rows] = 1.0 / scale"),
    ("multiplied", (PLAIN, POWERS, ROW, INT8), BY, BY.replace("/", "*")),
    ("multiplied", (STATIC, ALL), "input[rows] / scale", "input[rows] * scale"),
    ("power of two below", (POWERS,), "scale / mantissa, scale)", "scale / mantissa / 2, scale)"),
    ("a power of two is doubled", (POWERS, MX), "mantissa > 0.5", "mantissa >= 0.5"),
    ("powers forgotten", (POWERS,), POWER, "scale"),
    ("towards zero", (INT8,), f"{AWAY}0.5", f"{AWAY}2.0"),
    ("ties to even", (INT8,), "whole + torch.copysign(away, x)", "x.round()"),
    ("largest of a piece alone", (ALL,), "torch.maximum(largest, x)", "x.float().reshape(1)"),
    ("bias of the exponent", (MX,), "BIAS = 127", "BIAS = 128"),
    ("a scale for other groups", (PLAIN, POWERS, MX, NV), "amax(dim=-1)", "amax(dim=-1).flip(-1)"),
    ("one scale for a row", (PLAIN, POWERS, MX, NV), AMAX, OF_A_ROW),
    ("the global scale twice", (NV,), FACTOR, f"a_global_sf * {FACTOR}"),
    ("without the global scale", (NV,), "a_global_sf / scale", "1.0 / scale"),
    ("the scale before it is rounded", (NV,), "scale = scales[rows].to(torch.float32)", "pass"),
    ("high nibble first", (NV,), PAIR, "code[:, 1::2] + 16 * code[:, ::2]"),
    ("the sign is left out", (NV,), "code + 8 * torch.signbit(x)", "code"),
    ("ties away from zero", (NV,), CODE, "code = above"),
    ("ties towards zero", (NV,), CODE, "code = below"),
    ("rounded to bfloat16 first", (PLAIN, ROW), BY, f"({BY}).bfloat16()"),
    ("scales in bfloat16", (PLAIN, ROW, INT8), WRITE, f"{WRITE} = scale.bfloat16().float()"),
    ("another format", (PLAIN, STATIC, ALL, MX), "torch.float8_e4m3fn", "torch.float8_e5m2"),
    ("the last row is left out", tuple(KINDS), LOOP, LOOP.replace("m,", "m - 1,")),
]

BY_KIND: dict[str, list[Mistake]] = {}
for _name, _kinds, _right, _wrong in MISTAKES:
    for _kind in _kinds:
        BY_KIND.setdefault(_kind, []).append(Mistake.of(_name, _right, _wrong))


@pytest.mark.parametrize(("kind", "mistake"), parameters(BY_KIND))
def test_wrong_references_are_rejected(
    definition: Make, template: Template, kind: str, mistake: Mistake
) -> None:
    made = with_constants(definition(kind, 256), CHUNK_ELEMENTS=256 * 3)
    assert_rejected(
        template, made, mistake, cases=template.cases(made)[:2], crashes=(RuntimeError,)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_implementations_are_rejected(
    definition: Make, template: Template, kind: str
) -> None:
    made = definition(kind, 256)
    found = fibcore_implementations(made)
    assert_wrong_ones_rejected(template, made, found)
    assert any(one.right for one in found)
    assert sum(not one.right for one in found) >= 3
