"""The kernels of Mamba 2's state spaces: op types, inputs, and names."""

from __future__ import annotations

from typing import Literal

import attrs

from fibcore.plugin import OpType

Form = Literal["decode", "prefill"]

SSU, SSD = "mamba_ssu", "mamba_ssd"
OP_TYPES = (
    OpType(SSU, "one token a sequence of a selective state space, with states in a cache"),
    OpType(SSD, "whole sequences of a selective state space, chunk by chunk"),
)


@attrs.frozen
class FormKind:
    """What sets a form of the kernel apart.

    Attributes:
        op_type: Its op type.
        stem: What its names begin with; the file of its reference has it, too.
        inputs: Its inputs, in order.
        var_axes: Its variable axes, in order.
        flashinfer: FlashInfer's function; empty where there is none.
    """

    op_type: str
    stem: str
    inputs: tuple[str, ...]
    var_axes: tuple[str, ...]
    flashinfer: str = ""


FORMS: dict[Form, FormKind] = {
    "decode": FormKind(
        op_type=SSU,
        stem="mamba_ssu_decode",
        inputs=("state", "x", "dt", "A", "B", "C", "D", "dt_bias", "state_batch_indices"),
        var_axes=("batch_size", "state_cache_size"),
        flashinfer="flashinfer.mamba.selective_state_update",
    ),
    "prefill": FormKind(
        op_type=SSD,
        stem="mamba_ssd_prefill",
        inputs=("x", "dt", "A", "B", "C", "D", "dt_bias", "state", "cu_seqlens"),
        var_axes=("total_seq_len", "num_seqs", "len_cu_seqlens"),
    ),
}
OUTPUTS = ("output", "new_state")


def kernel_name(form: Form, nheads: int, head_dim: int, dstate: int, ngroups: int) -> str:
    """The definition's name, such as `mamba_ssu_decode_h64_d64_s128_ng8`.

    Heads and groups are those of one tensor-parallel rank.
    """
    return f"{FORMS[form].stem}_h{nheads}_d{head_dim}_s{dstate}_ng{ngroups}"
