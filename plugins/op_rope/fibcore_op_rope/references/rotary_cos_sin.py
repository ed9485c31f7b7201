"""Cosines and sines of the angles of every token, for a rotary position embedding.

    cos[t, j] = cos[t, j + NUM_PAIRS] = scaling * cos(positions[t] * inv_freq[j])

and sines likewise. The angle is a float32 number, as models have it. (Su et al. 2021,
arXiv:2104.09864)
"""

import torch

NUM_PAIRS = 128


@torch.no_grad()
def run(
    positions: torch.Tensor, inv_freq: torch.Tensor, attention_scaling: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The cosines and sines [num_tokens, 2 NUM_PAIRS] of positions [num_tokens]."""
    assert inv_freq.shape == (NUM_PAIRS,)
    angles = (positions[:, None] * inv_freq).repeat(1, 2)  # float32
    cos, sin = angles.cos().mul_(attention_scaling), angles.sin_().mul_(attention_scaling)
    return cos.to(torch.bfloat16), sin.to(torch.bfloat16)
