"""Causal convolution of each channel over whole sequences, with the tokens before in a state.

A channel's output is the sum of its last WIDTH inputs, each times a weight: the state has the
WIDTH - 1 inputs before a sequence, the oldest one first.
"""

import torch

DIM = 2048
WIDTH = 4
STATE_LEN = 3
# Tokens are taken in chunks of about this many elements: the float32 products stay small however
# many tokens there are.
CHUNK_ELEMENTS = 33554432


@torch.no_grad()
def run(
    x: torch.Tensor,
    conv_state: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,  # only: bias
    cu_seqlens: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The output [total_seq_len, DIM] and the last tokens of each sequence."""
    total, num_seqs = x.shape[0], conv_state.shape[0]
    assert x.shape == (total, DIM)
    assert conv_state.shape == (num_seqs, DIM, STATE_LEN)
    assert weight.shape == (DIM, WIDTH)
    assert bias.shape == (DIM,)  # only: bias
    assert cu_seqlens.shape == (num_seqs + 1,)
    assert total == cu_seqlens[-1].item()

    # Every sequence with its state before it: token t stands STATE_LEN places behind first[t].
    sequences = torch.arange(num_seqs, device=x.device)
    own = sequences.repeat_interleave(cu_seqlens.diff(), output_size=total)
    first = torch.arange(total, device=x.device) + STATE_LEN * own
    state = torch.arange(STATE_LEN, device=x.device)
    before = (cu_seqlens[:-1] + STATE_LEN * sequences)[:, None] + state
    tokens = x.new_empty(total + STATE_LEN * num_seqs, DIM)
    tokens[before] = conv_state.transpose(1, 2)
    tokens[first + STATE_LEN] = x

    output, weights = torch.empty_like(x), weight.float()
    chunk = max(1, CHUNK_ELEMENTS // DIM)
    for start in range(0, total, chunk):
        seen = first[start : start + chunk]
        sums = tokens[seen] * weights[:, 0]
        for w in range(1, WIDTH):
            sums += tokens[seen + w] * weights[:, w]
        sums += bias  # only: bias
        sums = torch.nn.functional.silu(sums)  # only: silu
        output[start : start + chunk] = sums
    last = (cu_seqlens[1:] + STATE_LEN * sequences)[:, None] + state
    return output, tokens[last].transpose(1, 2).contiguous()
