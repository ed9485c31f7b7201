"""Right and wrong gated norms, by which benchmarks are tried."""

from __future__ import annotations

from fibcore.plugin import Definition, Implementation, rewritten, wrapped
from fibcore_op_gated_rmsnorm import silu_gate
from fibcore_op_gated_rmsnorm.definitions import epsilon, shape_of
from fibcore_op_gated_rmsnorm.names import SILU_GATE, Shape

_ROWS = "rms_norm(x, (HIDDEN_SIZE,), scale, EPSILON)"
_GROUPS = "rms_norm(parts, (GROUP_SIZE,), eps=EPSILON).view(x.shape) * scale"
_WHOLE = "rms_norm(x, (HIDDEN_SIZE,), scale, EPSILON)"
_FACTORS = {"silu": "torch.nn.functional.silu(gate)", "sigmoid": "torch.sigmoid(gate)"}
_OTHER = {"silu": "sigmoid", "sigmoid": "silu"}


def implementations(definition: Definition) -> tuple[Implementation, ...]:
    """All of them; none for a norm with other inputs."""
    if definition.op_type == SILU_GATE:
        return silu_gate.implementations(definition)
    shape = shape_of(definition)
    if shape is None:
        return ()
    return (*_right(definition, shape), *_wrong(definition, shape))


def _right(definition: Definition, shape: Shape) -> tuple[Implementation, ...]:
    inputs = {name: f"{name}.flip(0)" for name in ("hidden_states", "gate")}
    norm = _GROUPS if shape.grouped else _ROWS
    bare = norm.replace(" * scale", "").replace("scale, EPSILON", "None, EPSILON")
    return (
        *wrapped(
            definition,
            "rows in the other order",
            right=True,
            inputs=inputs,
            result="result.flip(0)",
        ),
        # As SGLang's Mixer2RMSNormGated.forward_native does.
        *rewritten(
            definition,
            "rounded before the weight",
            norm,
            f"({bare}).to(output.dtype).to(torch.float32) * scale",
            right=True,
        ),
    )


def _wrong(definition: Definition, shape: Shape) -> tuple[Implementation, ...]:
    factor, other = _FACTORS[shape.activation], _FACTORS[_OTHER[shape.activation]]
    norm = _GROUPS if shape.grouped else _ROWS
    what = "parts" if shape.grouped else "x"
    centred = norm.replace(f"({what},", f"({what} - {what}.mean(dim=-1, keepdim=True),")
    found = [
        *wrapped(definition, "weight + 1", weight="weight + 1"),
        *wrapped(definition, "the weight is left out", weight="torch.ones_like(weight)"),
        *wrapped(definition, "the result is 2 % too large", result="result * 1.02"),
        *rewritten(definition, f"{_OTHER[shape.activation]} of the gate", factor, other),
        *rewritten(definition, "the gate is left out", f"x *= {factor}", "x *= 1.0"),
        *rewritten(definition, "the mean is taken off", norm, centred),
        *rewritten(definition, "one group", _GROUPS, _WHOLE),
        *_swapped(definition, shape),
    ]
    eps = epsilon(definition)
    if eps is not None:
        have = f"EPSILON = {eps!r}\n"
        found += rewritten(definition, "epsilon is left out", have, "EPSILON = 0.0\n")
    return tuple(found)


def _swapped(definition: Definition, shape: Shape) -> tuple[Implementation, ...]:
    """The gate on the other side of the norm."""
    gate = "        x = gated(x, gate[rows])\n"
    last, start = (
        "        output[rows] = x\n",
        "        x = hidden_states[rows].to(torch.float32)\n",
    )
    new = last if shape.gate_first else start
    moved = definition.reference.replace(gate, "")
    text = moved.replace(new, gate + new if shape.gate_first else new + gate)
    return rewritten(definition, "the gate on the other side", definition.reference, text)
