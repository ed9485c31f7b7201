"""Chooses the implementations that hyper-connections are compared with."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from fibcore.plugin import Definition, GroundTruth, render
from fibcore_op_mhc.definitions import CONSTANTS, HEAD_CONSTANTS, kind_of
from fibcore_op_mhc.names import FILES, FLASHINFER, FLASHINFER_STREAMS, Kind


def choose(definition: Definition) -> tuple[GroundTruth, ...]:
    """FlashInfer where it has the function, then SGLang, then torch in float64.

    Empty for a definition whose tensors are not this plugin's, and for other op types.
    """
    kind = kind_of(definition)
    needed = 0 if kind == "post" else len(HEAD_CONSTANTS if kind == "head" else CONSTANTS[:5])
    if kind is None or len(_constants(definition)) < needed:
        return ()  # nothing that is known to compute the same
    return tuple(_truths(definition, kind))


def _truths(definition: Definition, kind: Kind) -> list[GroundTruth]:
    constants = _constants(definition)
    found = []
    if kind in FLASHINFER and definition.const_axes["hc"] == FLASHINFER_STREAMS:
        gpu: dict[str, Any] = {
            "device": "cuda",
            "packages": ("flashinfer",),
            "min_capability": (8, 0),
        }
        found.append(
            _truth(FLASHINFER[kind], "flashinfer", f"flashinfer_{FILES[kind]}", constants, **gpu)
        )
    if kind in ("post", "pre"):
        name = f"sglang _{FILES[kind]}_torch"
        found.append(_truth(name, "sglang", f"sglang_{FILES[kind]}", constants))
    if kind == "head":
        found.append(_truth("sglang hc_head_torch", "sglang", "sglang_mhc_head", constants))
    stem = "torch_mhc_pre_norm" if kind == "pre_norm" else f"torch_{FILES[kind]}"
    return [*found, _truth("torch in float64", "torch", stem, constants)]


def _truth(
    name: str, kind: Any, entry: str, constants: dict[str, object], **more: Any
) -> GroundTruth:
    text = (files(__package__) / f"{entry}.py").read_text(encoding="utf-8")
    used = {n: value for n, value in constants.items() if f"\n{n} = " in text}
    return GroundTruth(name, kind, entry, render(text, used), **more)


def _constants(definition: Definition) -> dict[str, object]:
    """The constants of a reference that was rendered here."""
    found: dict[str, object] = {}
    for line in definition.reference.splitlines():
        name, _, value = line.partition(" = ")
        if name.lower() in CONSTANTS:
            found[name] = int(value) if name == "SINKHORN_REPEAT" else float(value)
    return found
