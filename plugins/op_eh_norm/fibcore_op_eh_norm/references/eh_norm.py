"""RMSNorm of a token's embedding and of the hidden state before it, side by side in one row.

Each row is divided by its root mean square and multiplied by a weight of its own:
x / sqrt(mean(x^2) + EPSILON) * weight   (Zhang and Sennrich 2019, arXiv:1910.07467)
"""

import torch
from torch.nn.functional import rms_norm

HIDDEN_SIZE = 4096
EH_SIZE = 8192
EPSILON = 1e-06
# Rows are taken in chunks of about this many elements: the float32 copies stay small however many
# rows there are.
CHUNK_ELEMENTS = 33554432


@torch.no_grad()
def run(
    inputs_embeds: torch.Tensor,
    previous_hidden: torch.Tensor,
    enorm_weight: torch.Tensor,
    hnorm_weight: torch.Tensor,
) -> torch.Tensor:
    """Normalise the rows of both [batch_size, HIDDEN_SIZE] into [batch_size, EH_SIZE]."""
    batch_size = inputs_embeds.shape[0]
    assert inputs_embeds.shape == previous_hidden.shape == (batch_size, HIDDEN_SIZE)
    assert enorm_weight.shape == hnorm_weight.shape == (HIDDEN_SIZE,)

    output = inputs_embeds.new_empty(batch_size, EH_SIZE)
    chunk = max(1, CHUNK_ELEMENTS // EH_SIZE)
    halves = (output[:, :HIDDEN_SIZE], output[:, HIDDEN_SIZE:])
    rows = ((inputs_embeds, enorm_weight), (previous_hidden, hnorm_weight))
    for half, (x, weight) in zip(halves, rows, strict=True):
        scale = weight.to(torch.float32)
        for first in range(0, batch_size, chunk):
            own = slice(first, first + chunk)
            half[own] = rms_norm(x[own].to(torch.float32), (HIDDEN_SIZE,), scale, EPSILON)
    return output
