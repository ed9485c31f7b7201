"""What causal convolutions are called: op type, forms, inputs, and the name of a kernel."""

from __future__ import annotations

from typing import Literal

import attrs

from fibcore.plugin import OpType

OP_TYPE = "causal_conv1d"

OP_TYPES = (OpType(OP_TYPE, "short causal convolution of each channel, with a state"),)

Form = Literal["update", "prefill"]
"""One token a sequence, or whole sequences."""
STAGES: dict[str, Form] = {"decode": "update", "prefill": "prefill"}
"""Which form a stage runs."""

OUTPUTS = ("output", "new_conv_state")
VAR_AXES: dict[Form, tuple[str, ...]] = {
    "update": ("batch_size", "state_cache_size"),
    "prefill": ("total_seq_len", "num_seqs", "len_cu_seqlens"),
}
_LAST: dict[Form, str] = {"update": "conv_state_indices", "prefill": "cu_seqlens"}


@attrs.frozen
class Shape:
    """What sets a convolution apart.

    Attributes:
        dim: Channels of a tensor-parallel rank.
        width: Tokens that an output sees, its own included.
        silu: Whether SiLU comes behind it.
        bias: Whether every channel has a bias.
        weight_dtype: Of weight and bias.
    """

    dim: int
    width: int
    silu: bool
    bias: bool
    weight_dtype: str

    def name(self, form: Form) -> str:
        """The definition's name, such as `causal_conv1d_update_d2048_w4_silu_bias`."""
        silu = "_silu" if self.silu else ""
        weight = "" if self.weight_dtype == "bfloat16" else f"_{self.weight_dtype}_weight"
        bias = "_bias" if self.bias else ""
        return f"{OP_TYPE}_{form}_d{self.dim}_w{self.width}{silu}{bias}{weight}"


def inputs(form: Form, *, bias: bool) -> tuple[str, ...]:
    """The inputs of a definition, in order."""
    return ("x", "conv_state", "weight", *(("bias",) if bias else ()), _LAST[form])
