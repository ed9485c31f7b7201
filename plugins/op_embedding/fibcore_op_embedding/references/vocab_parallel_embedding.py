"""Embedding in a rank's part of a table: the rows of tokens that it has, zeros for the others.

output[t] = weight[input_ids[t] - vocab_start_index] where the part has that row, else 0

The sum over all ranks, whose parts follow each other, is the embedding.
"""

import torch

VOCAB_SIZE = 32064
HIDDEN_SIZE = 8192


@torch.no_grad()
def run(
    input_ids: torch.Tensor, weight: torch.Tensor, vocab_start_index: int
) -> torch.Tensor:
    """The rows [num_tokens, HIDDEN_SIZE] of weight [VOCAB_SIZE, HIDDEN_SIZE]."""
    assert weight.shape == (VOCAB_SIZE, HIDDEN_SIZE)
    rows = input_ids - vocab_start_index
    others = (rows < 0) | (rows >= VOCAB_SIZE)
    output = weight.index_select(0, rows.masked_fill(others, 0))
    return output.masked_fill_(others[:, None], 0.0)
