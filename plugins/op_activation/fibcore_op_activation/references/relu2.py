"""The square of the positive part of every element (So and others 2021, arXiv:2109.08668).

output = max(x, 0)^2, where x is an element of input
"""

import torch

INTERMEDIATE_SIZE = 4096
# Rows are taken in chunks of about this many elements: the float32 copies stay in a GPU's cache,
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
        x = input[rows].to(torch.float32)
        output[rows] = x.relu_().square_()
    return output
