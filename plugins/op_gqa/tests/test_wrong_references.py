"""Plausible mistakes in a reference, each of which the properties have to reject on any machine."""

from __future__ import annotations

from typing import Any

import pytest

from fibcore.testing.templates import Template
from fibcore.testing.wrong_references import (
    Mistake,
    assert_accepted,
    assert_rejected,
    parameters,
)

torch = pytest.importorskip("torch")

# What is wrong; then, in turns, what the right reference has and the wrong one in its place.
EVERYWHERE = {
    "the scale is left out": ("(float(sm_scale) * math.log2(math.e))", "math.log2(math.e)"),
    "the scale is applied twice": ("float(sm_scale) *", "float(sm_scale) ** 2 *"),
    "lse is a natural logarithm": (
        "lse = top + torch.log2(total)",
        "lse = (top + torch.log2(total)) * math.log(2)",
    ),
    "lse leaves out the maximum": ("lse = top + torch.log2(total)", "lse = torch.log2(total)"),
    "the mask shows one key too many": (
        "hidden = position >= visible[:active, :, None]",
        "hidden = position > visible[:active, :, None]",
    ),
    "the mask shows one key too few": (
        "hidden = position >= visible[:active, :, None]",
        "hidden = position >= visible[:active, :, None] - 1",
    ),
    "query head h reads KV head h % num_kv_heads": (
        "q = q.float().view(tiles, rows, NUM_KV_HEADS, group, HEAD_DIM).permute(0, 2, 3, 1, 4)",
        "q = q.float().view(tiles, rows, group, NUM_KV_HEADS, HEAD_DIM).permute(0, 3, 2, 1, 4)",
    ),
    "sequences without keys give NaN": ("total.masked_fill(total == 0, 1.0)", "total"),
    "sequences without keys have lse 0": (
        "lse = top + torch.log2(total)",
        "lse = (top + torch.log2(total)).nan_to_num(neginf=0.0)",
    ),
}
_PAGE = "page = kv_indices[kv_indptr[sequence, None] + position // PAGE_SIZE].long()"
_AT = "at = kv_indptr[sequence, None] + position // PAGE_SIZE"
_BEHIND = "kv_indptr[sequence, None] + position // PAGE_SIZE >= kv_indptr[sequence + 1, None]"
_CLAMPED = "page = kv_indices[at.clamp(max=len(kv_indices) - 1)].long()"
_READ = "torch.minimum(position, limit[:active, None] - 1)"
PAGED = {
    "page tables are padded with page 0, whose NaN reaches the output": (
        _READ,
        "position.expand(active, -1)",
        _PAGE,
        f"{_AT}; {_CLAMPED}; page = page.masked_fill({_BEHIND}, 0)",
    ),
    "a sequence reads the pages of the next one": (
        _PAGE,
        f"{_AT}; {_CLAMPED}".replace("kv_indptr", "kv_indptr.roll(-1)"),
    ),
    "pages are taken in the order of the cache": (
        _PAGE,
        "page = kv_indptr[sequence, None] + position // PAGE_SIZE",
    ),
}
PAGES_OF_SEVERAL = {
    "NaN behind a sequence's end in its last page reaches the output": (
        _READ,
        "torch.minimum(position, (limit[:active, None] - 1) | (PAGE_SIZE - 1))",  # powers of 2
    ),
    "the length of the last page is ignored": (
        "(pages - 1) * PAGE_SIZE + kv_last_page_len",
        "pages * PAGE_SIZE",
    ),
    "the last page's length counts for all but the last": (
        "(pages - 1) * PAGE_SIZE + kv_last_page_len",
        "pages * kv_last_page_len",
    ),
}
PREFILL = {
    "the first query is aligned with the first key": (
        "before = kv_len - q_len",
        "before = (kv_len - q_len).clamp(max=0)",
    ),
    "every query sees every key": (
        "(before[owner, None] + row + 1)",
        "(kv_len[owner, None] + 0 * row)",
    ),
}
RAGGED = {
    "a sequence reads the keys of the next one": (
        "kv_indptr[sequence, None] + position",
        "(kv_indptr.roll(-1)[sequence, None] + position).clamp(max=len(keys) - 1)",
    ),
    "keys are found by qo_indptr": (
        "k, v, (kv_indptr,)",
        "k, v, (qo_indptr.long(),)",
        "kv_indptr[sequence, None] + position",
        "(kv_indptr[sequence, None] + position).clamp(max=len(keys) - 1)",
    ),
}
# Of a window and a cap; the mask of a window has another form than the plain one.
_LATE = "hidden = position[:, None] >= seen"
_EARLY = "position[:, None] < seen - SLIDING_WINDOW"
_FIRST = "(fewest - SLIDING_WINDOW)"
WINDOW = {
    "the window is left out": (f"hidden |= {_EARLY}", "pass", _FIRST, "(fewest - fewest)"),
    "the window counts the keys before the query's own": (
        _EARLY,
        f"{_EARLY} - 1",
        _FIRST,
        "(fewest - SLIDING_WINDOW - 1)",
    ),
    "the window is one key too small": (_EARLY, f"{_EARLY} + 1"),
    "the window is that of the last query of a sequence": (
        _EARLY,
        "position[:, None] < limit[:active, None, None] - SLIDING_WINDOW",
    ),
    "the window counts from the first key": (_EARLY, "position[:, None] >= SLIDING_WINDOW"),
    "the window also reaches behind the query": (
        _LATE,
        "hidden = position[:, None] >= seen + SLIDING_WINDOW",
    ),
}
CAP = {
    "the cap is left out": ("logits = logits.div_(bound).tanh_().mul_(bound)", "pass"),
    "the cap bounds logits of base 2": ("LOGIT_CAP * math.log2(math.e)", "LOGIT_CAP"),
    "the cap clips": (
        "logits.div_(bound).tanh_().mul_(bound)",
        "logits.clamp_(min=-bound, max=bound)",
    ),
    "the cap comes before the scale": (
        "logits.div_(bound).tanh_().mul_(bound)",
        "(logits / math.log2(math.e) / sm_scale / LOGIT_CAP).tanh_().mul_(bound * sm_scale)",
    ),
    "the capped logits are not scaled back": (
        "logits.div_(bound).tanh_().mul_(bound)",
        "logits.div_(bound).tanh_()",
    ),
}
_PLAIN_MASK = ("the mask shows one key too many", "the mask shows one key too few")
KEPT = {name: change for name, change in EVERYWHERE.items() if name not in _PLAIN_MASK}
KERNELS = {
    "gqa_paged_decode_h4_kv2_d8_ps1": EVERYWHERE | PAGED,
    "gqa_paged_decode_h4_kv2_d8_ps4": EVERYWHERE | PAGED | PAGES_OF_SEVERAL,
    "gqa_paged_prefill_causal_h4_kv2_d8_ps1": EVERYWHERE | PAGED | PREFILL,
    "gqa_paged_prefill_causal_h4_kv2_d8_ps4": EVERYWHERE | PAGED | PAGES_OF_SEVERAL | PREFILL,
    "gqa_ragged_prefill_causal_h4_kv2_d8": EVERYWHERE | PREFILL | RAGGED,
    "gqa_paged_decode_h4_kv2_d8_ps1_cap3": EVERYWHERE | CAP,
    "gqa_paged_decode_h4_kv2_d8_ps4_swa6_cap3": KEPT | WINDOW | CAP,
    "gqa_paged_prefill_causal_h4_kv2_d8_ps4_swa6": KEPT | WINDOW | PREFILL,
    "gqa_ragged_prefill_causal_h4_kv2_d8_swa6_cap3": KEPT | WINDOW | CAP | PREFILL | RAGGED,
}
# Of one query a sequence: the last is the only one, and sees the last key.
NOT_DECODE = (
    "the window is that of the last query of a sequence",
    "the window also reaches behind the query",
)
MISTAKES = {
    kernel: [
        Mistake.of(name, *texts)
        for name, texts in mistakes.items()
        if "decode" not in kernel or name not in NOT_DECODE
    ]
    for kernel, mistakes in KERNELS.items()
}


def made(definitions: Any, kernel: str) -> Any:
    window, cap = 6 if "_swa6" in kernel else None, 3.0 if "_cap3" in kernel else 0.0
    return definitions(4, 2, 8, (1, 4), window=window, cap=cap)[kernel]


@pytest.mark.parametrize(("kernel", "mistake"), parameters(MISTAKES))
def test_wrong_reference_is_rejected(
    definitions: Any, template: Template, kernel: str, mistake: Mistake
) -> None:
    assert_rejected(template, made(definitions, kernel), mistake)


@pytest.mark.parametrize("kernel", KERNELS)
def test_right_reference_is_accepted(definitions: Any, template: Template, kernel: str) -> None:
    assert_accepted(template, made(definitions, kernel))
