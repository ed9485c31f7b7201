"""Chooses the implementations that a causal convolution is compared with."""

from __future__ import annotations

from importlib.resources import files

from fibcore.plugin import Definition, GroundTruth, render
from fibcore_op_conv.definitions import form_of, has_silu


def choose(definition: Definition) -> tuple[GroundTruth, ...]:
    """The convolution of torch in float64: FlashInfer has none, and SGLang's are kernels alone.

    Empty where the definition has other tensors, and for the op types of other plugins.
    """
    form = form_of(definition)
    if form is None:
        return ()
    text = (files(__package__) / "torch_causal_conv1d.py").read_text(encoding="utf-8")
    source = render(text, {"SILU": has_silu(definition)})
    return (GroundTruth("torch.nn.functional.conv1d in float64", "torch", f"torch_{form}", source),)
