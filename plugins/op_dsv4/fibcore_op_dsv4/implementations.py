"""Right and wrong implementations, by which benchmarks are tried."""

from __future__ import annotations

from fibcore.plugin import Definition, Implementation, rewritten, wrapped
from fibcore_op_dsv4.definitions import kind_of


def implementations(definition: Definition) -> tuple[Implementation, ...]:
    """All of them; none for stores, and for definitions of others.

    What is stored are bytes, of which no tolerance tells a number on the border of two fp8 numbers
    from a wrong one. The reference tests do, by what they stand for.
    """
    kind = kind_of(definition)
    if kind is None:
        return ()
    if kind in ("window", "compressed"):
        return _attention(definition)
    if kind in ("overlap", "plain"):
        return _compress(definition)
    return () if "out_loc" in definition.inputs else _query(definition)


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
