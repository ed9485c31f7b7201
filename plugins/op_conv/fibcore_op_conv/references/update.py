"""Causal convolution of each channel, one token a sequence, with the tokens before in a cache.

A channel's output is the sum of its last WIDTH inputs, each times a weight: the state has the
WIDTH - 1 inputs before the token, the oldest one first.
"""

import torch

DIM = 2048
WIDTH = 4
STATE_LEN = 3


@torch.no_grad()
def run(
    x: torch.Tensor,
    conv_state: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,  # only: bias
    conv_state_indices: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The output [batch_size, DIM] and the cache with the tokens behind."""
    batch_size = x.shape[0]
    assert x.shape == (batch_size, DIM)
    assert conv_state.shape[1:] == (DIM, STATE_LEN)
    assert weight.shape == (DIM, WIDTH)
    assert bias.shape == (DIM,)  # only: bias
    assert conv_state_indices.shape == (batch_size,)

    # A row without a place in the cache is padding: its output is 0.
    rows = (conv_state_indices >= 0).nonzero()[:, 0]
    places = conv_state_indices[rows]
    window = torch.cat((conv_state[places], x[rows, :, None]), dim=-1)
    total = (window.float() * weight).sum(dim=-1)
    total = total + bias  # only: bias
    total = torch.nn.functional.silu(total)  # only: silu
    output, new_conv_state = torch.zeros_like(x), conv_state.clone()
    output[rows] = total.to(x.dtype)
    new_conv_state[places] = window[..., 1:]
    return output, new_conv_state
