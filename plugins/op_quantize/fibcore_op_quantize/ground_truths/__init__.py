"""Chooses the implementations that a quantisation's definition is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files

from fibcore.plugin import Definition, GroundTruth, render
from fibcore_op_quantize.definitions import kind_of
from fibcore_op_quantize.kinds import Kind
from fibcore_op_quantize.names import OP_TYPE

_COVERED = {"row": 0, "all": -1}


def choose(definition: Definition) -> tuple[GroundTruth, ...]:
    """FlashInfer's kernel (Blackwell), SGLang's PyTorch function, torch in float64.

    Those that there are; empty where it is not known what a definition computes, and for another
    plugin's op types.
    """
    if definition.op_type != OP_TYPE:
        return ()
    kind = kind_of(definition)
    if kind is None:
        return ()
    return (*_flashinfer(kind), *_sglang(kind), _torch(kind))


def _flashinfer(kind: Kind) -> tuple[GroundTruth, ...]:
    if not kind.flashinfer:
        return ()
    return (
        GroundTruth(
            name=f"flashinfer.{kind.flashinfer}",
            kind="flashinfer",
            entry=f"flashinfer_{kind.flashinfer}",
            source=_source("flashinfer_mx_quantize"),
            device="cuda",
            min_capability=(10, 0),  # its conversions to these formats are Blackwell's instructions
            packages=("flashinfer",),
        ),
    )


def _sglang(kind: Kind) -> tuple[GroundTruth, ...]:
    if kind.name != "per_tensor_quant_fp8":
        return ()
    source = _source("sglang_input_to_float8")
    return (GroundTruth("sglang input_to_float8", "sglang", "sglang_input_to_float8", source),)


def _torch(kind: Kind) -> GroundTruth:
    entry, stem, constants = "torch_quantize", "torch_quantize", _constants(kind)
    if kind.flashinfer:
        entry, stem, constants = f"torch_{kind.flashinfer}", "torch_mx_quantize", {}
    elif kind.given:
        entry, stem, constants = "torch_static_quantize", "torch_static_quantize", {}
    return GroundTruth("torch in float64", "torch", entry, _source(stem, constants))


def _constants(kind: Kind) -> Mapping[str, object]:
    integers = kind.dtype == "int8"
    floor = kind.covers == "group" or integers
    return {
        "GROUP": kind.group or _COVERED.get(kind.covers, 0),
        "LARGEST": 127.0 if integers else 448.0,
        "SMALLEST": 1e-10 if floor else 0.0,
        "POWERS": "powers" in kind.words,
        "INTEGERS": integers,
    }


def _source(stem: str, constants: Mapping[str, object] | None = None) -> str:
    return render(files(__package__) / f"{stem}.py", constants or {})
