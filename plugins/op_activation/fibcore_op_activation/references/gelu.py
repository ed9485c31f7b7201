"""GELU of every element (Hendrycks and Gimpel 2016, arXiv:1606.08415).

output = 0.5 * x * (1 + erf(x / sqrt(2))), where x is an element of input
"""

import torch
from torch.nn.functional import gelu

INTERMEDIATE_SIZE = 4096
# Rows are taken in chunks of about this many elements: the float64 copies stay in a GPU's cache,
# and small however many rows there are.
CHUNK_ELEMENTS = 4194304


@torch.no_grad()
def run(input: torch.Tensor) -> torch.Tensor:
    """Activate the rows of input [num_tokens, INTERMEDIATE_SIZE]."""
    num_tokens, intermediate_size = input.shape
    assert intermediate_size == INTERMEDIATE_SIZE

    output = torch.empty_like(input)
    chunk = max(1, CHUNK_ELEMENTS // INTERMEDIATE_SIZE)
    for first in range(0, num_tokens, chunk):
        rows = slice(first, first + chunk)
        # float32 loses all digits of 1 + erf where x is below -4.
        x = input[rows].to(torch.float64)
        output[rows] = gelu(x)
    return output
