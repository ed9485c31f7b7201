"""Rows times SiLU of a gate by SGLang's PyTorch method, Mixer2RMSNormGated.forward_native."""

import types
from collections.abc import Callable
from typing import Any

import torch


def sglang_silu_gate(
    load_sglang: Callable[..., Any], hidden_states: torch.Tensor, gate: torch.Tensor
) -> torch.Tensor:
    """The rows [batch_size, hidden_size], with the gate's factor."""
    file = "srt/layers/attention/mamba/mixer2_rms_norm_gated.py"
    forward_native = load_sglang(file, "Mixer2RMSNormGated.forward_native")
    # What the method reads of its layer where there is no norm.
    layer = types.SimpleNamespace(use_rms_norm=False)
    output: torch.Tensor = forward_native(layer, hidden_states, gate)
    return output
