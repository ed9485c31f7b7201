"""Chooses the implementations that a definition is compared with."""

from __future__ import annotations

from importlib.resources import files

from fibcore.plugin import Definition, GroundTruth, render
from fibcore_op_attn_residual.definitions import epsilon, is_known


def choose(definition: Definition) -> tuple[GroundTruth, ...]:
    """SGLang's PyTorch function, then torch in float64.

    Empty where the definition has other tensors or does not say its epsilon, and for the op types
    of other plugins.
    """
    eps = epsilon(definition)
    if eps is None or not is_known(definition):
        return ()
    return (
        _truth("sglang aggregate_stream_torch", "sglang", eps),
        _truth("torch in float64", "torch", eps),
    )


def _truth(name: str, kind: str, eps: float) -> GroundTruth:
    """The ground truth whose function is called after its kind, with this epsilon in its text."""
    entry = f"{kind}_attn_residual"
    text = (files(__package__) / f"{entry}.py").read_text(encoding="utf-8")
    return GroundTruth(name, kind, entry, render(text, {"EPSILON": eps}))
