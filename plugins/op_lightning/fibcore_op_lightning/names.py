"""The kernels of lightning attention: op type, forms, inputs, and names."""

from __future__ import annotations

from typing import Literal

import attrs

from fibcore.plugin import OpType

Form = Literal["decode", "prefill"]
"""One token a sequence, or whole sequences."""

OP_TYPE = "lightning_attention"
OP_TYPES = (OpType(OP_TYPE, "linear attention whose states fade at a rate of each head"),)
OUTPUTS = ("output", "new_state")


@attrs.frozen
class FormKind:
    """What sets a form of the kernel apart.

    Attributes:
        inputs: Its inputs, in order.
        var_axes: Its variable axes, in order.
    """

    inputs: tuple[str, ...]
    var_axes: tuple[str, ...]


FORMS: dict[Form, FormKind] = {
    "decode": FormKind(
        inputs=("q", "k", "v", "state", "slope", "state_batch_indices", "scale"),
        var_axes=("batch_size", "state_cache_size"),
    ),
    "prefill": FormKind(
        inputs=("q", "k", "v", "state", "slope", "cu_seqlens", "scale"),
        var_axes=("total_seq_len", "num_seqs", "len_cu_seqlens"),
    ),
}


def kernel_name(form: Form, num_heads: int, head_dim: int, dtype: str) -> str:
    """The definition's name, such as `lightning_attention_decode_h8_d128_float32`.

    Heads are those of one tensor-parallel rank; a dtype that is not bfloat16 is in the name.
    """
    behind = "" if dtype == "bfloat16" else f"_{dtype}"
    return f"{OP_TYPE}_{form}_h{num_heads}_d{head_dim}{behind}"
