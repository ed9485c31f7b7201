"""Right and wrong gated delta rules, by which benchmarks are tried."""

from __future__ import annotations

from fibcore.plugin import Definition, Implementation, rewritten, wrapped
from fibcore_op_gdn.definitions import form_of
from fibcore_op_gdn.names import Form

_CORRECTION: dict[Form, tuple[str, str]] = {
    "decode": ("(v - answers[..., 0])", "v"),
    "mtp": ("(v - answers[..., 0])", "v"),
    "prefill": ("own - erased @ state.transpose(-1, -2)", "own"),
}


def implementations(definition: Definition) -> tuple[Implementation, ...]:
    """All of them; none for a definition with other tensors."""
    form = form_of(definition)
    if form is None:
        return ()
    return (*_right(definition, form), *_wrong(definition, form))


def _right(definition: Definition, form: Form) -> tuple[Implementation, ...]:
    if form == "prefill":
        return (
            *rewritten(definition, "chunks of 32 tokens", "CHUNK = 64", "CHUNK = 32", right=True),
            *rewritten(definition, "chunks of 8 tokens", "CHUNK = 16", "CHUNK = 8", right=True),
            # What tensor cores are given.
            *rewritten(
                definition,
                "updates are rounded to bfloat16 before they are read",
                "read @ update",
                "read @ update.to(torch.bfloat16).to(update.dtype)",
                right=True,
            ),
        )
    products = "faded @ torch.stack((k, q), dim=-1)"
    return (
        *rewritten(
            definition,
            "sums of products",
            products,
            "(faded[..., None] * torch.stack((k, q), dim=-1)[..., None, :, :]).sum(dim=-2)",
            right=True,
        ),
        *rewritten(
            definition,
            "alpha by its own exponential",
            "log_alpha.exp()",
            "torch.exp2(log_alpha * 1.4426950408889634)",
            right=True,
        ),
    )


def _wrong(definition: Definition, form: Form) -> tuple[Implementation, ...]:
    sizes = definition.const_axes
    state = "initial_state" if form == "mtp" else "state"
    return (
        *rewritten(definition, "what the state answers is not taken off", *_CORRECTION[form]),
        *wrapped(definition, "nothing fades", A_log="A_log - 30.0"),
        *wrapped(definition, "dt_bias is left out", dt_bias="torch.zeros_like(dt_bias)"),
        *wrapped(definition, "beta is 1", b="torch.full_like(b, 30.0)"),
        *wrapped(
            definition,
            "states are transposed",
            inputs={state: f"{state}.transpose(-1, -2).contiguous()"},
        ),
        *wrapped(definition, "keys and queries are swapped", q="k", k="q"),
        *wrapped(definition, "the output is 10 % too large", result="(result[0] * 1.1, result[1])"),
        *wrapped(definition, "states stay as they were", result=f"(result[0], {state}.clone())"),
        *wrapped(
            definition,
            "the output has no scale",
            scale="1.0",
        ),
        *(_shared_in_turns(definition) if 1 < sizes["num_q_heads"] < sizes["num_v_heads"] else ()),
    )


def _shared_in_turns(definition: Definition) -> tuple[Implementation, ...]:
    """Values of heads in the order that they would have if they shared keys in turns."""
    return wrapped(
        definition,
        "value heads share keys in turns",
        helpers=(
            "def turned(x, heads):\n"
            "    order = torch.arange(heads, device=x.device)\n"
            "    return order.view(x.shape[-2], -1).t().flatten()"
        ),
        v="v[..., turned(q, v.shape[-2]), :]",
    )
