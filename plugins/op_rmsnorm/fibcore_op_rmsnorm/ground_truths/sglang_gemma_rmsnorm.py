"""Gemma's RMSNorm by SGLang's PyTorch implementation, GemmaRMSNorm.forward_native."""

import types
from collections.abc import Callable
from typing import Any

import torch

SGLANG_GEMMA_RMSNORM_EPSILON = 1e-06


def sglang_gemma_rmsnorm(
    load_sglang: Callable[..., Any],
    hidden_states: torch.Tensor,
    weight: torch.Tensor,
    residual: torch.Tensor | None = None,
) -> torch.Tensor:
    """The normalised rows [batch_size, hidden_size]; with a residual, those of the sum."""
    forward_native = load_sglang("srt/layers/layernorm.py", "GemmaRMSNorm.forward_native")
    layer = types.SimpleNamespace(weight=weight, variance_epsilon=SGLANG_GEMMA_RMSNORM_EPSILON)
    if residual is None:
        output: torch.Tensor = forward_native(layer, hidden_states)
        return output
    output, _ = forward_native(layer, hidden_states, residual)
    return output
