"""SiLU of the first half of every row, times the second half.

output = gate / (1 + exp(-gate)) * up, where gate and up are the halves of a row of input
(SwiGLU without its projections: Shazeer 2020, arXiv:2002.05202)
"""

import torch
from torch.nn.functional import silu

HIDDEN_SIZE = 28672
# Rows are taken in chunks of about this many elements: the float32 copies stay in a GPU's cache,
# and small however many rows there are.
CHUNK_ELEMENTS = 4194304


@torch.no_grad()
def run(input: torch.Tensor) -> torch.Tensor:
    """Activate the rows of input [num_tokens, HIDDEN_SIZE]: [num_tokens, HIDDEN_SIZE / 2]."""
    num_tokens, hidden_size = input.shape
    assert hidden_size == HIDDEN_SIZE

    half = HIDDEN_SIZE // 2
    output = torch.empty(num_tokens, half, dtype=input.dtype, device=input.device)
    chunk = max(1, CHUNK_ELEMENTS // HIDDEN_SIZE)
    for first in range(0, num_tokens, chunk):
        rows = slice(first, first + chunk)
        gate = input[rows, :half].to(torch.float32)
        torch.mul(silu(gate), input[rows, half:], out=output[rows])
    return output
