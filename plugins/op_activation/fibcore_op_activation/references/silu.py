"""SiLU of every element (Elfwing, Uchibe and Doya 2017, arXiv:1702.03118).

output = x / (1 + exp(-x)), where x is an element of input; torch computes it in float32 and rounds
the result
"""

import torch
from torch.nn.functional import silu

INTERMEDIATE_SIZE = 4096


@torch.no_grad()
def run(input: torch.Tensor) -> torch.Tensor:
    """Activate the rows of input [num_tokens, INTERMEDIATE_SIZE]."""
    _, intermediate_size = input.shape
    assert intermediate_size == INTERMEDIATE_SIZE

    return silu(input)
