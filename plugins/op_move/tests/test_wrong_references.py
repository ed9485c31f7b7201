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
PACKED = [
    Mistake.of("the page table is left out", "kv_indices[entries].long()", "entries.long()"),
    Mistake.of("pages are one too far", "positions // page_size", "(positions + 1) // page_size"),
    Mistake.of(
        "rope parts stand before the scales",
        "    )\n    rows =",
        "    )\n    parts = parts[::2] + parts[1:2]\n    rows =",
    ),
    Mistake.of(
        "scales stand first",
        "    )\n    rows =",
        "    )\n    parts = parts[1], parts[0], parts[2]\n    rows =",
    ),
    Mistake.of("a block of zeros is no number", ".masked_fill(scales == 0, 0.0)", ""),
    Mistake.of(
        "a block of zeros has a scale of 1",
        "/ FP8_MAX\n",
        "/ FP8_MAX\n    scales[scales == 0] = 1.0\n",
    ),
    Mistake.of(
        "scales are powers of two",
        "/ FP8_MAX\n",
        "/ FP8_MAX\n    scales = torch.exp2(scales.log2().ceil())\n",
    ),
    Mistake.of("times the inverse", "(blocks / scales)", "(blocks * (1 / scales))"),
    Mistake.of(
        "scales in bfloat16", "/ FP8_MAX\n", "/ FP8_MAX\n    scales = scales.bfloat16().float()\n"
    ),
    Mistake.of("scales of the block before", "(blocks / scales)", "(blocks / scales.roll(1, 1))"),
    Mistake.of("the largest without its sign", ".abs().amax", ".amax"),
    Mistake.of("half a block", "BLOCK = 128", "BLOCK = 64"),
    Mistake.of(
        "all else is 0",
        "kv_cache.flatten(0, 1).index_copy(",
        "torch.zeros_like(kv_cache.flatten(0, 1)).index_copy(",
    ),
    Mistake.of(
        "the cache is written in place",
        "kv_cache.flatten(0, 1).index_copy(",
        "kv_cache.view(-1, KV_DIM).index_copy_(",
    ),
]
BY_LAYOUT = {
    "mla_block_scale": PACKED,
    "kv_widths": mistakes("PAGE_SIZE", ("k_cache", "v_cache"), ("append_key", "append_value")),
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


@pytest.mark.parametrize(
    "layout", ["kv", "kv_widths", "mla", "kv_fp8", "mla_fp8", "mla_block_scale"]
)
def test_wrong_implementations_are_rejected(
    definition: Make, template: Template, layout: str
) -> None:
    made = definition(layout)
    assert_wrong_ones_rejected(template, made, fibcore_implementations(made))
