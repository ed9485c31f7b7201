"""Chooses the implementations that these norms are compared with."""

from __future__ import annotations

from importlib.resources import files

from fibcore.plugin import Definition, GroundTruth, render
from fibcore_op_split_rmsnorm.definitions import constant, form_of


def choose(definition: Definition) -> tuple[GroundTruth, ...]:
    """The formulas in float64: FlashInfer has no such kernels, and SGLang's are Triton's alone.

    Empty where the definition has other tensors or does not say its constants, and for the op
    types of other plugins.
    """
    form = form_of(definition)
    if form is None:
        return ()
    text = (files(__package__) / f"torch_{form}.py").read_text(encoding="utf-8")
    if form == "apply":
        ranks, eps = constant(definition, "RANKS"), constant(definition, "EPSILON")
        if ranks is None or eps is None:
            return ()
        text = render(text, {"RANKS": int(ranks), "EPSILON": eps})
    return (GroundTruth("torch in float64", "torch", f"torch_{form}", text),)
