"""Plausible mistakes in a reference, each of which the properties have to reject on any machine."""

from __future__ import annotations

from typing import Any

import pytest

from fibcore.testing.templates import Template
from fibcore.testing.wrong_references import (
    Mistake,
    assert_accepted,
    assert_rejected,
    assert_wrong_ones_rejected,
    parameters,
)
from fibcore_op_gqa import fibcore_implementations

torch = pytest.importorskip("torch")

# What is wrong; then, in turns, what the right reference has and the wrong one in its place.
EVERYWHERE = {
    "the scale is left out": ("float(sm_scale)", "1.0"),
    "the scale is applied twice": ("float(sm_scale)", "float(sm_scale) ** 2"),
    "lse is a natural logarithm": ("lse = lse.view(", "lse = (lse * math.log(2)).view("),
    "lse leaves out the maximum": ("top * math.log2(math.e) - ", "-"),
    "lse adds the maximum in base e": ("top * math.log2(math.e)", "top"),
    "lse takes the largest weight to be the first": ("gather(2, place)", "gather(2, 0 * place)"),
    "tiles that go together have the keys of the longest": ("min(fewest[chosen])", "most[start]"),
    "the mask shows one key too many": (
        "hidden = position[late] >= visible",
        "hidden = position[late] > visible",
        "max(0, fewest - start))",
        "max(0, fewest + 1 - start))",
    ),
    "the mask shows one key too few": (
        "hidden = position[late] >= visible",
        "hidden = position[late] >= visible - 1",
        "max(0, fewest - start))",
        "max(0, fewest - 1 - start))",
    ),
    "keys that a row does not see have the logit 0": ("HIDDEN = -1e30", "HIDDEN = 0.0"),
    "query head h reads KV head h % num_kv_heads": (
        "q = q.view(tiles, rows, NUM_KV_HEADS, group, HEAD_DIM).permute(0, 2, 3, 1, 4)",
        "q = q.view(tiles, rows, group, NUM_KV_HEADS, HEAD_DIM).permute(0, 3, 2, 1, 4)",
    ),
    "heads of a token follow those of the next": (
        "x.reshape(-1, NUM_KV_HEADS, HEAD_DIM)[token]",
        "x.reshape(NUM_KV_HEADS, -1, HEAD_DIM).transpose(0, 1)[token]",
    ),
    "rows without keys give NaN": (
        "masked_fill_(blind[..., None], 0.0)",
        "masked_fill_(blind[..., None], math.nan)",
    ),
    "rows without keys have lse 0": (
        "masked_fill_(blind, -math.inf)",
        "masked_fill_(blind, 0.0)",
    ),
}
_PAGE = "page = kv_indices[begin[:, None] + position // PAGE_SIZE].long()"
_AT = "at = begin[:, None] + position // PAGE_SIZE"
_CLAMPED = "page = kv_indices[at.clamp(max=len(kv_indices) - 1)].long()"
_READ = "torch.minimum(position, visible[:, -1:] - 1)"
PAGED = {
    "keys beyond a sequence's end are read, whose NaN reaches the output": (
        _READ,
        "position.expand(len(begin), -1)",
        _PAGE,
        f"{_AT}; {_CLAMPED}.masked_fill(at > at[0, 0], 0)",
    ),
    "a sequence reads the pages of the next one": (
        _PAGE,
        f"{_AT} + 1; {_CLAMPED}",
    ),
    "pages are taken in the order of the cache": (
        _PAGE,
        "page = begin[:, None] + position // PAGE_SIZE",
    ),
}
PAGES_OF_SEVERAL = {
    "NaN behind a sequence's end in its last page reaches the output": (
        _READ,
        "torch.minimum(position, (visible[:, -1:] - 1) | (PAGE_SIZE - 1))",  # powers of 2
    ),
    "slots of a page are taken in reverse": (
        "position % PAGE_SIZE",
        "PAGE_SIZE - 1 - position % PAGE_SIZE",
    ),
    "the length of the last page is ignored": (
        "(pages - 1) * PAGE_SIZE + last",
        "pages * PAGE_SIZE",
    ),
    "the last page's length counts for all but the last": (
        "(pages - 1) * PAGE_SIZE + last",
        "pages * last",
    ),
}
PREFILL = {
    "the first query is aligned with the first key": (
        "(kv_len - q_len)[owner, None]",
        "(kv_len - q_len).clamp(max=0)[owner, None]",
    ),
    "every query sees every key": (
        "(kv_len - q_len)[owner, None] + row + 1",
        "kv_len[owner, None] + 0 * row",
    ),
}
RAGGED = {
    "a sequence reads the keys of the next one": (
        "kv_indptr[:-1], (k, v)",
        "kv_indptr[1:], (k, v)",
        "token = begin[:, None] + position",
        "token = (begin[:, None] + position).clamp(max=len(keys) - 1)",
    ),
    "keys are found by qo_indptr": (
        "kv_indptr[:-1], (k, v)",
        "qo_indptr[:-1], (k, v)",
        "token = begin[:, None] + position",
        "token = (begin[:, None] + position).clamp(max=len(keys) - 1)",
    ),
}
# Of a window and a cap; the mask of a window has another form than the plain one.
_LATE = "hidden = position[:, None, late] >= visible"
_BEFORE = "hidden |= position[:, None, late] < visible - SLIDING_WINDOW"
_EARLY = "hidden = position[:, None, early] < visible - SLIDING_WINDOW"


