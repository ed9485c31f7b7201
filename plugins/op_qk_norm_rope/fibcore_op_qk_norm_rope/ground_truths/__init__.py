"""Chooses the implementations that a norm fused with a rotary embedding is compared with."""

from __future__ import annotations

from importlib.resources import files

from fibcore.plugin import Definition, GroundTruth, render
from fibcore_op_qk_norm_rope.definitions import epsilon, shape_of


def choose(definition: Definition) -> tuple[GroundTruth, ...]:
    """The formulas in float64: FlashInfer has no such kernel, and SGLang's is Triton's alone.

    Empty where the definition has other tensors or does not say its epsilon, and for the op types
    of other plugins.
    """
    eps = epsilon(definition)
    if shape_of(definition) is None or eps is None:
        return ()
    text = (files(__package__) / "torch_qk_norm_rope.py").read_text(encoding="utf-8")
    source = render(text, {"EPSILON": eps})
    return (GroundTruth("torch in float64", "torch", "torch_qk_norm_rope", source),)
