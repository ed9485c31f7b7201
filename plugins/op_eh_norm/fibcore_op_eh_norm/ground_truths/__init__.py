"""Chooses the implementations that a definition is compared with."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from fibcore.plugin import Definition, GroundTruth, render
from fibcore_op_eh_norm.definitions import epsilon, is_known
from fibcore_op_eh_norm.names import sglang_has


def choose(definition: Definition) -> tuple[GroundTruth, ...]:
    """SGLang's kernel where it is installed, FlashInfer's norms, then torch in float64.

    Empty where the definition has other tensors or does not say its epsilon, and for the op types
    of other plugins.
    """
    eps = epsilon(definition)
    if eps is None or not is_known(definition):
        return ()
    gpu: dict[str, Any] = {"device": "cuda", "min_capability": (8, 0)}
    found = [
        _truth(
            "flashinfer.norm.rmsnorm, twice", "flashinfer", eps, packages=("flashinfer",), **gpu
        ),
        _truth("torch in float64", "torch", eps),
    ]
    if sglang_has(definition.const_axes["hidden_size"]):
        # An installed SGLang is imported, and not read: it is a kernel of CUDA.
        own = _truth("sglang fused_eh_norm", "torch", eps, "sglang", packages=("sglang",), **gpu)
        found.insert(0, own)
    return tuple(found)


def _truth(name: str, kind: str, eps: float, stem: str = "", **more: Any) -> GroundTruth:
    """The ground truth whose function is called after its stem, with this epsilon in its text."""
    entry = f"{stem or kind}_eh_norm"
    text = (files(__package__) / f"{entry}.py").read_text(encoding="utf-8")
    return GroundTruth(name, kind, entry, render(text, {"EPSILON": eps}), **more)
