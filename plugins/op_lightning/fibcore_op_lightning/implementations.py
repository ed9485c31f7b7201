"""Right and wrong lightning attention, by which benchmarks are tried."""

from __future__ import annotations

from fibcore.plugin import Definition, Implementation, rewritten, wrapped
from fibcore_op_lightning.definitions import form_of
from fibcore_op_lightning.names import Form


def implementations(definition: Definition) -> tuple[Implementation, ...]:
    """All of them; none for a definition with other tensors."""
    form = form_of(definition)
    if form is None:
        return ()
    return (*_right(definition, form), *_wrong(definition))


def _right(definition: Definition, form: Form) -> tuple[Implementation, ...]:
    if form == "prefill":
        return rewritten(definition, "chunks of 32 tokens", "CHUNK = 64", "CHUNK = 32", right=True)
    flipped = {name: f"{name}.flip(0)" for name in ("q", "k", "v", "state_batch_indices")}
    return (
        *wrapped(
            definition,
            "sequences in the other order",
            right=True,
            inputs=flipped,
            result="(result[0].flip(0), result[1])",
        ),
        *rewritten(
            definition,
            "sums of products",
            "q[rows].float()[..., None, :] @ after",
            "(q[rows].float()[..., None] * after).sum(dim=-2, keepdim=True)",
            right=True,
        ),
    )


def _wrong(definition: Definition) -> tuple[Implementation, ...]:
    return (
        *wrapped(definition, "nothing fades", slope="slope * 0.0"),
        *wrapped(definition, "slopes in the other order", slope="slope.flip(0)"),
        *wrapped(definition, "slopes of another layer", slope="slope * 0.5"),
        *wrapped(definition, "states are left out", state="state * 0.0"),
        *wrapped(definition, "states are transposed", state="state.transpose(-1, -2)"),
        *wrapped(definition, "queries and keys are swapped", q="k", k="q"),
        *wrapped(definition, "the scale is left out", scale="1.0"),
        *wrapped(definition, "the output is 10 % too large", result="(result[0] * 1.1, result[1])"),
        *wrapped(definition, "states stay as they were", result="(result[0], state.clone())"),
    )
