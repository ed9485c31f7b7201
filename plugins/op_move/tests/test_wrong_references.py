"""The properties of the test template against plausible mistakes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fibcore.plugin import Definition
from fibcore.testing.templates import CRASHES, Template
from fibcore.testing.wrong_references import (
    Mistake,
    assert_rejected,
    assert_wrong_ones_rejected,
    parameters,
)
from fibcore_op_move import fibcore_implementations

pytest.importorskip("torch")

Make = Callable[..., Definition]

BEGIN = "kv_indptr[batch_indices]"


def mistakes(page: str, caches: tuple[str, str], appended: tuple[str, str]) -> list[Mistake]:
    first, second = caches
    return [
        Mistake.of("sequences begin at their own number", BEGIN, "batch_indices.long()"),
        Mistake.of("where the next sequence begins", BEGIN, "kv_indptr[batch_indices + 1]"),
        Mistake.of("all sequences begin where the first does", BEGIN, "kv_indptr[0]"),
        Mistake.of("the page table is left out", "kv_indices[entries].long()", "entries.long()"),
        Mistake.of("pages are one too far", f"positions // {page}", f"(positions + 1) // {page}"),
        Mistake.of("positions count from 1", f"positions % {page}", f"(positions - 1) % {page}"),
        Mistake.of("always the first place of a page", f"positions % {page}", "0 * positions"),
        Mistake.of("one page has one token", f".long() * {page}", ".long()"),
        Mistake.of(
            "what is appended is added",
            f"index_copy(0, slots, {appended[0]})",
            f"index_add(0, slots, {appended[0]})",
        ),
        Mistake.of(
            "the second is not written",
            f".index_copy(0, slots, {appended[1]})",
            "",
        ),
        Mistake.of(
            "the cache is written in place",
            f"{first}.flatten(0, 1).index_copy(",
            f"{first}.view(-1, *{first}.shape[2:]).index_copy_(",
        ),
        Mistake.of(
            "all else is 0",
            f"{second}.flatten(0, 1).index_copy(",
            f"torch.zeros_like({second}.flatten(0, 1)).index_copy(",
        ),
        Mistake.of(
            "through float16",
            f"index_copy(0, slots, {appended[0]})",
            f"index_copy(0, slots, {appended[0]}.half().to({appended[0]}.dtype))",
        ),
        Mistake.of(
            "what is no number is 0",
            f"index_copy(0, slots, {appended[1]})",
            f"index_copy(0, slots, {appended[1]}.nan_to_num())",
        ),
    ]


def mistakes_of_fp8(page: str, rows: tuple[str, str]) -> list[Mistake]:
    first, second = rows
    return [
        Mistake.of("the page table is left out", "kv_indices[entries].long()", "entries.long()"),
        Mistake.of("pages are one too far", f"positions // {page}", f"(positions + 1) // {page}"),
        Mistake.of("the second is not written", f".index_copy(0, slots, {second})", ""),
        Mistake.of("the first is written twice", f"slots, {second}", f"slots, {first}"),
        Mistake.of("the bits of the sign are lost", f"slots, {first}", f"slots, {first} & 127"),
    ]


SCALED = [
    *mistakes_of_fp8("PAGE_SIZE", ("new_keys", "new_values")),
    Mistake.of("the scale of keys is left out", " / k_scale", ""),
    Mistake.of("the scale of values multiplies", " / v_scale", " * v_scale"),
    Mistake.of("the scales are swapped", " / k_scale", " / v_scale", " / v_scale", " / k_scale"),
    Mistake.of(
        "rounded to bfloat16 first",
        "append_key.to(torch.float32) / k_scale",
        "(append_key / k_scale)",
    ),
    Mistake.of(
        "towards zero",
        "(append_key.to(torch.float32) / k_scale)",
        "(append_key.float() / k_scale * 0.97)",
    ),
]
BY_LAYOUT = {
    "kv_fp8": SCALED,
    "mla_fp8": mistakes_of_fp8("page_size", ("new_latent", "new_rope")),
    "kv": mistakes("PAGE_SIZE", ("k_cache", "v_cache"), ("append_key", "append_value")),
    "mla": mistakes("page_size", ("ckv_cache", "kpe_cache"), ("append_ckv", "append_kpe")),
}


@pytest.mark.parametrize(("layout", "mistake"), parameters(BY_LAYOUT))
def test_wrong_references_are_rejected(
    definition: Make, template: Template, layout: str, mistake: Mistake
) -> None:
    assert_rejected(template, definition(layout), mistake, crashes=CRASHES)


@pytest.mark.parametrize("layout", ["kv", "mla", "kv_fp8", "mla_fp8"])
def test_wrong_implementations_are_rejected(
    definition: Make, template: Template, layout: str
) -> None:
    made = definition(layout)
    assert_wrong_ones_rejected(template, made, fibcore_implementations(made))
