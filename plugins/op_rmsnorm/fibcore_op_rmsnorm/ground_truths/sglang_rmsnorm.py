"""RMSNorm by SGLang's PyTorch implementation, RMSNorm.forward_native."""

import types
from collections.abc import Callable
from typing import Any

import torch

SGLANG_RMSNORM_EPSILON = 1e-06


def sglang_rmsnorm(
    load_sglang: Callable[..., Any],
    hidden_states: torch.Tensor,
    weight: torch.Tensor,
    residual: torch.Tensor | None = None,
) -> torch.Tensor:
    """The normalised rows [batch_size, hidden_size]; with a residual, those of the sum."""
    forward_native = load_sglang("srt/layers/layernorm.py", "RMSNorm.forward_native")
    # What the method reads of its layer, at the defaults of RMSNorm's constructor.
    layer = types.SimpleNamespace(
        weight=weight,
        hidden_size=weight.shape[0],
        variance_epsilon=SGLANG_RMSNORM_EPSILON,
        variance_size_override=None,
        cast_x_before_out_mul=False,
        fp32_residual=False,
        override_orig_dtype=None,
    )
    if residual is None:
        output: torch.Tensor = forward_native(layer, hidden_states)
        return output
    output, _ = forward_native(layer, hidden_states, residual)
    return output
