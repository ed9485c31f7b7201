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
from fibcore_op_rope import fibcore_implementations

pytest.importorskip("torch")

Make = Callable[..., Definition]

FIRST = "torch.addcmul(a * cos, b, sin, value=-1, out=out[..., first])"
SECOND = "torch.addcmul(b * cos, a, sin, out=out[..., second])"
TABLE = "cos_sin_cache.index_select(0, positions[tokens])[:, None]"
COS_SIN = "cos, sin = table[..., :half], table[..., half:]"
NEOX = "first, second = slice(0, half), slice(half, ROTARY_DIM)"
GPTJ = "first, second = slice(0, ROTARY_DIM, 2), slice(1, ROTARY_DIM, 2)"
REST = "q_out[..., ROTARY_DIM:] = q[..., ROTARY_DIM:]"

# All mistakes of both styles.
MISTAKES = [
    Mistake.of(
        "it turns the other way", "value=-1", "value=1", SECOND, SECOND.replace("sin", "-sin")
    ),
    Mistake.of("both are sums", "value=-1", "value=1"),
    Mistake.of("both are differences", SECOND, SECOND.replace("a, sin", "a, -sin")),
    Mistake.of("cosines and sines are swapped", COS_SIN, COS_SIN.replace("cos, sin", "sin, cos")),
    Mistake.of("the sine is left out", FIRST, "out[..., first] = a * cos"),
    Mistake.of("the second takes the first as turned", FIRST, f"a = {FIRST}"),
    Mistake.of("elements of a pair change places", "a, b = x", "b, a = x"),
    Mistake.of(
        "cosines and sines stand in turns",
        COS_SIN,
        "cos, sin = table[..., 0::2], table[..., 1::2]",
    ),
    Mistake.of("tokens are counted from 0", TABLE, "cos_sin_cache[tokens][:len(q[tokens]), None]"),
    Mistake.of("positions of the first chunk", "positions[tokens]", "positions[:len(q[tokens])]"),
    Mistake.of(
        "one position too far", "positions[tokens]", "(positions[tokens] + 1) % len(cos_sin_cache)"
    ),
    Mistake.of("the table in the dtype of q", TABLE, TABLE.replace("cache", "cache.to(q.dtype)")),
    Mistake.of("products in the dtype of q", "a * cos", "(a * cos).to(q.dtype)"),
    Mistake.of(
        "the table is taken for angles", COS_SIN, f"{COS_SIN}; cos, sin = cos.cos(), cos.sin()"
    ),
    Mistake.of(
        "keys are not turned", "(k[tokens], k_out[tokens])", "(k[tokens], k[tokens].clone())"
    ),
    Mistake.of("written over q", "torch.empty_like(q)", "q"),
    Mistake.of(
        "the last token is left out",
        "range(0, num_tokens, chunk)",
        "range(0, num_tokens - 1, chunk)",
    ),
    Mistake.of(
        "keys have the queries' result",
        "return q_out, k_out",
        "return q_out, q_out[:, :num_kv_heads]",
    ),
]
OF_STYLE = {
    "neox": [Mistake.of("pairs stand side by side", NEOX, GPTJ)],
    "gptj": [Mistake.of("pairs are of both halves", GPTJ, NEOX)],
}
PARTIAL = [
    Mistake.of("the rest is zero", REST, "q_out[..., ROTARY_DIM:] = 0"),
    Mistake.of("the rest is not written", REST, "pass"),
    Mistake.of(
        "the last elements are turned",
        "x[..., first], x[..., second]",
        "x.flip(-1)[..., first], x.flip(-1)[..., second]",
    ),
]
BY_STYLE = {style: [*MISTAKES, *OF_STYLE[style], *PARTIAL] for style in OF_STYLE}


@pytest.mark.parametrize(("style", "mistake"), parameters(BY_STYLE))
def test_wrong_references_are_rejected(
    definition: Make, template: Template, style: str, mistake: Mistake
) -> None:
    assert_rejected(
        template, with_constants(definition(style, 24, 16), CHUNK_ELEMENTS=720), mistake
    )


@pytest.mark.parametrize(("style", "head_size"), [("neox", 16), ("gptj", 24)])
def test_wrong_implementations_are_rejected(
    definition: Make, template: Template, style: str, head_size: int
) -> None:
    made = definition(style, head_size, 16)
    assert_wrong_ones_rejected(template, made, fibcore_implementations(made))
