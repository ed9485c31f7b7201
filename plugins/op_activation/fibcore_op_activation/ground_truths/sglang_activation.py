"""Activations by SGLang's PyTorch implementations, the methods forward_native of its layers."""

import types
from typing import Any

import torch

CLASS = "SiluAndMul"
APPROXIMATE = "none"


def sglang_activation(load_sglang: Any, input: torch.Tensor, **scalars: float) -> torch.Tensor:
    """The activated rows in float32, which the methods round to where they are given it."""
    file, layer = "srt/layers/activation.py", CLASS
    # ReLU2 had a single method once, which every device runs.
    natively = load_sglang.has(file, f"{layer}.forward_native")
    method = load_sglang(file, f"{layer}.forward_native" if natively else f"{layer}.forward")
    # What the methods read of their layers.
    this = types.SimpleNamespace(approximate=APPROXIMATE, **scalars)
    output: torch.Tensor = method(this, input.to(torch.float32))
    return output
