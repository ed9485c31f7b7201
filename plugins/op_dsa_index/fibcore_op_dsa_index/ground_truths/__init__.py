"""Chooses the implementations that this plugin's definitions are compared with."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from fibcore.plugin import Definition, GroundTruth, render
from fibcore_op_dsa_index.definitions import kind_of
from fibcore_op_dsa_index.names import KINDS, SGLANG_SIZES

HOPPER = (9, 0)


def choose(definition: Definition) -> tuple[GroundTruth, ...]:
    """SGLang's kernel where it is installed and has the sizes, then torch in float64.

    Empty for a definition whose tensors are not this plugin's, and for other op types.
    """
    kind = kind_of(definition)
    if kind is None:
        return ()
    eps = _eps(definition)
    if kind == "k_store" and eps is None:
        return ()  # nothing that is known to compute the same
    stem, sizes = KINDS[kind].op_type, definition.const_axes
    found = [_truth("torch in float64", f"torch_{stem}", eps)]
    if all(sizes[axis] == size for axis, size in SGLANG_SIZES.items()):
        gpu: dict[str, Any] = {
            "device": "cuda",
            "packages": ("sglang",),
            "min_capability": HOPPER,
        }
        found.insert(0, _truth(f"sglang {KINDS[kind].function}", f"sglang_{stem}", eps, **gpu))
    return tuple(found)


def _truth(name: str, entry: str, eps: float | None, **more: Any) -> GroundTruth:
    # An installed SGLang is imported, and not read: these are kernels of CUDA.
    text = (files(__package__) / f"{entry}.py").read_text(encoding="utf-8")
    constants = {"EPS": eps} if "\nEPS = " in text else {}
    return GroundTruth(name, "torch", entry, render(text, constants), **more)


def _eps(definition: Definition) -> float | None:
    """The epsilon of a reference that was rendered here; None where none says it."""
    for line in definition.reference.splitlines():
        name, _, value = line.partition(" = ")
        if name == "EPS":
            return float(value)
    return None
