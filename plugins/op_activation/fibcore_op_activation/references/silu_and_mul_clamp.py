"""SiLU of the clamped first half of every row, times the clamped second half.

output = gate / (1 + exp(-gate)) * up, where gate, at most the
limit, and up, between minus the limit and the limit, are the halves of a row of input
(the shared experts of DeepSeek-V4)
"""

import torch
from torch.nn.functional import silu

HIDDEN_SIZE = 4096
# Rows are taken in chunks of about this many elements: the float32 copies stay in a GPU's cache,
# and small however many rows there are.
CHUNK_ELEMENTS = 4194304


@torch.no_grad()
def run(input: torch.Tensor, limit: float) -> torch.Tensor:
    """Activate the rows of input [num_tokens, HIDDEN_SIZE]: [num_tokens, HIDDEN_SIZE / 2]."""
    num_tokens, hidden_size = input.shape
    assert hidden_size == HIDDEN_SIZE

    half = HIDDEN_SIZE // 2
    output = torch.empty(num_tokens, half, dtype=input.dtype, device=input.device)
    chunk = max(1, CHUNK_ELEMENTS // HIDDEN_SIZE)
    for first in range(0, num_tokens, chunk):
        rows = slice(first, first + chunk)
        gate = input[rows, :half].to(torch.float32).clamp_(max=limit)
        up = input[rows, half:].to(torch.float32).clamp_(-limit, limit)
        torch.mul(silu(gate), up, out=output[rows])
    return output
