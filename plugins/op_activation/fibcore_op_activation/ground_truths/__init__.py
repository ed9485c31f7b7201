"""Chooses the implementations that an activation's definition is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files

from fibcore.plugin import Definition, GroundTruth, render
from fibcore_op_activation.definitions import kind_of
from fibcore_op_activation.kinds import Kind
from fibcore_op_activation.names import OP_TYPE

# Kind to SGLang's class, and its argument `approximate` where it has one.
_SGLANG = {
    "silu_and_mul": ("SiluAndMul", "none"),
    "gelu_and_mul": ("GeluAndMul", "none"),
    "gelu_tanh_and_mul": ("GeluAndMul", "tanh"),
    "situ_and_mul": ("SituAndMul", "none"),
    "gelu_tanh": ("NewGELU", "none"),
    "quick_gelu": ("QuickGELU", "none"),
    "relu2": ("ReLU2", "none"),
}
# Kind to torch's function, and its argument `approximate` where it has one.
_TORCH = {
    "silu": ("silu", ""),
    "gelu": ("gelu", "none"),
    "gelu_tanh": ("gelu", "tanh"),
    "relu": ("relu", ""),
}
# Kinds that torch has no function of: each has a file of its name here.
_COMPOSED = ("situ_and_mul", "quick_gelu", "relu2")
# Kind to what is added to its second half.
_CLAMPED = {"silu_and_mul_clamp": 0.0, "swiglu_oai_and_mul": 1.0}


def choose(definition: Definition) -> tuple[GroundTruth, ...]:
    """FlashInfer's CUDA kernel, SGLang's PyTorch method, torch in float64: those that there are.

    Empty where it is not known what a definition computes, and for another plugin's op types.
    """
    if definition.op_type != OP_TYPE:
        return ()
    kind = kind_of(definition)
    if kind is None:
        return ()
    return tuple(truth for one in (_flashinfer, _sglang, _torch) for truth in one(kind))


def _flashinfer(kind: Kind) -> tuple[GroundTruth, ...]:
    if not kind.flashinfer:
        return ()
    source = _source("flashinfer_act_and_mul", {"KIND": kind.name})
    return (
        GroundTruth(
            name=f"flashinfer.activation.{kind.name}",
            kind="flashinfer",
            entry="flashinfer_act_and_mul",
            source=source,
            device="cuda",
            min_capability=(8, 0),
            packages=("flashinfer",),
        ),
    )


def _sglang(kind: Kind) -> tuple[GroundTruth, ...]:
    if kind.name not in _SGLANG:
        return ()
    layer, form = _SGLANG[kind.name]
    source = _source("sglang_activation", {"CLASS": layer, "APPROXIMATE": form})
    return (GroundTruth(f"sglang {layer}.forward_native", "sglang", "sglang_activation", source),)


def _torch(kind: Kind) -> tuple[GroundTruth, ...]:
    entry, constants = "torch_activation", dict[str, object]()
    if kind.name in _COMPOSED:
        entry = f"torch_{kind.name}"
    elif kind.name in _CLAMPED:
        entry, constants = "torch_clamped", {"OFFSET": _CLAMPED[kind.name]}
    elif kind.name in _TORCH:
        function, form = _TORCH[kind.name]
        constants = {"FUNCTION": function, "APPROXIMATE": form}
    else:
        return ()
    return (GroundTruth("torch in float64", "torch", entry, _source(entry, constants)),)


def _source(stem: str, constants: Mapping[str, object]) -> str:
    return render(files(__package__) / f"{stem}.py", constants)
