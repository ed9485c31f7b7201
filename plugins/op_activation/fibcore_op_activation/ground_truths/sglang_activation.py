"""Activations by SGLang's PyTorch implementations, the methods forward_native of its layers."""

import types
from collections.abc import Callable
from typing import Any

import torch

SGLANG_ACTIVATION_CLASS = "SiluAndMul"
SGLANG_ACTIVATION_APPROXIMATE = "none"


def sglang_activation(
    load_sglang: Callable[..., Any], input: torch.Tensor, **scalars: float
) -> torch.Tensor:
    """The activated rows in float32, which the methods round to where they are given it."""
    file, layer = "srt/layers/activation.py", SGLANG_ACTIVATION_CLASS
    # ReLU2 had a single method once, which every device runs.
    natively = getattr(load_sglang, "has")(file, f"{layer}.forward_native")  # noqa: B009
    method = load_sglang(file, f"{layer}.forward_native" if natively else f"{layer}.forward")
    # What the methods read of their layers.
    this = types.SimpleNamespace(approximate=SGLANG_ACTIVATION_APPROXIMATE, **scalars)
    output: torch.Tensor = method(this, input.to(torch.float32))
    return output