def _window(changed: str) -> tuple[str, ...]:
    """A change of what is before a window, in both masks."""
    return (_BEFORE, _BEFORE.replace("visible - SLIDING_WINDOW", changed),
            _EARLY, _EARLY.replace("visible - SLIDING_WINDOW", changed))  # fmt: skip


WINDOW = {
    "the window is left out": ("SLIDING_WINDOW = 6", "SLIDING_WINDOW = 10**6"),
    "the window counts the keys before the query's own": (
        "SLIDING_WINDOW = 6",
        "SLIDING_WINDOW = 7",
    ),
    "the window is one key too small": ("SLIDING_WINDOW = 6", "SLIDING_WINDOW = 5"),
    "the window is that of the last query of a sequence": _window(
        "visible[:, -1:] - SLIDING_WINDOW"
    ),
    "the window counts from the first key": _window("0 * visible + SLIDING_WINDOW"),
    "the window also reaches behind the query": (_LATE, f"{_LATE} + SLIDING_WINDOW"),
    "keys before the window of the last row count": (
        "passed = max(0, most - SLIDING_WINDOW)",
        "passed = 0",
    ),
}
CAP = {
    "the cap is left out": ("logits.tanh_().mul_(LOGIT_CAP)", "logits.mul_(LOGIT_CAP)"),
    "the cap bounds logits of base 2": (
        "LOGIT_CAP = 3.0",
        "LOGIT_CAP = 3.0 * math.log(2)",
    ),
    "the cap clips": ("logits.tanh_()", "logits.clamp_(min=-1.0, max=1.0)"),
    "the cap comes before the scale": (
        "sm_scale / LOGIT_CAP)",
        "1 / LOGIT_CAP)",
        "tanh_().mul_(LOGIT_CAP)",
        "tanh_().mul_(LOGIT_CAP * sm_scale)",
    ),
    "the capped logits are not scaled back": ("tanh_().mul_(LOGIT_CAP)", "tanh_()"),
}
_BEGUN = "begun = (visible - 1) // ATTENTION_CHUNK * ATTENTION_CHUNK"
_FIRST = "((visible[:, :1] - 1) // ATTENTION_CHUNK * ATTENTION_CHUNK)"
CHUNK = {
    "the chunks are left out": ("ATTENTION_CHUNK = 6", "ATTENTION_CHUNK = 10**6"),
    "chunks are one key too large": ("ATTENTION_CHUNK = 6", "ATTENTION_CHUNK = 7"),
    "chunks are one key too small": ("ATTENTION_CHUNK = 6", "ATTENTION_CHUNK = 5"),
    "a chunk begins one key late": (_BEGUN, f"{_BEGUN} + 1"),
    "a chunk's first key sees the chunk before": (
        "(visible - 1) // ATTENTION_CHUNK",
        "(visible - 2) // ATTENTION_CHUNK",
        "(visible[:, :1] - 1) // ATTENTION_CHUNK",
        "(visible[:, :1] - 2) // ATTENTION_CHUNK",
        "(first - 1) // ATTENTION_CHUNK",
        "(first - 2) // ATTENTION_CHUNK",
    ),
    "a chunk's last key sees none of it": (
        "(visible - 1) // ATTENTION_CHUNK",
        "visible // ATTENTION_CHUNK",
        "(visible[:, :1] - 1) // ATTENTION_CHUNK",
        "visible[:, :1] // ATTENTION_CHUNK",
        "(first - 1) // ATTENTION_CHUNK",
        "first // ATTENTION_CHUNK",
    ),
    "the chunks are a window": (
        _BEGUN,
        "begun = visible - ATTENTION_CHUNK",
        _FIRST,
        "(visible[:, :1] - ATTENTION_CHUNK)",
        "((first - 1) // ATTENTION_CHUNK * ATTENTION_CHUNK)",
        "(first - ATTENTION_CHUNK)",
        "(most - 1) // ATTENTION_CHUNK * ATTENTION_CHUNK",
        "max(0, most - ATTENTION_CHUNK)",
    ),
    "all rows of a tile see the chunk of its last": (
        _BEGUN,
        "begun = (visible[:, -1:] - 1) // ATTENTION_CHUNK * ATTENTION_CHUNK",
    ),
    "keys of a chunk before that of the last row count": (
        "passed = (most - 1) // ATTENTION_CHUNK * ATTENTION_CHUNK",
        "passed = 0",
    ),
    "later keys of a chunk are seen": (_LATE, f"{_LATE} + ATTENTION_CHUNK"),
}
SINK = {
    "the sinks are left out": ("sink = sinks *", "sink = -1e30 + 0 * sinks *"),
    "the sinks are added to every key's logit": (
        "part = part * torch.sigmoid((part_lse - sink) * math.log(2))[..., None]",
        "part_lse = part_lse + sink",
        "part_lse = torch.logaddexp2(part_lse, sink)",
        "pass",
    ),
    "the sinks' exponentials are taken without the maximum": (
        "torch.sigmoid((part_lse - sink) * math.log(2))",
        "(torch.exp2(part_lse) / (torch.exp2(part_lse) + torch.exp2(sink)))",
    ),
    "the sum is one of the keys and twice the sinks": (
        "sink = sinks * math.log2(math.e)",
        "sink = sinks * math.log2(math.e) + 1",
    ),
    "the sinks are scaled": ("sink = sinks *", "sink = sinks * scale *"),
    "the sinks are logits of base 2": ("sinks * math.log2(math.e)", "sinks * 1.0"),
    "the sinks are those of the next head": ("sink = sinks *", "sink = sinks.roll(1) *"),
    "the sinks are those of the KV heads": (
        "sink = sinks *",
        "sink = sinks[:NUM_KV_HEADS].repeat_interleave(NUM_QO_HEADS // NUM_KV_HEADS) *",
    ),
    "the output keeps its weights": (
        "part * torch.sigmoid((part_lse - sink) * math.log(2))[..., None]",
        "part",
    ),
    "the lse leaves out the sinks": ("part_lse = torch.logaddexp2(part_lse, sink)", "pass"),
    "queries without keys have no sink": (
        "sink.repeat(q.shape[0], 1)",
        "torch.full(q.shape[:2], -math.inf, device=q.device)",
    ),
    "the sink's weight goes to the first key": (
        "torch.sigmoid((part_lse - sink) * math.log(2))",
        "torch.sigmoid((part_lse - sink) * math.log(2)).clamp(min=0.5)",
    ),
}
FULL = {
    "the mask is causal": ("CAUSAL = False", "CAUSAL = True"),
    "the last key is not seen": (
        "visible = kv_len[owner, None] -",
        "visible = kv_len[owner, None] - 1 -",
    ),
    "queries see as many keys as there are queries": (
        "visible = kv_len[owner, None]",
        "visible = torch.minimum(kv_len, q_len)[owner, None]",
    ),
}
SCALED = {
    "k_scale is left out": (" * float(k_scale)", ""),
    "k_scale divides": (" * float(k_scale)", " / float(k_scale)"),
    "v_scale is left out": ("part = part * v_scale", "pass"),
    "v_scale divides": ("part = part * v_scale", "part = part / v_scale"),
    "the scales are swapped": (
        "* float(k_scale)",
        "* float(v_scale)",
        "float(v_scale),",
        "float(k_scale),",
    ),
    "v_scale multiplies the lse": (
        "part = part * v_scale",
        "part, part_lse = part * v_scale, part_lse * v_scale",
    ),
}
WIDTHS = {
    "all value heads are the first one": (
        "return k.flatten(0, 1), v.flatten(0, 1)",
        "return k.flatten(0, 1), v[:, :1].expand_as(v).flatten(0, 1)",
    ),
    "values are the front of the keys": (
        "k_cache, v_cache, kv_indices)",
        "k_cache, k_cache[..., :VALUE_DIM], kv_indices)",
    ),
}
MASK = {
    "the mask is left out": ("~seen[:, None, None]", "~seen[:, None, None] & False"),
    "the mask says what is hidden": ("~seen[:, None, None]", "seen[:, None, None]"),
    "the mask is causal as well": (
        "visible = kv_len[owner, None].expand_as(row)",
        "visible = ((kv_len - q_len)[owner, None] + row + 1).clamp(min=0)",
    ),
    "the mask's rows are those of the first query": (
        "+ row * kv_len[owner, None]",
        "+ 0 * row * kv_len[owner, None]",
    ),
    "the mask's rows are as long as there are queries": (
        "+ row * kv_len[owner, None]",
        "+ row * torch.minimum(q_len, kv_len)[owner, None]",
    ),
    "all sequences have the first one's mask": (
        "(pairs.cumsum(0) - pairs)[owner, None]",
        "0 * owner[:, None]",
    ),
    "rows from which all is hidden are a mean": (
        "output.masked_fill_(blind[..., None], 0.0)",
        "output",
    ),
}
_FIRST = "first = (kv_len - q_len)[owner, None] + row + 1 - SLIDING_WINDOW"
PLACED = {
    "the window is left out": ("SLIDING_WINDOW = 6", "SLIDING_WINDOW = 10**6"),
    "the window is one key too large": ("SLIDING_WINDOW = 6", "SLIDING_WINDOW = 7"),
    "the window is one key too small": ("SLIDING_WINDOW = 6", "SLIDING_WINDOW = 5"),
    "the window is that of the first query": (_FIRST, _FIRST.replace("row", "0 * row")),
    "the window is counted from the first key": (
        _FIRST,
        _FIRST.replace("(kv_len - q_len)[owner, None] + ", ""),
    ),
    "the mask is left out": ("custom_mask[offset[:, :, None, 0] + column] &", ""),
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
    "gqa_paged_decode_h4_kv2_d8_ps4_sink": SINK,
    "gqa_paged_prefill_causal_h4_kv2_d8_ps1_swa6_sink": SINK | WINDOW,
    "gqa_ragged_prefill_causal_h4_kv2_d8_cap3_sink": SINK | CAP | PREFILL,
    "gqa_paged_decode_h4_kv2_d8_ps4_chunk6": CHUNK,
    "gqa_ragged_prefill_causal_h4_kv2_d8_chunk6": CHUNK | PREFILL,
    "gqa_ragged_prefill_h4_kv2_d8": EVERYWHERE | RAGGED | FULL,
    "gqa_ragged_prefill_h4_kv2_d8_sink": SINK | FULL,
    "gqa_paged_decode_h4_kv2_d8_ps1_fp8kv": EVERYWHERE | PAGED | SCALED,
    "gqa_paged_prefill_causal_h4_kv2_d8_ps4_swa6_fp8kv_sink": SCALED,
    "gqa_paged_decode_h4_kv2_qk8_vo4_ps4": WIDTHS,
    "gqa_paged_prefill_custom_mask_h4_kv2_d8_ps4": MASK | PAGES_OF_SEVERAL,
    "gqa_paged_prefill_custom_mask_h4_kv2_d8_ps4_swa6": PLACED,
    "gqa_paged_prefill_noncausal_h4_kv2_d8_ps4": FULL | PAGES_OF_SEVERAL,
}
# Of one query a sequence: the last is the only one, and sees the last key.
NOT_DECODE = (
    "keys before the window of the last row count",
    "the window is that of the last query of a sequence",
    "the window also reaches behind the query",
    "all rows of a tile see the chunk of its last",
    "a chunk begins one key late",
    "keys of a chunk before that of the last row count",
    "later keys of a chunk are seen",
)
# Where all rows see the same keys there is no column that some of them do not see.
NOT_FULL = ("tiles that go together have the keys of the longest",)
MISTAKES = {
    kernel: [
        Mistake.of(name, *texts)
        for name, texts in mistakes.items()
        if ("decode" not in kernel or name not in NOT_DECODE)
        and ("prefill_h" not in kernel or name not in NOT_FULL)
    ]
    for kernel, mistakes in KERNELS.items()
}


