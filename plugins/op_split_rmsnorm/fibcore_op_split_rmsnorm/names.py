"""What norms of rows that ranks share are called: op type, forms, inputs, names."""

from __future__ import annotations

from typing import Literal

import attrs

from fibcore.plugin import OpType

OP_TYPE = "split_rmsnorm"

OP_TYPES = (
    OpType(OP_TYPE, "RMSNorm of queries and keys whose rows ranks share, about a sum over ranks"),
)

Form = Literal["sums", "apply"]
"""The squares of a rank's part, or the norm by the sums of all ranks."""
FORMS: tuple[Form, ...] = ("sums", "apply")
INPUTS: dict[Form, tuple[str, ...]] = {
    "sums": ("q", "k"),
    "apply": ("q", "k", "q_weight", "k_weight", "sums"),
}
OUTPUTS: dict[Form, tuple[str, ...]] = {"sums": ("sums",), "apply": ("q_out", "k_out")}
NUM_ROWS = 2
"""Rows of the sums: that of queries, and that of keys."""


@attrs.frozen
class Shape:
    """What sets a norm apart.

    Attributes:
        q_size: Elements of a rank's queries.
        k_size: Elements of a rank's keys.
        ranks: Ranks that share a row.
    """

    q_size: int
    k_size: int
    ranks: int

    def name(self, form: Form) -> str:
        """The definition's name, such as `split_rmsnorm_apply_q1536_k256_r4`."""
        ranks = f"_r{self.ranks}" if form == "apply" else ""
        return f"{OP_TYPE}_{form}_q{self.q_size}_k{self.k_size}{ranks}"
