"""Chooses the implementations that lightning attention is compared with."""

from __future__ import annotations

from importlib.resources import files

from fibcore.plugin import Definition, GroundTruth
from fibcore_op_lightning.definitions import form_of


def choose(definition: Definition) -> tuple[GroundTruth, ...]:
    """The recurrence in float64: FlashInfer has none, and SGLang's are kernels alone.

    Empty where the definition has other tensors, and for the op types of other plugins.
    """
    form = form_of(definition)
    if form is None:
        return ()
    text = (files(__package__) / "torch_lightning.py").read_text(encoding="utf-8")
    return (GroundTruth("torch, token by token in float64", "torch", f"torch_{form}", text),)
