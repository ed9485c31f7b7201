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
from fibcore_op_dsa import fibcore_implementations

pytest.importorskip("torch")

Small = dict[str, Definition]

ATTENTION = [
    Mistake.of("rope part left out", "logits.add_(product(q_pe[own].to(exact), kpe.mT))", "logits"),
    Mistake.of("scale missing", ".mul_(scale)", ""),
    Mistake.of("scale from the latents", ".mul_(scale)", ".mul_(q_nope.shape[2] ** -0.5)"),
    Mistake.of("natural logarithm", ".mul_(math.log2(math.e))", ""),
    Mistake.of("powers of 2", "torch.softmax(logits, -1)", "torch.softmax(logits * 0.6931, -1)"),
    Mistake.of("missing keys are seen", "logits.masked_fill_(missing[:, None], LOWEST)", "pass"),
    Mistake.of("weighed with 0", ".masked_fill_(missing[..., None], 0)", ""),
    Mistake.of("NaN without keys", "LOWEST)", "-math.inf)"),
    Mistake.of("lse 0 without keys", ".mul_(math.log2(math.e))", ".clamp(-1e30).mul_(1.442695)"),
    Mistake.of("key 0 is none", "== -1\n", "<= 0\n"),
    Mistake.of(
        "the list ends at -1", "== -1\n", "== -1\n        missing = missing.cumsum(-1) > 0\n"
    ),
    Mistake.of("the first key is left out", "== -1\n", "== -1\n        missing[:, 0] = True\n"),
    Mistake.of("the last place is left out", "== -1\n", "== -1\n        missing[:, -1] = True\n"),
    Mistake.of(
        "keys of the query before", "= sparse_indices[own]", "= sparse_indices.roll(1, 0)[own]"
    ),
    Mistake.of("pages are named", "ckv = all_ckv[place]", "ckv = all_ckv[place // PAGE_SIZE]"),
    Mistake.of(
        "values of the rope part", "logits, -1), ckv.float()", "logits, -1), ckv.float().flip(-1)"
    ),
    Mistake.of(
        "rounded logits",
        "logits.masked_fill_(missing[:, None], LOWEST)",
        "logits = logits.bfloat16().float().masked_fill_(missing[:, None], LOWEST)",
    ),
    Mistake.of(
        "the last query is left out", "range(0, num_tokens, step)", "range(0, num_tokens - 1, step)"
    ),
    Mistake.of("written over the query", "torch.empty_like(q_nope)", "q_nope"),
]
INDEXER = [
    Mistake.of("negative products count", ".relu_()", ""),
    Mistake.of(
        "weights of one head", "weights[own]", "weights[own, :1].expand(-1, NUM_INDEX_HEADS)"
    ),
    Mistake.of("weights without sign", "weights[own]", "weights[own].abs()"),
    Mistake.of(
        "weights below relu",
        "torch.bmm(weights[:, None], product(q, k.mT).relu_())",
        "torch.bmm(weights[:, None], product(q, k.mT)).relu_()",
    ),
    Mistake.of("scales left out", "[:, 0].mul_(scale)", "[:, 0]"),
    Mistake.of("scales divide", ".mul_(scale)", ".div_(scale)"),
    Mistake.of("scales of the token before", ".mul_(scale)", ".mul_(scale.roll(1, 1))"),
    Mistake.of(
        "scale behind each key",
        "values.contiguous().view(torch.float8_e4m3fn)",
        "pages.unflatten(-1, (PAGE_SIZE, -1))[..., :-4].contiguous().view(torch.float8_e4m3fn)",
    ),
    Mistake.of(
        "scales come first",
        "values, scales = pages[..., :end], pages[..., end:]",
        "scales, values = pages[..., : PAGE_SIZE * 4], pages[..., PAGE_SIZE * 4 :]",
    ),
    Mistake.of("keys behind the end", "scores.masked_fill_(beyond, -math.inf)", "pass"),
    Mistake.of(
        "hidden with 0",
        "scores.masked_fill_(beyond, -math.inf)",
        "scores.masked_fill_(beyond, 0.0)",
    ),
    Mistake.of("one key too many", "device=device) >= length", "device=device) > length"),
    Mistake.of("one key too few", "device=device) >= length", "device=device) >= length - 1"),
    Mistake.of("the worst keys", ", -1).indices", ", -1, largest=False).indices"),
    Mistake.of(
        "places in the sequence",
        "table.gather(1, best // PAGE_SIZE) * PAGE_SIZE + best % PAGE_SIZE",
        "best.clone()",
    ),
    Mistake.of(
        "pages of the table's front",
        "torch.minimum(page, (length - 1) // PAGE_SIZE)",
        "torch.zeros_like(page) + 0 * length",
    ),
    Mistake.of("places in pages left out", " + best % PAGE_SIZE", ""),
    Mistake.of("no -1", "place.masked_fill_(best >= length, -1)", "pass"),
    Mistake.of(
        "later keys left out", "range(0, count, budget)", "range(0, min(count, budget), budget)"
    ),
    Mistake.of(
        "rows in the order of their lengths", "chosen[own, ", "chosen[first : first + len(own), "
    ),
    Mistake.of(
        "the shortest sequence is left out",
        "while first < len(order)",
        "while first < len(order) - 1",
    ),
    Mistake.of(
        "one key fewer is chosen", "min(TOPK, scores.shape[1])", "min(TOPK - 1, scores.shape[1])"
    ),
    Mistake.of("products in bfloat16", "product(q, k.mT)", "product(q, k.mT).bfloat16().float()"),
]


SCALED = [
    Mistake.of(
        "missing keys are not hidden", "logits.masked_fill_(missing[:, None], LOWEST)", "pass"
    ),
    Mistake.of("what is no number is multiplied", ".masked_fill_(missing[..., None], 0)", ""),
    Mistake.of("products have no scales", "some * scales[:, None, :, block]", "some"),
    Mistake.of("values have no scales", " * scales.repeat_interleave(BLOCK, -1)", ""),
    Mistake.of("scales of the first block", "scales[:, None, :, block]", "scales[:, None, :, 0]"),
    Mistake.of("scales element by element", "repeat_interleave(BLOCK, -1)", "repeat(1, 1, BLOCK)"),
    Mistake.of("the rope part stands first", "rows[..., end:]", "rows[..., : 2 * HEAD_DIM_KPE]"),
    Mistake.of("no rope part", "product(q_pe[own]", "product(0 * q_pe[own]"),
    Mistake.of("numbers of e5m2", "view(torch.float8_e4m3fn)", "view(torch.float8_e5m2)"),
    Mistake.of("a natural logarithm", "lse.mul_(math.log2(math.e))", "lse"),
]


@pytest.mark.parametrize(
    ("kind", "mistake"),
    parameters({"attention": ATTENTION, "indexer": INDEXER, "scaled": SCALED}),
)
def test_wrong_references_are_rejected(
    small: Small, template: Template, kind: str, mistake: Mistake
) -> None:
    assert_rejected(template, small[kind], mistake, crashes=CRASHES)


@pytest.mark.parametrize("kind", ["attention", "scaled", "indexer"])
def test_wrong_implementations_are_rejected(small: Small, template: Template, kind: str) -> None:
    made = small[kind]
    assert_wrong_ones_rejected(template, made, fibcore_implementations(made))
