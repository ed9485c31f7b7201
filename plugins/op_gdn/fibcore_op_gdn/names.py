"""The kernels of the gated delta rule: op types, gates, forms, inputs, and names."""

from __future__ import annotations

from typing import Literal

import attrs

from fibcore.plugin import OpType

Gate = Literal["head", "channel"]
"""What has a decay of its own: a head's whole state, or each column of it."""
Form = Literal["decode", "mtp", "prefill"]
"""One token a sequence, a few that are verified, or whole sequences."""

OP_TYPES = (
    OpType("gdn", "gated delta rule, with one gate for each value head"),
    OpType("kda", "gated delta rule with a gate for each channel (Kimi Delta Attention)"),
)
OP_TYPE: dict[Gate, str] = {"head": "gdn", "channel": "kda"}
GATE: dict[str, Gate] = {"gdn": "head", "kda": "channel"}


@attrs.frozen
class FormKind:
    """What sets a form of the kernel apart.

    Attributes:
        stage: The stage in which it runs, "decode" or "prefill".
        inputs: Its inputs, in order.
        outputs: Its outputs, in order.
        var_axes: Its variable axes, in order.
        flashinfer: FlashInfer's function by gate; where there is none, the gate is left out.
    """

    stage: Literal["decode", "prefill"]
    inputs: tuple[str, ...]
    outputs: tuple[str, str]
    var_axes: tuple[str, ...]
    flashinfer: dict[Gate, str]


_GATES = ("A_log", "a", "dt_bias", "b")

FORMS: dict[Form, FormKind] = {
    "decode": FormKind(
        stage="decode",
        inputs=("q", "k", "v", "state", *_GATES, "scale"),
        outputs=("output", "new_state"),
        var_axes=("batch_size",),
        flashinfer={
            "head": "flashinfer.gdn_decode.gated_delta_rule_decode_pretranspose",
            "channel": "flashinfer.kda_decode.recurrent_kda",
        },
    ),
    "mtp": FormKind(
        stage="decode",
        inputs=(
            *("q", "k", "v", "initial_state", "initial_state_indices"),
            *(*_GATES, "scale", "intermediate_states_buffer"),
        ),
        outputs=("output", "final_state"),
        var_axes=("batch_size", "seq_len", "pool_size"),
        flashinfer={"head": "flashinfer.gdn_decode.gated_delta_rule_mtp"},
    ),
    "prefill": FormKind(
        stage="prefill",
        inputs=("q", "k", "v", "state", *_GATES, "cu_seqlens", "scale"),
        outputs=("output", "new_state"),
        var_axes=("total_seq_len", "num_seqs", "len_cu_seqlens"),
        flashinfer={"head": "flashinfer.gdn_prefill.chunk_gated_delta_rule"},
    ),
}


def kernel_name(
    gate: Gate, form: Form, qk_heads: int, v_heads: int, head_size: int, bound: float | None
) -> str:
    """The definition's name, such as `gdn_decode_qk4_v8_d128_k_last`.

    Heads are those of one tensor-parallel rank. `bound` is what log alpha is never below, a
    negative number; None for gates that have no bound: `kda_decode_qk12_v12_d128_lb5_k_last`.
    """
    lower = "" if bound is None else f"_lb{-bound:g}".replace(".", "p")
    return f"{OP_TYPE[gate]}_{form}_qk{qk_heads}_v{v_heads}_d{head_size}{lower}_k_last"
