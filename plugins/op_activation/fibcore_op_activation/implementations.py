"""Right and wrong implementations, by which benchmarks are tried."""

from __future__ import annotations

from fibcore.plugin import Definition, Implementation, rewritten, wrapped
from fibcore_op_activation.definitions import kind_of
from fibcore_op_activation.kinds import Kind

# What an activation is taken for, by its text in the reference.
_OTHERS = (
    ("GELU in the place of SiLU", "silu(gate)", "torch.nn.functional.gelu(gate)"),
    ("GELU in the place of SiLU", "return silu(input)", "return torch.nn.functional.gelu(input)"),
    ("SiLU in the place of GELU", "gelu(gate)", "torch.nn.functional.silu(gate)"),
    ("SiLU in the place of GELU", "= gelu(x)", "= torch.nn.functional.silu(x)"),
    (
        "SiLU in the place of GELU",
        'gelu(gate, approximate="tanh")',
        "torch.nn.functional.silu(gate)",
    ),
    ("SiLU in the place of GELU", 'gelu(x, approximate="tanh")', "torch.nn.functional.silu(x)"),
    ("the factor 1.702 is left out", "1.702 * x", "x"),
    ("it is not squared", ".square_()", ""),
    ("the square has its sign", "x.relu_().square_()", "x * x.abs()"),
    ("leaky", "torch.relu(input)", "torch.nn.functional.leaky_relu(input, 0.02)"),
    ("the gate is not bounded", "gate.div_(beta).tanh_()", "gate.div_(beta)"),
    ("the other half is not bounded", "up.div_(linear_beta).tanh_()", "up.div_(linear_beta)"),
    ("the gate is not clamped", ".clamp_(max=limit)", ""),
    ("the gate is clamped on both sides", ".clamp_(max=limit)", ".clamp_(-limit, limit)"),
    ("the other half is not clamped", ".clamp_(-limit, limit)", ""),
    ("the other half is clamped on one side", ".clamp_(-limit, limit)", ".clamp_(max=limit)"),
    ("nothing is added to the other half", "up.add_(1)", "up"),
    ("alpha is left out", "alpha * gate", "gate"),
)


def implementations(definition: Definition) -> tuple[Implementation, ...]:
    """All of them; none where it is not known what a definition computes."""
    kind = kind_of(definition)
    if kind is None:
        return ()
    return (
        *_right(definition),
        *(one for texts in _OTHERS for one in rewritten(definition, *texts)),
        *_wrong_halves(definition, kind),
        *wrapped(definition, "the input goes through", result=_through(kind)),
        *wrapped(definition, "the result is 2 % too large", result="result * 1.02"),
    )


def _through(kind: Kind) -> str:
    half = "input.shape[-1] // 2"
    return f"input[:, : {half}] * input[:, {half} :]" if kind.gated else "input.clone()"


def _right(definition: Definition) -> tuple[Implementation, ...]:
    up = "input[rows, half:]"
    return (
        *wrapped(
            definition,
            "rows in the other order",
            right=True,
            result="result.flip(0)",
            inputs={"input": "input.flip(0)"},
        ),
        # As SGLang's native methods do.
        *rewritten(
            definition,
            "rounded before it is multiplied",
            f"torch.mul(silu(gate), {up}, out=output[rows])",
            f"output[rows] = silu(gate).to(output.dtype) * {up}",
            right=True,
        ),
        *rewritten(
            definition,
            "rounded before it is multiplied",
            f"torch.mul(gelu(gate), {up}, out=output[rows])",
            f"output[rows] = gelu(gate).to(output.dtype) * {up}",
            right=True,
        ),
        *rewritten(definition, "in float32", "torch.float64", "torch.float32", right=True),
    )


def _wrong_halves(definition: Definition, kind: Kind) -> tuple[Implementation, ...]:
    if not kind.gated:
        return ()
    swapped = "input.roll(input.shape[-1] // 2, dims=-1)"
    # Columns 0, 2, 4, ... of the input are gates, as in gpt-oss's weights.
    interleaved = "input.unflatten(-1, (-1, 2)).transpose(-1, -2).flatten(-2)"
    return (
        *wrapped(definition, "the halves are swapped", inputs={"input": swapped}),
        *wrapped(definition, "gate and up take turns", inputs={"input": interleaved}),
    )
