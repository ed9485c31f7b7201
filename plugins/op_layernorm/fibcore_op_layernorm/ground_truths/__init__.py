"""Chooses the implementations that a LayerNorm definition is compared with."""

from __future__ import annotations

from importlib.resources import files

from fibcore.plugin import Definition, GroundTruth, render
from fibcore_op_layernorm.definitions import epsilon, known_form
from fibcore_op_layernorm.names import OP_TYPE


def choose(definition: Definition) -> tuple[GroundTruth, ...]:
    """FlashInfer's CUDA kernel where there are weight and bias, SGLang's method, torch in float64.

    Empty where the definition has other tensors or does not say its epsilon, and for the op types
    of other plugins.
    """
    if definition.op_type != OP_TYPE:
        return ()
    form, eps = known_form(definition), epsilon(definition)
    if form is None or eps is None:
        return ()
    flashinfer = GroundTruth(
        name="flashinfer.norm.layernorm",
        kind="flashinfer",
        entry="flashinfer_layernorm",
        source=_source("flashinfer_layernorm", eps),
        device="cuda",
        min_capability=(8, 0),
        packages=("flashinfer",),
    )
    others = (
        GroundTruth(
            "sglang LayerNorm.forward_native",
            "sglang",
            "sglang_layernorm",
            _source("sglang_layernorm", eps),
        ),
        GroundTruth(
            "torch in float64", "torch", "torch_layernorm", _source("torch_layernorm", eps)
        ),
    )
    return ((flashinfer,) if form.parameters == ("weight", "bias") else ()) + others


def _source(stem: str, eps: float) -> str:
    return render(files(__package__) / f"{stem}.py", {"EPSILON": eps})
