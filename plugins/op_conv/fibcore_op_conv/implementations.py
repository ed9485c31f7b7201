"""Right and wrong causal convolutions, by which benchmarks are tried."""

from __future__ import annotations

from fibcore.plugin import Definition, Implementation, rewritten, wrapped
from fibcore_op_conv.definitions import form_of
from fibcore_op_conv.names import Form


def implementations(definition: Definition) -> tuple[Implementation, ...]:
    """All of them; none for a definition with other tensors."""
    form = form_of(definition)
    if form is None:
        return ()
    return (*_right(definition, form), *_wrong(definition))


def _right(definition: Definition, form: Form) -> tuple[Implementation, ...]:
    if form == "prefill":
        return rewritten(
            definition,
            "chunks of 64 tokens",
            "chunk = max(1, CHUNK_ELEMENTS // DIM)",
            "chunk = 64",
            right=True,
        )
    flipped = {name: f"{name}.flip(0)" for name in ("x", "conv_state_indices")}
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
            "a product of matrices",
            "(window.float() * weight).sum(dim=-1)",
            "(window.float()[..., None, :] @ weight.float()[..., None])[..., 0, 0]",
            right=True,
        ),
    )


def _wrong(definition: Definition) -> tuple[Implementation, ...]:
    return (
        *wrapped(definition, "weights in the other order", weight="weight.flip(-1)"),
        *wrapped(
            definition,
            "the oldest token is left out",
            weight="torch.cat((weight[:, :1] * 0, weight[:, 1:]), dim=1)",
        ),
        *wrapped(definition, "states are left out", conv_state="conv_state * 0"),
        *wrapped(definition, "states in the other order", conv_state="conv_state.flip(-1)"),
        *wrapped(definition, "the bias is left out", bias="bias * 0"),
        *rewritten(
            definition, "SiLU is left out", "torch.nn.functional.silu", "torch.nn.Identity()"
        ),
        *wrapped(definition, "states stay as they were", result="(result[0], conv_state.clone())"),
        *wrapped(definition, "the output is 10 % too large", result="(result[0] * 1.1, result[1])"),
    )
