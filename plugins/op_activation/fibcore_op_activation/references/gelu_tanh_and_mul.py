"""GELU, in its form with tanh, of the first half of every row, times the second half.

output = 0.5 * gate * (1 + tanh(sqrt(2 / pi) * (gate + 0.044715 * gate^3))) * up
where gate and up are the halves of a row of input (the form of Hendrycks and Gimpel 2016,
arXiv:1606.08415, in the GEGLU of Shazeer 2020, arXiv:2002.05202, without its projections)
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
        # float32 loses all digits of 1 + tanh where gate is below -4.
        gate = input[rows, :half].to(torch.float64)
        torch.mul(gelu(gate, approximate="tanh"), input[rows, half:], out=output[rows])
    return output
