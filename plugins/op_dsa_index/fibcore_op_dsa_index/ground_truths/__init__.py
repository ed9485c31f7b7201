"""Chooses the implementations that this plugin's definitions are compared with."""

from __future__ import annotations

from importlib.resources import files

from fibcore.plugin import Definition, GroundTruth, render
from fibcore_op_dsa_index.definitions import kind_of
from fibcore_op_dsa_index.names import KINDS


def choose(definition: Definition) -> tuple[GroundTruth, ...]:
    """Torch in float64, written another way; no library has these functions.

    Empty for a definition whose tensors are not this plugin's, and for other op types.
    """
    kind = kind_of(definition)
    if kind is None:
        return ()
    entry, eps = f"torch_{KINDS[kind].op_type}", _eps(definition)
    if kind == "k_store" and eps is None:
        return ()  # nothing that is known to compute the same
    text = (files(__package__) / f"{entry}.py").read_text(encoding="utf-8")
    constants = {} if eps is None else {"EPS": eps}
    return (GroundTruth("torch in float64", "torch", entry, render(text, constants)),)


def _eps(definition: Definition) -> float | None:
    """The epsilon of a reference that was rendered here; None where none says it."""
    for line in definition.reference.splitlines():
        name, _, value = line.partition(" = ")
        if name == "EPS":
            return float(value)
    return None
