"""Right and wrong selective state spaces, by which benchmarks are tried."""

from __future__ import annotations

from fibcore.plugin import Definition, Implementation, rewritten, wrapped
from fibcore_op_mamba.definitions import form_of
from fibcore_op_mamba.names import Form


def implementations(definition: Definition) -> tuple[Implementation, ...]:
    """All of them; none for a definition with other tensors."""
    form = form_of(definition)
    if form is None:
        return ()
    return (*_right(definition, form), *_wrong(definition))


def _right(definition: Definition, form: Form) -> tuple[Implementation, ...]:
    if form == "prefill":
        return (
            *rewritten(definition, "chunks of 32 tokens", "CHUNK = 64", "CHUNK = 32", right=True),
            # What tensor cores are given.
            *rewritten(
                definition,
                "products of a chunk are rounded to bfloat16",
                "((C @ B.transpose(-1, -2)) * decay) @ taken",
                "((C @ B.transpose(-1, -2)) * decay).bfloat16().to(taken.dtype) @ taken",
                right=True,
            ),
        )
    flipped = {name: f"{name}.flip(0)" for name in ("x", "dt", "B", "C", "state_batch_indices")}
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
            "(after @ outputs[..., None]).squeeze(-1)",
            "(after * outputs[:, :, None, :]).sum(dim=-1)",
            right=True,
        ),
    )


def _wrong(definition: Definition) -> tuple[Implementation, ...]:
    sizes = definition.const_axes
    heads = "torch.arange(x.shape[1], device=x.device).view(B.shape[1], -1).t().flatten()"
    return (
        *wrapped(definition, "nothing fades", A="A * 0.0"),
        *wrapped(definition, "everything fades", state="state * 0.0"),
        *wrapped(definition, "dt_bias is left out", dt_bias="dt_bias * 0.0"),
        *wrapped(definition, "D is left out", D="D * 0.0"),
        *wrapped(definition, "B and C are swapped", B="C", C="B"),
        *wrapped(definition, "the step is not softplus", dt="dt.abs()"),
        *wrapped(definition, "the output is 10 % too large", result="(result[0] * 1.1, result[1])"),
        *wrapped(definition, "states stay as they were", result="(result[0], state.clone())"),
        *(
            wrapped(definition, "heads share groups in turns", x=f"x[:, {heads}]")
            if 1 < sizes["ngroups"] < sizes["nheads"]
            else ()
        ),
    )
