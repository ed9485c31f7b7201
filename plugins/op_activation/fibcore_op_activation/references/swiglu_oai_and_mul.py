"""The clamped SwiGLU of gpt-oss, of halves of rows.

output = gate / (1 + exp(-alpha * gate)) * (up + 1), where gate, at most the
limit, and up, between minus the limit and the limit, are the halves of a row of input
(the feed-forward layers of MiniMax-M3)
"""

import torch

HIDDEN_SIZE = 6144
# Rows are taken in chunks of about this many elements: the float32 copies stay in a GPU's cache,
# and small however many rows there are.
CHUNK_ELEMENTS = 4194304


@torch.no_grad()
def run(input: torch.Tensor, alpha: float, limit: float) -> torch.Tensor:
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
        torch.mul(torch.sigmoid(alpha * gate).mul_(gate), up.add_(1), out=output[rows])
    return output