def made(definitions: Any, kernel: str) -> Any:
    window, cap = 6 if "_swa6" in kernel else None, 3.0 if "_cap3" in kernel else 0.0
    chunk = 6 if "_chunk6" in kernel else None
    others: dict[str, Any] = {"chunk": chunk, "sink": "_sink" in kernel}
    others |= {"full": "prefill_h" in kernel, "fp8": "_fp8kv" in kernel}
    others |= {"mask": "custom_mask" in kernel, "cross": "noncausal" in kernel}
    others |= {"value_dim": 4} if "_vo4" in kernel else {}
    return definitions(4, 2, 8, (1, 4), window=window, cap=cap, **others)[kernel]


@pytest.mark.parametrize(("kernel", "mistake"), parameters(MISTAKES))
def test_wrong_reference_is_rejected(
    definitions: Any, template: Template, kernel: str, mistake: Mistake
) -> None:
    assert_rejected(template, made(definitions, kernel), mistake)


@pytest.mark.parametrize("kernel", KERNELS)
def test_right_reference_is_accepted(definitions: Any, template: Template, kernel: str) -> None:
    assert_accepted(template, made(definitions, kernel))


@pytest.mark.parametrize("kernel", KERNELS)
def test_wrong_implementations_are_rejected(
    definitions: Any, template: Template, kernel: str
) -> None:
    definition = made(definitions, kernel)
    assert_wrong_ones_rejected(template, definition, fibcore_implementations(definition))
