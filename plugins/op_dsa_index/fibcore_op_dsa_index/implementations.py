"""Right and wrong implementations, by which benchmarks are tried."""

from __future__ import annotations

from fibcore.plugin import Definition, Implementation, rewritten, wrapped
from fibcore_op_dsa_index.definitions import kind_of


def implementations(definition: Definition) -> tuple[Implementation, ...]:
    """All of them; none for stores, and for definitions of others.

    What is stored are bytes, of which no tolerance tells a number on the border of two fp8 numbers
    from a wrong one. The reference tests do, by what they stand for.
    """
    if kind_of(definition) != "q":
        return ()
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
