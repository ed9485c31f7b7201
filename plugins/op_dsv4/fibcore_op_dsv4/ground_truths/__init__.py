"""Chooses the implementations that this plugin's definitions are compared with."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from fibcore.plugin import Definition, GroundTruth, render
from fibcore_op_dsv4.definitions import kind_of
from fibcore_op_dsv4.names import FLASHMLA, KINDS, KindName

_FLASHMLA_HEADS = (64, 128)
_FLASHMLA_DIM = 512
HOPPER = (9, 0)


def choose(definition: Definition) -> tuple[GroundTruth, ...]:
    """FlashMLA for attention, where it is installed, and torch, written another way.

    Empty for a definition whose tensors are not this plugin's, and for other op types.
    """
    kind = kind_of(definition)
    if kind is None:
        return ()
    eps = _eps(definition)
    if "EPS" in _names(KINDS[kind].file) and eps is None:
        return ()  # nothing that is known to compute the same
    return tuple(_truths(definition, kind, eps))


def _truths(definition: Definition, kind: KindName, eps: float | None) -> list[GroundTruth]:
    found = []
    if kind in ("window", "compressed") and definition.const_axes["head_dim"] == _FLASHMLA_DIM:
        gpu: dict[str, Any] = {"device": "cuda", "packages": ("flash_mla",)}
        found.append(
            _truth(
                FLASHMLA, "torch", "flash_mla_sparse_mla_dsv4", None, min_capability=HOPPER, **gpu
            )
        )
    entry = f"torch_{KINDS[kind].file}"
    return [*found, _truth("torch in float64", "torch", entry, eps)]


def _truth(name: str, kind: Any, entry: str, eps: float | None, **more: Any) -> GroundTruth:
    text = (files(__package__) / f"{entry}.py").read_text(encoding="utf-8")
    constants = {"EPS": eps} if "EPS" in _names(entry.removeprefix("torch_")) else {}
    return GroundTruth(name, kind, entry, render(text, constants), **more)


def _names(file: str) -> tuple[str, ...]:
    """The constants that a function's ground truth has to be told."""
    return ("EPS",) if file in ("dsv4_k_store", "dsv4_index_k_store", "dsv4_q_norm_rope") else ()


def _eps(definition: Definition) -> float | None:
    """The epsilon of a reference that was rendered here; None where none says it."""
    for line in definition.reference.splitlines():
        name, _, value = line.partition(" = ")
        if name == "EPS":
            return float(value)
    return None
