"""Gemma's RMSNorm of a sum: the residual is added first, then every row is normalised.

x = hidden_states + residual
output = x / sqrt(mean(x^2) + EPSILON) * (1 + weight)

The sum is taken in float32 and normalised as it is, before any rounding, as FlashInfer's
gemma_fused_add_rmsnorm does. SGLang's GemmaRMSNorm.forward_native rounds the sum first, which moves
an element by half a unit in the last place of its dtype. The sum itself is not an output here.
"""

import torch
from torch.nn.functional import rms_norm

HIDDEN_SIZE = 4096
EPSILON = 1e-06
# Rows are taken in chunks of about this many elements: the float32 copies stay small however many
# rows there are.
CHUNK_ELEMENTS = 33554432


@torch.no_grad()
def run(hidden_states: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Normalise the rows of hidden_states + residual [batch_size, HIDDEN_SIZE]."""
    batch_size, hidden_size = hidden_states.shape
    assert hidden_size == HIDDEN_SIZE
    assert residual.shape == (batch_size, HIDDEN_SIZE)
    assert weight.shape == (HIDDEN_SIZE,)

    scale = 1.0 + weight.to(torch.float32)
    output = torch.empty_like(hidden_states)
    chunk = max(1, CHUNK_ELEMENTS // HIDDEN_SIZE)
    for first in range(0, batch_size, chunk):
        rows = slice(first, first + chunk)
        x = hidden_states[rows].to(torch.float32)
        x += residual[rows]
        output[rows] = rms_norm(x, (HIDDEN_SIZE,), scale, EPSILON)
    return output
