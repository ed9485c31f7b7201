"""Embedding times a number: the row of a table for each token, multiplied by embed_scale.

output[t] = weight[input_ids[t]] * embed_scale, rounded once
"""

import torch

VOCAB_SIZE = 262144
HIDDEN_SIZE = 1152


@torch.no_grad()
def run(input_ids: torch.Tensor, weight: torch.Tensor, embed_scale: float) -> torch.Tensor:
    """The rows [num_tokens, HIDDEN_SIZE] of weight [VOCAB_SIZE, HIDDEN_SIZE], scaled."""
    assert weight.shape == (VOCAB_SIZE, HIDDEN_SIZE)
    # torch multiplies 16-bit numbers by a number in float32 and rounds the product once.
    return weight.index_select(0, input_ids).mul_(embed_scale)
