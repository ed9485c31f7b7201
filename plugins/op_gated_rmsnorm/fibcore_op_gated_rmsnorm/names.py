"""What a gated RMSNorm is called: op type, shape, inputs, and the name of a kernel."""

from __future__ import annotations

from typing import Literal

import attrs

from fibcore.plugin import OpType

OP_TYPE = "gated_rmsnorm"

SILU_GATE = "silu_gate"
"""The op type of mixers that multiply by their gate and normalise nothing."""

OP_TYPES = (
    OpType(OP_TYPE, "RMSNorm of rows or groups, times an activation of a gate"),
    OpType(SILU_GATE, "rows times SiLU of a gate, without a norm"),
)

TEMPLATES = {OP_TYPE: "test_template.py", SILU_GATE: "silu_gate_test_template.py"}
"""The file of each op type's tests."""

Activation = Literal["silu", "sigmoid"]
ACTIVATIONS: dict[str, Activation] = {"silu": "silu", "swish": "silu", "sigmoid": "sigmoid"}
"""What SGLang calls an activation, and what it is."""

INPUTS = ("hidden_states", "gate", "weight")
"""The inputs of a definition, in order."""


@attrs.frozen
class Shape:
    """What sets a gated norm apart.

    Attributes:
        hidden_size: Elements of a row, those of one tensor-parallel rank.
        group_size: Elements that are normalised together; hidden_size is a multiple of it.
        activation: What the gate goes through.
        gate_first: Whether the gate's factor comes before the norm.
    """

    hidden_size: int
    group_size: int
    activation: Activation
    gate_first: bool

    @property
    def grouped(self) -> bool:
        """Whether a row has several groups."""
        return self.group_size != self.hidden_size

    @property
    def variant(self) -> str:
        """What its tensors do not tell: `sigmoid`, `gate_first`, both with a `_`, or nothing."""
        words = ["sigmoid"] * (self.activation == "sigmoid") + ["gate_first"] * self.gate_first
        return "_".join(words)

    @property
    def name(self) -> str:
        """The definition's name, such as `gated_rmsnorm_h8192_g1024_gate_first`."""
        group = f"_g{self.group_size}" if self.grouped else ""
        behind = f"_{self.variant}" if self.variant else ""
        return f"{OP_TYPE}_h{self.hidden_size}{group}{behind}"
