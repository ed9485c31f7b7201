"""Cosines and sines by torch's polar form of complex numbers."""

import torch


def torch_rotary_cos_sin(
    positions: torch.Tensor, inv_freq: torch.Tensor, attention_scaling: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The cosines and sines [num_tokens, head_size]."""
    angles = torch.outer(positions.to(torch.float32), inv_freq)
    turn = torch.polar(torch.full_like(angles, attention_scaling), angles)
    cos, sin = (part.to(torch.bfloat16).repeat(1, 2) for part in (turn.real, turn.imag))
    return cos, sin
