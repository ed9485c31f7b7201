"""LayerNorm: every row loses its mean and is divided by its deviation.

output = (x - mean(x)) / sqrt(mean((x - mean(x))^2) + EPSILON)
         * weight  # only: weight
         + bias  # only: bias
(Ba, Kiros and Hinton 2016, arXiv:1607.06450)
"""

import torch
from torch.nn.functional import layer_norm

HIDDEN_SIZE = 4096
EPSILON = 1e-06
# Rows are taken in chunks of about this many elements: the float32 copies stay in a GPU's cache,
# and small however many rows there are.
CHUNK_ELEMENTS = 4194304


@torch.no_grad()
def run(
    hidden_states: torch.Tensor,
    weight: torch.Tensor,  # only: weight
    bias: torch.Tensor,  # only: bias
) -> torch.Tensor:
    """Normalise the rows of hidden_states [batch_size, HIDDEN_SIZE]."""
    batch_size, hidden_size = hidden_states.shape
    assert hidden_size == HIDDEN_SIZE
    assert weight.shape == (HIDDEN_SIZE,)  # only: weight
    assert bias.shape == (HIDDEN_SIZE,)  # only: bias

    scale = weight.to(torch.float32)  # only: weight
    shift = bias.to(torch.float32)  # only: bias
    output = torch.empty_like(hidden_states)
    chunk = max(1, CHUNK_ELEMENTS // HIDDEN_SIZE)
    for first in range(0, batch_size, chunk):
        rows = slice(first, first + chunk)
        x = hidden_states[rows].to(torch.float32)
        output[rows] = layer_norm(
            x,
            (HIDDEN_SIZE,),
            weight=scale,  # only: weight
            bias=shift,  # only: bias
            eps=EPSILON,
        )
    return output
