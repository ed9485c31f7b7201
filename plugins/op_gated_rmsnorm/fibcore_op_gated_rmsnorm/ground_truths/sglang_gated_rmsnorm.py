"""RMSNorm with SiLU of a gate by SGLang's PyTorch code beside its kernel, rms_norm_ref."""

from collections.abc import Callable
from typing import Any

import torch

GROUP_SIZE = 128
GATE_FIRST = False
EPSILON = 1e-06


def rearrange(x: torch.Tensor, pattern: str, d: int = 0) -> torch.Tensor:
    """What the function has of einops: the last dimension into groups of d, and back."""
    return x.flatten(-2) if pattern.endswith("(g d)") else x.reshape(*x.shape[:-1], -1, d)


def sglang_gated_rmsnorm(
    load_sglang: Callable[..., Any],
    hidden_states: torch.Tensor,
    gate: torch.Tensor,
    weight: torch.Tensor,
) -> torch.Tensor:
    """The normalised rows [batch_size, hidden_size], with the gate's factor."""
    name, below = "rms_norm_ref", "ops/attention/fla/layernorm_gated.py"
    try:
        reference = load_sglang(f"kernels/{below}", name, rearrange=rearrange)
    except LookupError:  # where releases before 0.5.16 have it
        older = f"srt/layers/{below.removeprefix('ops/')}"
        reference = load_sglang(older, name, rearrange=rearrange)
    output: torch.Tensor = reference(
        hidden_states,
        weight,
        None,
        z=gate,
        eps=EPSILON,
        group_size=GROUP_SIZE,
        norm_before_gate=not GATE_FIRST,
    )
    return output
