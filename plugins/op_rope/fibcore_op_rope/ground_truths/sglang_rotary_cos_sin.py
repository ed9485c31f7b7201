"""Cosines and sines by SGLang's class, Gemma3RotaryEmbedding."""

import types
from collections.abc import Callable
from typing import Any

import torch


def sglang_rotary_cos_sin(
    load_sglang: Callable[..., Any],
    positions: torch.Tensor,
    inv_freq: torch.Tensor,
    attention_scaling: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The cosines and sines [num_tokens, head_size]."""
    forward = load_sglang("srt/models/gemma3_causal.py", "Gemma3RotaryEmbedding.forward")
    layer = types.SimpleNamespace(
        rope_type="default", inv_freq=inv_freq, attention_scaling=attention_scaling
    )
    like = torch.empty(0, dtype=torch.bfloat16, device=positions.device)
    cos, sin = forward(layer, like, positions[None])
    return cos[0], sin[0]
