"""Right and wrong implementations, by which benchmarks are tried."""

from __future__ import annotations

from fibcore.plugin import Definition, Implementation, rewritten, wrapped
from fibcore_op_dsv4.definitions import kind_of


def implementations(definition: Definition) -> tuple[Implementation, ...]:
    """All of them; none for definitions of others.

    What is stored are bytes, in which a number on the border of two fp8 numbers may be either: the
    template's `figures` say what they stand for.
    """
    kind = kind_of(definition)
    if kind is None:
        return ()
    if kind in ("window", "compressed"):
        return _attention(definition)
    if kind in ("overlap", "plain"):
        return _compress(definition)
    return _store(definition) if "out_loc" in definition.inputs else _query(definition)


_NO_LAST = "torch.cat((out_loc[:-1], torch.full_like(out_loc[-1:], -1)))"
_MISSING = "logits.masked_fill_(~there[:, None], LOWEST)"


def _attention(definition: Definition) -> tuple[Implementation, ...]:
    return (
        *rewritten(
            definition,
            "a few queries at a time",
            *("CPU_KEYS = 4096", "CPU_KEYS = 1", "GPU_KEYS = 65536", "GPU_KEYS = 8192"),
            right=True,
        ),
        # What tensor cores multiply with values.
        *rewritten(
            definition,
            "weights rounded to bfloat16",
            *("torch.bmm(weights, keys", "torch.bmm(weights.bfloat16().float(), keys"),
            right=True,
        ),
        *wrapped(definition, "the sinks are left out", sinks="torch.full_like(sinks, -1e30)"),
        *wrapped(definition, "bmm1_scale + 5 %", bmm1_scale="float(bmm1_scale) * 1.05"),
        *wrapped(definition, "the last key is dropped", swa_topk_lens="swa_topk_lens - 1"),
        *wrapped(
            definition,
            "compressed keys are left out",
            extra_sparse_topk_lens="torch.zeros_like(extra_sparse_topk_lens)",
        ),
        *wrapped(
            definition, "keys of the query before", sparse_indices="sparse_indices.roll(1, 0)"
        ),
        *rewritten(
            definition, "scales are left out", "plain * scales.repeat_interleave(TILE, -1)", "plain"
        ),
        *rewritten(
            definition, "scales are a power too large", "TILE].int() << 23", "TILE].int() + 1 << 23"
        ),
        *rewritten(
            definition,
            "the turned elements count for nothing",
            *("rope = rows[..., end:].contiguous()", "rope = (rows[..., end:] * 0).contiguous()"),
        ),
    )


def _compress(definition: Definition) -> tuple[Implementation, ...]:
    return (
        *rewritten(
            definition,
            "sums of exponentials",
            "torch.softmax(score, 1)",
            "torch.exp(score - score.logsumexp(1, keepdim=True))",
            right=True,
        ),
        *rewritten(definition, "places are left out", "(score + ape)", "(score + 0 * ape)"),
        *rewritten(definition, "a mean", "torch.softmax(score, 1)", "torch.softmax(0 * score, 1)"),
        *rewritten(
            definition,
            "one weight for all elements",
            "torch.softmax(score, 1)",
            "torch.softmax(score.mean(-1, keepdim=True), 1)",
        ),
        *rewritten(
            definition,
            "numbers and scores are mixed up",
            "kv, score = states",
            "score, kv = states",
        ),
        *wrapped(
            definition,
            "new tokens are not kept",
            write_indices="torch.full_like(write_indices, -1)",
        ),
    )


def _store(definition: Definition) -> tuple[Implementation, ...]:
    least, keys = "clamp(min=LEAST)", "normalised(kv[kept]) * weight.float()"
    turned = "one * cos - other * sin, one * sin + other * cos"
    return (
        *rewritten(
            definition,
            "as complex numbers",
            turned,
            "(torch.complex(one, other) * torch.complex(cos, sin)).real, "
            "(torch.complex(one, other) * torch.complex(cos, sin)).imag",
            right=True,
        ),
        # A root and a quotient in place of one of both.
        *rewritten(
            definition,
            "divided by the root",
            "x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPS)",
            "x / torch.sqrt(x.square().mean(-1, keepdim=True) + EPS)",
            right=True,
        ),
        *rewritten(definition, "not normalised", keys, "kv[kept].float() * weight.float()"),
        *rewritten(definition, "the weight is left out", keys, "normalised(kv[kept])"),
        *rewritten(
            definition,
            "turned the other way",
            turned,
            "one * cos + other * sin, other * cos - one * sin",
        ),
        *wrapped(definition, "not turned", positions="torch.zeros_like(positions)"),
        *wrapped(definition, "places of the token before", out_loc="out_loc.roll(1, 0)"),
        *wrapped(definition, "one place further", out_loc="out_loc + (out_loc >= 0).int()"),
        *wrapped(definition, "the last token is left out", out_loc=_NO_LAST),
        *rewritten(definition, "no transform", "transformed(rotated(", "(rotated("),
        *rewritten(
            definition,
            "scales are 5 % too large",
            f"{least} / FP8_MAX\n    scaled",
            f"{least} / FP8_MAX * 1.05\n    scaled",
        ),
        *rewritten(
            definition,
            "scales are not those that divide",
            "torch.float8_e4m3fn), scale",
            "torch.float8_e4m3fn), scale * 1.05",
        ),
        *rewritten(
            definition,
            "scales are one byte further",
            "scales[..., : exponent.shape[1]]",
            "scales[..., 1 : 1 + exponent.shape[1]]",
        ),
        *rewritten(
            definition,
            "exponents are one too small",
            "exponent.to(torch.uint8)",
            "(exponent - 1).to(torch.uint8)",
        ),
        *rewritten(
            definition,
            "all elements are fp8",
            ".bfloat16().view(torch.uint8)",
            ".to(torch.float8_e4m3fn).bfloat16().view(torch.uint8)",
        ),
    )


def _query(definition: Definition) -> tuple[Implementation, ...]:
    turned = "one * cos - other * sin, one * sin + other * cos"
    return (
        *rewritten(
            definition,
            "as complex numbers",
            turned,
            "(torch.complex(one, other) * torch.complex(cos, sin)).real, "
            "(torch.complex(one, other) * torch.complex(cos, sin)).imag",
            right=True,
        ),
        *rewritten(
            definition,
            "turned the other way",
            turned,
            "one * cos + other * sin, other * cos - one * sin",
        ),
        *wrapped(definition, "not turned", positions="torch.zeros_like(positions)"),
        *rewritten(
            definition,
            "turned in halves",
            "reshape(*x.shape[:-1], ROPE_DIM // 2, 2)",
            "reshape(*x.shape[:-1], 2, ROPE_DIM // 2).mT",
        ),
        *rewritten(
            definition,
            "not normalised",
            "rotated(normalised(q), cos_sin)",
            "rotated(q.float(), cos_sin)",
        ),
        *rewritten(
            definition, "no transform", "quantised(transformed(turned))", "quantised(turned)"
        ),
        *rewritten(
            definition,
            "scales are left out",
            " * float(weight_scale) * scale",
            " * float(weight_scale)",
        ),
    )
