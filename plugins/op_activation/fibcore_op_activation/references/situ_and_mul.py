"""A bounded SiLU of the first half of every row, times the second half, bounded as well.

output = beta * tanh(gate / beta) / (1 + exp(-gate)) * linear_beta * tanh(up / linear_beta), where
gate and up are the halves of a row of input (the feed-forward layers of Kimi K3)
"""

import torch

HIDDEN_SIZE = 67584
# Rows are taken in chunks of about this many elements: the float32 copies stay in a GPU's cache,
# and small however many rows there are.
CHUNK_ELEMENTS = 4194304


@torch.no_grad()
def run(input: torch.Tensor, beta: float, linear_beta: float) -> torch.Tensor:
    """Activate the rows of input [num_tokens, HIDDEN_SIZE]: [num_tokens, HIDDEN_SIZE / 2]."""
    num_tokens, hidden_size = input.shape
    assert hidden_size == HIDDEN_SIZE

    half = HIDDEN_SIZE // 2
    output = torch.empty(num_tokens, half, dtype=input.dtype, device=input.device)
    chunk = max(1, CHUNK_ELEMENTS // HIDDEN_SIZE)
    for first in range(0, num_tokens, chunk):
        rows = slice(first, first + chunk)
        gate = input[rows, :half].to(torch.float32)
        up = input[rows, half:].to(torch.float32)
        activated = torch.sigmoid(gate).mul_(gate.div_(beta).tanh_()).mul_(beta)
        torch.mul(activated, up.div_(linear_beta).tanh_().mul_(linear_beta), out=output[rows])
    return output
