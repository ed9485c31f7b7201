"""The activations: one record each, in one table.

A new one is a record here, the file below `references/` that has its name, what the matcher finds
it by, its ground truths, and its formula in the test template.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import attrs


@attrs.frozen
class Kind:
    """An elementwise function of rows.

    Attributes:
        name: What the names of its kernels begin with, and the file below `references/`.
        formula: For people; a gated one has `gate` and `up`, the halves of a row, others `x`.
        operations: Float operations an output element, an exponential or the like being one.
        gated: Whether it multiplies by the second half of a row, and gives rows half as long.
        scalars: Scalar inputs after the tensor, name to description.
        flashinfer: Whether FlashInfer has a kernel, of the same name.
    """

    name: str
    formula: str
    operations: int
    gated: bool = False
    scalars: Mapping[str, str] = attrs.field(factory=dict)
    flashinfer: bool = False

    @property
    def inputs(self) -> tuple[str, ...]:
        """The inputs of a definition, in order."""
        return ("input", *self.scalars)

    @property
    def width(self) -> str:
        """The const axis: elements of a row of the input."""
        return "hidden_size" if self.gated else "intermediate_size"


_GELU = "0.5 * {x} * (1 + erf({x} / sqrt(2)))"
_GELU_TANH = "0.5 * {x} * (1 + tanh(sqrt(2 / pi) * ({x} + 0.044715 * {x}^3)))"

_KINDS = (
    Kind("silu_and_mul", "gate / (1 + exp(-gate)) * up", 5, gated=True, flashinfer=True),
    Kind("gelu_and_mul", f"{_GELU.format(x='gate')} * up", 6, gated=True, flashinfer=True),
    Kind(
        "gelu_tanh_and_mul",
        f"{_GELU_TANH.format(x='gate')} * up",
        10,
        gated=True,
        flashinfer=True,
    ),
    Kind(
        "situ_and_mul",
        "beta * tanh(gate / beta) / (1 + exp(-gate)) * linear_beta * tanh(up / linear_beta)",
        11,
        gated=True,
        scalars={
            "beta": "Bound of the gate: it enters as beta * tanh(gate / beta).",
            "linear_beta": "Bound of the other half: linear_beta * tanh(up / linear_beta).",
        },
    ),
    Kind(
        "silu_and_mul_clamp",
        "min(gate, limit) / (1 + exp(-min(gate, limit))) * max(-limit, min(up, limit))",
        8,
        gated=True,
        scalars={"limit": "The largest gate, and the largest up of either sign."},
    ),
    Kind(
        "swiglu_oai_and_mul",
        "min(gate, limit) / (1 + exp(-alpha * min(gate, limit))) "
        "* (max(-limit, min(up, limit)) + 1)",
        10,
        gated=True,
        scalars={
            "alpha": "Multiplies the gate within the sigmoid.",
            "limit": "The largest gate, and the largest up of either sign.",
        },
    ),
    Kind("silu", "x / (1 + exp(-x))", 4),
    Kind("gelu", _GELU.format(x="x"), 5),
    Kind("gelu_tanh", _GELU_TANH.format(x="x"), 9),
    Kind("quick_gelu", "x / (1 + exp(-1.702 * x))", 5),
    Kind("relu", "max(x, 0)", 1),
    Kind("relu2", "max(x, 0)^2", 2),
)

KINDS: Mapping[str, Kind] = MappingProxyType({kind.name: kind for kind in _KINDS})
"""All activations by name."""
