"""Rows times SiLU of a gate (Elfwing, Uchibe and Doya 2017, arXiv:1702.03118).

output = x * g / (1 + exp(-g)), where x and g are elements of hidden_states and gate; float32 until
the end
"""

import torch
from torch.nn.functional import silu

HIDDEN_SIZE = 4096
# Rows are taken in chunks of about this many elements: the float32 copies stay small however many
# rows there are.
CHUNK_ELEMENTS = 33554432


@torch.no_grad()
def run(hidden_states: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
    """Multiply the rows of hidden_states [batch_size, HIDDEN_SIZE] by SiLU of their gate."""
    batch_size, hidden_size = hidden_states.shape
    assert hidden_size == HIDDEN_SIZE
    assert gate.shape == (batch_size, HIDDEN_SIZE)

    output = torch.empty_like(hidden_states)
    chunk = max(1, CHUNK_ELEMENTS // HIDDEN_SIZE)
    for first in range(0, batch_size, chunk):
        rows = slice(first, first + chunk)
        output[rows] = hidden_states[rows] * silu(gate[rows].to(torch.float32))
    return output
