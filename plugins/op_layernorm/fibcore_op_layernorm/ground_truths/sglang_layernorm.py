"""LayerNorm by SGLang's PyTorch implementation, LayerNorm.forward_native."""

import types
from typing import Any

import torch

EPSILON = 1e-06


def sglang_layernorm(
    load_sglang: Any,
    hidden_states: torch.Tensor,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """The normalised rows [batch_size, hidden_size], computed with float32 parameters."""
    forward_native = load_sglang("srt/layers/layernorm.py", "LayerNorm.forward_native")
    # What the method reads of its layer.
    layer = types.SimpleNamespace(
        weight=None if weight is None else weight.to(torch.float32),
        bias=None if bias is None else bias.to(torch.float32),
        hidden_size=hidden_states.shape[-1],
        variance_epsilon=EPSILON,
        elementwise_affine=weight is not None,
        use_bias=bias is not None,
        dtype=torch.float32,
    )
    output: torch.Tensor = forward_native(layer, hidden_states)
    return output
