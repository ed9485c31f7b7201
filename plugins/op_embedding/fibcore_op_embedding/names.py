"""What an embedding is called: op type, inputs, and the name of a kernel."""

from __future__ import annotations

from fibcore.plugin import OpType

OP_TYPE = "embedding"

OP_TYPES = (
    OpType(OP_TYPE, "rows of a table, one for each token, or those of a rank's part of it"),
)

WHOLE = ("input_ids", "weight")
"""The inputs of a look-up in a whole table, in order."""
PART = (*WHOLE, "vocab_start_index")
"""The same where the table is a rank's part."""
SCALED = (*WHOLE, "embed_scale")
"""The same where every row is multiplied by a number."""


def kernel_name(vocab_size: int, hidden_size: int, *, part: bool, scaled: bool = False) -> str:
    """The definition's name: `embedding_v128256_h4096`, `vocab_parallel_embedding_v16032_h8192`."""
    prefix = "scaled_" * scaled + "vocab_parallel_" * part
    return f"{prefix}embedding_v{vocab_size}_h{hidden_size}"
