"""GELU of the first half of every row, times the second half.

output = 0.5 * gate * (1 + erf(gate / sqrt(2))) * up, where gate and up are the halves of a row of
input (GEGLU without its projections: Shazeer 2020, arXiv:2002.05202)
"""

import torch
from torch.nn.functional import gelu

HIDDEN_SIZE = 28672
# Rows are taken in chunks of about this many elements: the float64 copies stay in a GPU's cache,
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
        # float32 loses all digits of 1 + erf where gate is below -4.
        gate = input[rows, :half].to(torch.float64)
        torch.mul(gelu(gate), input[rows, half:], out=output[rows])
    return output
