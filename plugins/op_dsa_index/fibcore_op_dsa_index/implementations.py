"""Right and wrong implementations, by which benchmarks are tried."""

from __future__ import annotations

from fibcore.plugin import Definition, Implementation, rewritten, wrapped
from fibcore_op_dsa_index.definitions import kind_of


def implementations(definition: Definition) -> tuple[Implementation, ...]:
    """All of them; none for definitions of others.

    What is stored are bytes, in which a number on the border of two fp8 numbers may be either: the
    template's `figures` say what they stand for.
    """
    kind = kind_of(definition)
    if kind is None:
        return ()
    more = _query(definition) if kind == "q" else _store(definition)
    return (*_turns(definition), *more)


def _turns(definition: Definition) -> tuple[Implementation, ...]:
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
    )


def _store(definition: Definition) -> tuple[Implementation, ...]:
    norm = "torch.nn.functional.layer_norm(k.float(), (HEAD_DIM,), weight, bias, EPS)"
    turned = "rotated(keys, cos_sin_cache[positions])"
    return (
        # As SGLang's kernel does.
        *rewritten(
            definition,
            "rounded to bfloat16 before",
            turned,
            f"{turned}.bfloat16().float()",
            right=True,
        ),
        *rewritten(
            definition,
            "numbers are 3 % too small",
            "scaled.to(torch.float8_e4m3fn)",
            "(scaled * 0.97).to(torch.float8_e4m3fn)",
        ),
        *rewritten(definition, "not normalised", norm, "k.float() * weight + bias"),
        *wrapped(definition, "the bias is left out", bias="torch.ones_like(bias) * 0.5"),
        *wrapped(definition, "places of the token before", out_loc="out_loc.roll(1, 0)"),
        *wrapped(definition, "the last token is left out", out_loc=_AGAIN),
        *rewritten(
            definition,
            "scales are not those that divide",
            "torch.float8_e4m3fn), scale",
            "torch.float8_e4m3fn), scale * 1.05",
        ),
    )


_AGAIN = "torch.cat((out_loc[:-1], out_loc[:1]))"
"""The last token over the first one: its own place stays as it was."""


def _query(definition: Definition) -> tuple[Implementation, ...]:
    return (
        *rewritten(
            definition,
            "scales are left out",
            " * float(weight_scale) * scale",
            " * float(weight_scale)",
        ),
        *wrapped(definition, "the factor is left out", weight_scale="1.0"),
        *wrapped(
            definition,
            "one weight for all heads",
            weights="weights.float().mean(1, keepdim=True).expand_as(weights).to(weights.dtype)",
        ),
    )
