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
from fibcore_op_dsv4 import fibcore_implementations
from fibcore_op_dsv4.names import KINDS

pytest.importorskip("torch")

Small = dict[str, Definition]

WINDOW = [
    Mistake.of("scale missing", ".mul_(scale)", ""),
    Mistake.of("the sinks are left out", ", sinks.float())", ", sinks.float() - 1e9)"),
    Mistake.of("sinks are scaled", "sinks.float())", "sinks.float() * scale)"),
    Mistake.of("missing keys are seen", "logits.masked_fill_(~there[:, None], LOWEST)", "pass"),
    Mistake.of("weighed with 0", "found.masked_fill_(~there[..., None], 0)", "found"),
    Mistake.of("-1 is a key", "there &= indices >= 0", "pass"),
    Mistake.of("key 0 is none", "there &= indices >= 0", "there &= indices > 0"),
    Mistake.of("all of a list counts", "< lengths[:, None]", "< 1 + 0 * lengths[:, None] + 10**6"),
    Mistake.of("one key too few", "< lengths[:, None]", "< lengths[:, None] - 1"),
    Mistake.of("scales are left out", "plain * scales.repeat_interleave(TILE, -1)", "plain"),
    Mistake.of(
        "one scale for a vector",
        "[page, place][..., :tiles]",
        "[page, place][..., :1].expand(*page.shape, tiles)",
    ),
    Mistake.of(
        "scales by turns", "scales.repeat_interleave(TILE, -1)", "scales.repeat(1, 1, TILE)"
    ),
    Mistake.of("scales without their bias", "int() << 23", "int() + 1 << 23"),
    Mistake.of("scales of the first place", "exponents[page, place]", "exponents[page, 0 * place]"),
    Mistake.of("places of the first page", "vectors[page, place]", "vectors[0 * page, place]"),
    Mistake.of(
        "turned elements come first",
        "(plain.to(exact), rope.to(exact))",
        "(rope.to(exact), plain.to(exact))",
    ),
    Mistake.of(
        "values in another order", "(weights, keys.float())", "(weights, keys.float().flip(-1))"
    ),
    Mistake.of("powers of 2", "torch.exp(logits - total", "torch.exp2(logits - total"),
    Mistake.of("logits in bfloat16", ".mul_(scale)\n", ".mul_(scale).bfloat16().float()\n"),
    Mistake.of(
        "keys of the query before",
        "sparse_indices[own], swa",
        "sparse_indices.roll(1, 0)[own], swa",
    ),
    Mistake.of(
        "the last query is left out", "range(0, num_tokens, step)", "range(0, num_tokens - 1, step)"
    ),
]
COMPRESSED = [
    Mistake.of(
        "compressed keys are left out",
        "torch.cat((keys, more[0]), 1)",
        "torch.cat((keys, 0 * more[0]), 1)",
    ),
    Mistake.of("lengths of the window", "extra_sparse_topk_lens[own]", "swa_topk_lens[own]"),
    Mistake.of(
        "compressed keys alone, where there are some",
        "torch.cat((there, more[1]), 1)",
        "torch.cat((~more[1].any(1, keepdim=True) & there, more[1]), 1)",
    ),
]
COMPRESS = [
    Mistake.of("places are left out", "(score + ape)", "score"),
    Mistake.of("places count for numbers", "kv = kv.masked", "kv = (kv + ape).masked"),
    Mistake.of("missing tokens count", "torch.finfo(torch.float32).min", "0.0"),
    Mistake.of(
        "missing tokens are the first",
        ".masked_fill(~there[..., None], torch.finfo(torch.float32).min)",
        "",
    ),
    Mistake.of("a sum", "torch.softmax(score, 1)", "torch.exp(score)"),
    Mistake.of("a softmax over elements", "torch.softmax(score, 1)", "torch.softmax(score, 2)"),
    Mistake.of("a mean", "torch.softmax(score, 1) * kv).sum(1)", "kv).mean(1)"),
    Mistake.of("numbers and scores are mixed up", "kv, score = states", "score, kv = states"),
    Mistake.of(
        "new tokens come first",
        "(kv_score_buffer, kv_score_input)",
        "(kv_score_input, kv_score_buffer)",
    ),
    Mistake.of("new tokens are not kept", "updated[write_indices[kept].long()] =", "_ ="),
    Mistake.of("kept in place", "kv_score_buffer.clone()", "kv_score_buffer"),
    Mistake.of("the first place is none", "write_indices >= 0", "write_indices > 0"),
    Mistake.of(
        "the last token is left out",
        "score = (score + ape)",
        "there = there & (torch.arange(WINDOW) < WINDOW - 1)\n    score = (score + ape)",
    ),
]
OVERLAP = [
    Mistake.of(
        "halves are mixed up",
        "(first[0][:, :before], first[1][:, before:])",
        "(first[1][:, :before], first[0][:, before:])",
    ),
    Mistake.of(
        "scores are of one half",
        "(second[0][:, :before], second[1][:, before:])",
        "(second[1][:, :before], second[1][:, before:])",
    ),
]
ROWS = [
    Mistake.of("not normalised", " * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPS)", ""),
    Mistake.of("a sum of squares", ".mean(-1, keepdim=True)", ".sum(-1, keepdim=True)"),
    Mistake.of("no epsilon", "+ EPS", "+ 1e-30"),
]
TURNS = [
    Mistake.of(
        "turned the other way",
        "one * cos - other * sin, one * sin + other * cos",
        "one * cos + other * sin, other * cos - one * sin",
    ),
    Mistake.of(
        "turned in halves", "cos_sin[..., 0::2], cos_sin[..., 1::2]", "*cos_sin.chunk(2, -1),"
    ),
    Mistake.of(
        "the first elements are turned", "pairs = x[..., -ROPE_DIM:]", "pairs = x[..., :ROPE_DIM]"
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
STORE = [
    Mistake.of("no weight", " * weight.float()", " + 0 * weight.float()"),
    Mistake.of("weight + 1", "weight.float()", "(1 + weight.float())"),
    Mistake.of("no least scale", ".clamp(min=LEAST)", ".clamp(min=1e-30)"),
    Mistake.of("to the largest of 240", "FP8_MAX = 448.0", "FP8_MAX = 240.0"),
    Mistake.of("written in place", ".clone()\n    kept", "\n    kept"),
    Mistake.of("the first place is none", "out_loc >= 0", "out_loc > 5"),
    Mistake.of(
        "pages and places are mixed up",
        "page, place = out_loc[kept].long() // PAGE_SIZE, out_loc[kept].long() % PAGE_SIZE",
        "page, place = out_loc[kept].long() % updated.shape[0], out_loc[kept].long() % PAGE_SIZE",
    ),
]
LATENTS = [
    Mistake.of("scales are rounded down", " + ((bits & 0x7FFFFF) != 0)", ""),
    Mistake.of(
        "scales are rounded to nearest", "((bits & 0x7FFFFF) != 0)", "((bits & 0x400000) != 0)"
    ),
    Mistake.of(
        "scales are one byte further",
        "scales[..., : exponent.shape[1]]",
        "scales[..., 1 : 1 + exponent.shape[1]]",
    ),
    Mistake.of(
        "one scale for a vector",
        "tiles.abs().amax(-1)",
        "tiles.abs().amax((-1, -2))[:, None].expand(-1, tiles.shape[1])",
    ),
    Mistake.of(
        "all is fp8",
        ".bfloat16().view(torch.uint8)",
        ".to(torch.float8_e4m3fn).bfloat16().view(torch.uint8)",
    ),
]
TRANSFORM = [
    Mistake.of("no transform", "transformed(rotated", "(rotated"),
    Mistake.of("the length grows", ".mul_(HEAD_DIM**-0.5)", ""),
    Mistake.of("another transform", "(matrix, -matrix)", "(-matrix, matrix)"),
    Mistake.of(
        "the reciprocal of the scale",
        "torch.float8_e4m3fn), scale",
        "torch.float8_e4m3fn), 1 / scale",
    ),
]
INDEX = [
    Mistake.of("scales come first", "pages[:, end:]", "pages[:, : PAGE_SIZE * 4]"),
]
QUERY = [
    Mistake.of("no transform", "transformed(turned)", "turned"),
    Mistake.of(
        "transformed before",
        "quantised(transformed(turned))",
        "quantised(rotated(transformed(q.float()), cos_sin_cache[positions.long()][:, None]))",
    ),
    Mistake.of("no factor", " * float(weight_scale)", ""),
    Mistake.of("scales are left out", " * float(weight_scale) * scale", " * float(weight_scale)"),
    Mistake.of(
        "one scale for all heads",
        "x.abs().amax(-1)",
        "x.abs().amax((-1, -2))[:, None].expand(x.shape[:-1])",
    ),
    Mistake.of("no least scale", ".clamp(min=LEAST)", ".clamp(min=1e-30)"),
]
BY_KIND = {
    "window": WINDOW,
    "compressed": [*WINDOW, *COMPRESSED],
    "overlap": [*COMPRESS, *OVERLAP],
    "plain": COMPRESS,
    "k_store": [*ROWS, *TURNS, *STORE, *LATENTS],
    "latent_store": [*ROWS, *LATENTS],
    "index_k_store": [*ROWS, *TURNS, *STORE, *TRANSFORM, *INDEX],
    "q_norm_rope": [*ROWS, *TURNS],
    "inverse_rope": [
        *TURNS[:2],
        *TURNS[3:],
        Mistake.of("not the other way", "cos_sin[:, 1::2].neg_()", "pass"),
    ],
    "index_q": [*TURNS, *QUERY],
}


@pytest.mark.parametrize(("kind", "mistake"), parameters(BY_KIND))
def test_wrong_references_are_rejected(
    small: Small, template: Template, kind: str, mistake: Mistake
) -> None:
    assert_rejected(template, small[kind], mistake, crashes=CRASHES)


@pytest.mark.parametrize("kind", list(KINDS))
def test_wrong_implementations_are_rejected(small: Small, template: Template, kind: str) -> None:
    made = small[kind]
    assert_wrong_ones_rejected(template, made, fibcore_implementations(made))
