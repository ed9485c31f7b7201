"""The properties of the test template against plausible mistakes."""

from __future__ import annotations

import pytest

from fibcore.plugin import Definition
from fibcore.testing.templates import CRASHES, Template
from fibcore.testing.wrong_references import (
    Mistake,
    assert_rejected,
    assert_wrong_ones_rejected,
    parameters,
)
from fibcore_op_dsa_index import fibcore_implementations

pytest.importorskip("torch")

Small = dict[str, Definition]

TURNS = [
    Mistake.of(
        "turned the other way",
        "one * cos - other * sin, one * sin + other * cos",
        "one * cos + other * sin, other * cos - one * sin",
    ),
    Mistake.of(
        "pairs half apart",
        "reshape(*x.shape[:-1], ROPE_DIM // 2, 2)",
        "reshape(*x.shape[:-1], 2, ROPE_DIM // 2).mT",
    ),
    Mistake.of(
        "cosines and sines by turns",
        "cos_sin.chunk(2, -1)",
        "(cos_sin[..., 0::2], cos_sin[..., 1::2])",
    ),
    Mistake.of("sines come first", "(cos, sin) = pairs", "(sin, cos) = pairs"),
    Mistake.of(
        "the last elements turn",
        "torch.cat((turned, x[..., ROPE_DIM:]), -1)",
        "torch.cat((x[..., ROPE_DIM:], turned), -1)",
    ),
    Mistake.of(
        "angles of the first position", "cos_sin_cache[positions", "cos_sin_cache[0 * positions"
    ),
    Mistake.of(
        "angles of the next position",
        "cos_sin_cache[positions",
        "cos_sin_cache.roll(-1, 0)[positions",
    ),
]
FP8 = [
    Mistake.of("no least scale", ".clamp(min=LEAST)", ".clamp(min=1e-30)"),
    Mistake.of("to the largest of 240", "FP8_MAX = 448.0", "FP8_MAX = 240.0"),
    Mistake.of(
        "the reciprocal of the scale",
        "torch.float8_e4m3fn), scale",
        "torch.float8_e4m3fn), 1 / scale",
    ),
    Mistake.of("one scale for all rows", "x.abs().amax(-1)", "x.abs().amax().expand(x.shape[:-1])"),
    Mistake.of("the largest number, not its size", "x.abs().amax(-1)", "x.amax(-1)"),
]
STORE = [
    Mistake.of("no weight", "weight, bias, EPS", "None, bias, EPS"),
    Mistake.of("no bias", "weight, bias, EPS", "weight, None, EPS"),
    Mistake.of("weight + 1", "weight, bias, EPS", "1 + weight, bias, EPS"),
    Mistake.of("no epsilon", "bias, EPS)", "bias, 1e-30)"),
    Mistake.of(
        "the mean stays",
        "layer_norm(k.float(), (HEAD_DIM,), weight, bias, EPS)",
        "rms_norm(k.float(), (HEAD_DIM,), weight, EPS) + bias",
    ),
    Mistake.of(
        "turned before the norm",
        "quantised(rotated(keys, cos_sin_cache[positions]))",
        "quantised(torch.nn.functional.layer_norm(rotated(k.float(), cos_sin_cache[positions]),"
        " (HEAD_DIM,), weight, bias, EPS))",
    ),
    Mistake.of("written in place", ".clone()\n    keys", "\n    keys"),
    Mistake.of("scales come first", "pages[:, end:]", "pages[:, : PAGE_SIZE * 4]"),
    Mistake.of(
        "pages and places are mixed up",
        "page, place = out_loc // PAGE_SIZE",
        "page, place = out_loc % updated.shape[0]",
    ),
    Mistake.of(
        "the last token is left out",
        "[page, place] = values.view(torch.int8)",
        "[page[:-1], place[:-1]] = values[:-1].view(torch.int8)",
    ),
]
QUERY = [
    Mistake.of("no factor", " * float(weight_scale)", ""),
    Mistake.of("scales are left out", " * float(weight_scale) * scale", " * float(weight_scale)"),
    Mistake.of(
        "one scale for all heads",
        "x.abs().amax(-1)",
        "x.abs().amax((-1, -2))[:, None].expand(x.shape[:-1])",
    ),
]
BY_KIND = {"k_store": [*TURNS, *FP8, *STORE], "q": [*TURNS, *FP8, *QUERY]}


@pytest.mark.parametrize(("kind", "mistake"), parameters(BY_KIND))
def test_wrong_references_are_rejected(
    small: Small, template: Template, kind: str, mistake: Mistake
) -> None:
    assert_rejected(template, small[kind], mistake, crashes=CRASHES)


@pytest.mark.parametrize("kind", list(BY_KIND))
def test_wrong_implementations_are_rejected(small: Small, template: Template, kind: str) -> None:
    made = small[kind]
    assert_wrong_ones_rejected(template, made, fibcore_implementations(made))
