"""Right and wrong kernels, by which benchmarks are tried."""

from __future__ import annotations

from fibcore.plugin import Definition, Implementation, rewritten, wrapped
from fibcore_op_split_rmsnorm.definitions import form_of


def implementations(definition: Definition) -> tuple[Implementation, ...]:
    """All of them; none for a definition with other tensors."""
    form = form_of(definition)
    if form is None:
        return ()
    return _sums(definition) if form == "sums" else _apply(definition)


def _sums(definition: Definition) -> tuple[Implementation, ...]:
    flipped = {name: f"{name}.flip(-1)" for name in ("q", "k")}
    return (
        *wrapped(definition, "elements in the other order", right=True, inputs=flipped),
        *rewritten(
            definition,
            "products of rows",
            "x[tokens].to(torch.float32).square().sum(dim=-1)",
            "(x[tokens].float()[:, None] @ x[tokens].float()[..., None])[:, 0, 0]",
            right=True,
        ),
        *wrapped(definition, "means", result="result / q.shape[1]"),
        *wrapped(definition, "roots", result="result.sqrt()"),
        *wrapped(definition, "keys first", result="result.flip(0)"),
        *wrapped(definition, "sums 2 % too large", result="result * 1.02"),
        *rewritten(definition, "magnitudes", ".square()", ".abs()"),
    )


def _apply(definition: Definition) -> tuple[Implementation, ...]:
    rows = {name: f"{name}.flip(0)" for name in ("q", "k")}
    return (
        *wrapped(
            definition,
            "tokens in the other order",
            right=True,
            inputs={**rows, "sums": "sums.flip(-1)"},
            result="(result[0].flip(0), result[1].flip(0))",
        ),
        *rewritten(
            definition,
            "a root and a quotient",
            "torch.rsqrt(sums / (x.shape[1] * RANKS) + EPSILON)",
            "1.0 / (sums / (x.shape[1] * RANKS) + EPSILON).sqrt()",
            right=True,
        ),
        *wrapped(definition, "the weight is left out", q_weight="torch.ones_like(q_weight)"),
        *wrapped(definition, "weight + 1", q_weight="q_weight + 1", k_weight="k_weight + 1"),
        *wrapped(definition, "sums are swapped", sums="sums.flip(0)"),
        *wrapped(definition, "sums of the token before", sums="sums.roll(1, 1)"),
        *rewritten(definition, "the mean of one rank", "x.shape[1] * RANKS", "x.shape[1] * 0.5"),
        *rewritten(definition, "epsilon is left out", " + EPSILON", ""),
        *rewritten(definition, "the root is left out", "torch.rsqrt(", "torch.reciprocal("),
        *wrapped(definition, "2 % too large", result="(result[0] * 1.02, result[1] * 1.02)"),
    )
