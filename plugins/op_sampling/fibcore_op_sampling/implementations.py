"""Right and wrong implementations, by which benchmarks are tried."""

from __future__ import annotations

from fibcore.plugin import Definition, Implementation, rewritten, wrapped
from fibcore_op_sampling.names import SOFTMAX, kind_of


def implementations(definition: Definition) -> tuple[Implementation, ...]:
    """Those of what is not random; none for what draws, and for a function of others.

    Two right samplers give different tokens: no tolerance of outputs tells them from wrong ones.
    The reference tests do, by what many draws have in common.
    """
    kind = kind_of(definition)
    if kind is None or kind.draws or len(definition.inputs) != len(kind.inputs):
        return ()
    flipped = {kind.inputs[0]: f"{kind.inputs[0]}.flip(-1)"}
    other = "tokens in the other order"
    right = wrapped(definition, other, right=True, result="result.flip(-1)", inputs=flipped)
    if kind.stem == SOFTMAX:
        return (
            *right,
            *wrapped(definition, "temperature left out", temperature="temperature * 0 + 1"),
            *wrapped(definition, "temperature as a factor", temperature="1 / temperature"),
            *wrapped(
                definition,
                "the first row's temperature",
                temperature="temperature[:1].expand_as(temperature)",
            ),
            *rewritten(definition, "softmax over the rows", "dim=-1", "dim=0"),
        )
    return (
        *right,
        *wrapped(definition, "nothing is left out", result="probs"),
        *wrapped(definition, "not scaled", result="torch.where(result > 0, probs, 0.0)"),
        *(
            wrapped(definition, "one token fewer", top_k="(top_k - 1).clamp(min=1)")
            + wrapped(definition, "one token more", top_k="top_k + 1")
            if kind.filters == ("top_k",)
            else wrapped(definition, "half of top_p", top_p="top_p / 2")
            + wrapped(definition, "a tenth more is left out", top_p="top_p * 0.9")
        ),
    )
