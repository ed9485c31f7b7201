"""Makes one latent vector of several tokens', and keeps what later ones need of new tokens.

A token has numbers for the latent vector and a score for each of them; a softmax over the tokens of
a window, element by element, weighs them. With overlap a window is as long again as the
tokens that it is for: those before count with numbers and scores of their own, the first ones of
each half.
"""

import torch

HEAD_DIM = 512
STATE_DIM = 2048
WINDOW = 8


@torch.no_grad()
def run(
    kv_score_input: torch.Tensor,
    kv_score_buffer: torch.Tensor,
    ape: torch.Tensor,
    window_indices: torch.Tensor,
    write_indices: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Latent vectors [num_windows, head_dim], and a copy of the buffer with the new tokens."""
    num_tokens = kv_score_input.shape[0]
    assert kv_score_input.shape == (num_tokens, STATE_DIM)
    assert kv_score_buffer.shape[1] == STATE_DIM
    assert ape.shape == (WINDOW, HEAD_DIM)
    assert window_indices.shape[1] == WINDOW
    assert write_indices.shape == (num_tokens,)
    there = window_indices >= 0
    states = torch.cat((kv_score_buffer, kv_score_input))[window_indices.clamp(min=0).long()]
    kv, score = states.chunk(2, -1)
    before = WINDOW // 2  # only: overlap
    first, second = kv.chunk(2, -1), score.chunk(2, -1)  # only: overlap
    kv = torch.cat((first[0][:, :before], first[1][:, before:]), 1)  # only: overlap
    score = torch.cat((second[0][:, :before], second[1][:, before:]), 1)  # only: overlap
    score = (score + ape).masked_fill(~there[..., None], torch.finfo(torch.float32).min)
    kv = kv.masked_fill(~there[..., None], 0)
    output = (torch.softmax(score, 1) * kv).sum(1)
    updated = kv_score_buffer.clone()
    kept = write_indices >= 0
    updated[write_indices[kept].long()] = kv_score_input[kept]
    return output, updated
