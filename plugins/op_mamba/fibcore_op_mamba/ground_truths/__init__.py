"""Chooses the implementations that a selective state space is compared with."""

from __future__ import annotations

from importlib.resources import files

from fibcore.plugin import Definition, GroundTruth
from fibcore_op_mamba.definitions import form_of
from fibcore_op_mamba.names import FORMS

_WEIGHTS = ("x", "dt", "B", "C", "D", "dt_bias")
_HEAD_DIMS, _DSTATES = (64, 128), (64, 128, 256)


def choose(definition: Definition) -> tuple[GroundTruth, ...]:
    """FlashInfer's kernel for a decode step, and the recurrence in float64.

    Empty where the definition has other tensors, and for the op types of other plugins.
    """
    form = form_of(definition)
    if form is None:
        return ()
    recurrence = GroundTruth(
        "torch, token by token in float64", "torch", f"torch_{form}", _text("torch_mamba")
    )
    if not FORMS[form].flashinfer or not _flashinfer_has_it(definition):
        return (recurrence,)
    kernel = GroundTruth(
        FORMS[form].flashinfer,
        "flashinfer",
        "flashinfer_mamba_ssu",
        _text("flashinfer_mamba_ssu"),
        device="cuda",
        min_capability=(8, 0),
        packages=("flashinfer",),
    )
    return (kernel, recurrence)


def _flashinfer_has_it(definition: Definition) -> bool:
    """Whether FlashInfer's kernel takes these sizes and dtypes (tests/mamba of its source)."""
    sizes, inputs = definition.const_axes, definition.inputs
    return (
        sizes["head_dim"] in _HEAD_DIMS
        and sizes["dstate"] in _DSTATES
        and all(inputs[name].dtype == "bfloat16" for name in _WEIGHTS)
        and inputs["A"].dtype == "float32"
        and inputs["state"].dtype in ("bfloat16", "float16", "float32")
    )


def _text(entry: str) -> str:
    return (files(__package__) / f"{entry}.py").read_text(encoding="utf-8")
