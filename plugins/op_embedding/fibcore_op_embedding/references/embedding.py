"""Embedding: the row of a table for each token.

output[t] = weight[input_ids[t]]
"""

import torch

VOCAB_SIZE = 128256
HIDDEN_SIZE = 4096


@torch.no_grad()
def run(input_ids: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The rows [num_tokens, HIDDEN_SIZE] of weight [VOCAB_SIZE, HIDDEN_SIZE]."""
    assert weight.shape == (VOCAB_SIZE, HIDDEN_SIZE)
    return weight.index_select(0, input_ids)
