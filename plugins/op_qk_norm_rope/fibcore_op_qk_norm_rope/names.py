"""What norms fused with rotary embeddings are called: op type, shape, inputs, names."""

from __future__ import annotations

import attrs

from fibcore.plugin import OpType

OP_TYPE = "qk_norm_rope"

OP_TYPES = (OpType(OP_TYPE, "RMSNorm and rotary embedding of queries and keys, in one kernel"),)

AXES = 3
"""Positions of a token that has several: in time, in height and in width."""
VAR_AXES = ("num_tokens", "num_qo_heads", "num_kv_heads", "max_seq_len")


@attrs.frozen
class Shape:
    """What sets a kernel apart.

    Attributes:
        head_size: Elements of a head, which are normalised together.
        rotary_dim: Elements of a head that are turned, its first ones.
        gated: Whether a gate stands behind each query head, and comes out by itself.
        sections: Whether a token has several positions, each of which turns some of the pairs.
    """

    head_size: int
    rotary_dim: int
    gated: bool
    sections: bool

    @property
    def name(self) -> str:
        """The definition's name, such as `qk_gemma_rmsnorm_rope_gate_mrope_d256_rd64`."""
        words = "_gate" * self.gated + "_mrope" * self.sections
        return f"qk_gemma_rmsnorm_rope{words}_d{self.head_size}_rd{self.rotary_dim}"

    @property
    def inputs(self) -> tuple[str, ...]:
        """The inputs of a definition, in order."""
        queries = "q_gate" if self.gated else "q"
        taken = (queries, "k", "q_weight", "k_weight", "cos_sin_cache", "positions")
        return (*taken, "axis_map") if self.sections else taken

    @property
    def outputs(self) -> tuple[str, ...]:
        """Its outputs, in order."""
        return ("q_out", "k_out", "gate") if self.gated else ("q_out", "k_out")
