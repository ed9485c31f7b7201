"""Writes the definition of a gated norm, and reads what other tools' definitions say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files
from typing import cast

from fibcore.plugin import (
    Axis,
    Definition,
    Identity,
    Kernel,
    const,
    in_name,
    render,
    select,
    tensor,
    var,
)
from fibcore_op_gated_rmsnorm import silu_gate
from fibcore_op_gated_rmsnorm.names import INPUTS, OP_TYPE, SILU_GATE, Activation, Shape

_WORDS = ("sigmoid", "first", "groups")


def define(kernel: Kernel) -> Definition:
    """The definition of a kernel that the matcher found.

    Axes: batch_size (var), hidden_size, and where a row has several groups num_groups and
    group_size. Inputs: hidden_states and gate [batch_size, hidden_size], weight [hidden_size];
    output: output, as hidden_states. All bfloat16.
    """
    parameters = kernel.parameters
    if kernel.op_type == SILU_GATE:
        return silu_gate.define(kernel)
    shape = Shape(
        int(parameters["hidden_size"]),
        int(parameters["group_size"]),
        cast(Activation, parameters["activation"]),
        bool(parameters["gate_first"]),
    )
    eps, rows = float(parameters["eps"]), "batch_size hidden_size"
    return Definition(
        name=kernel.name,
        op_type=OP_TYPE,
        description=_description(shape, eps),
        tags=kernel.tags,
        axes=_axes(shape),
        constraints=("hidden_size == num_groups * group_size",) if shape.grouped else (),
        inputs={
            "hidden_states": tensor(rows, "bfloat16", "What is normalised."),
            "gate": tensor(rows, "bfloat16", "Its activation multiplies the rows."),
            "weight": tensor("hidden_size", "bfloat16", "Multiplies every row."),
        },
        outputs={"output": tensor(rows, "bfloat16", "The normalised rows with gate and weight.")},
        reference=_reference(shape, eps),
    )


def _description(shape: Shape, eps: float) -> str:
    factor = f"{shape.activation}(gate)"
    what = f"hidden_states * {factor}" if shape.gate_first else "hidden_states"
    over = f"groups of {shape.group_size}" if shape.grouped else f"rows of {shape.hidden_size}"
    times = "weight" if shape.gate_first else f"weight, times {factor}"
    return f"RMSNorm of {what} over {over} elements, times {times}. Epsilon is {eps!r}."


def _axes(shape: Shape) -> dict[str, Axis]:
    axes: dict[str, Axis] = {
        "batch_size": var("Rows: tokens, or tokens times heads."),
        "hidden_size": const(shape.hidden_size, "Columns of a row."),
    }
    if shape.grouped:
        groups = shape.hidden_size // shape.group_size
        axes["num_groups"] = const(groups, "Groups of a row.")
        axes["group_size"] = const(shape.group_size, "Columns that are normalised together.")
    return axes


def _reference(shape: Shape, eps: float) -> str:
    has = {
        "sigmoid": shape.activation == "sigmoid",
        "first": shape.gate_first,
        "groups": shape.grouped,
    }
    template = files(__package__) / "references" / "gated_rmsnorm.py"
    words = {word for word, is_there in has.items() if is_there}
    source = select(template.read_text(encoding="utf-8"), words, _WORDS)
    sizes: dict[str, int | float] = {"HIDDEN_SIZE": shape.hidden_size, "EPSILON": eps}
    if shape.grouped:
        sizes["NUM_GROUPS"] = shape.hidden_size // shape.group_size
        sizes["GROUP_SIZE"] = shape.group_size
    return render(source, sizes)


# --- definitions of others ---------------------------------------------------------------------


def shape_of(definition: Definition) -> Shape | None:
    """What a definition computes, by its axes and its reference.

    None where its tensors or axes are others than this plugin's, or its reference does not say it.
    """
    axes, text = definition.const_axes, definition.reference
    if (
        definition.op_type != OP_TYPE
        or tuple(definition.inputs) != INPUTS
        or len(definition.outputs) != 1
        or definition.var_axes != ("batch_size",)
        or "hidden_size" not in axes
    ):
        return None
    activation, first = _activation(text), _gate_first(text)
    if activation is None or first is None:
        return None
    group = axes.get("group_size", axes["hidden_size"])
    return Shape(axes["hidden_size"], group, activation, first)


_GATE = re.compile(r"\b(silu|swish|sigmoid|gated)\(")
_NORM = re.compile(r"\b(rms_norm|rsqrt|sqrt)\(")


def _activation(reference: str) -> Activation | None:
    """What a reference calls; where both stand, SiLU."""
    code = reference[max(0, reference.find("import torch")) :]
    if re.search(r"\b(silu|swish)\(", code):
        return "silu"
    return "sigmoid" if re.search(r"\bsigmoid\(", code) else None


def _gate_first(reference: str) -> bool | None:
    """Whether the last factor of the gate stands before the norm in a reference."""
    code = reference[max(0, reference.find("def run(")) :]
    gates, norm = list(_GATE.finditer(code)), _NORM.search(code)
    return None if not gates or norm is None else gates[-1].start() < norm.start()


def identify(definition: Definition) -> Identity:
    """The variant, and what contradicts sizes or name."""
    if definition.op_type == SILU_GATE:
        return silu_gate.identify(definition)
    shape = shape_of(definition)
    return Identity("" if shape is None else shape.variant, tuple(_contradictions(definition)))


def _contradictions(definition: Definition) -> Iterator[str]:
    yield from in_name(definition, {"h": "hidden_size", "g": "group_size"})
    hidden, groups, size = (
        definition.const_axes.get(axis) for axis in ("hidden_size", "num_groups", "group_size")
    )
    if hidden is not None and size is not None and hidden % size:
        yield f"hidden_size is {hidden}, no multiple of group_size {size}"
    elif hidden and size and groups is not None and groups * size != hidden:
        yield f"{groups} groups of {size} are not {hidden} elements"


def epsilon(definition: Definition) -> float | None:
    """The epsilon of a definition: as its description says, else as its reference sets it."""
    said = re.search(r"[Ee]psilon\D*?(\d[\d.]*(?:[eE][-+]?\d+)?)", definition.description or "")
    if said:
        return float(said[1].rstrip("."))
    found = re.search(
        r"^\s*(?:EPSILON|EPS|eps) = ([\d.eE+-]+)$", definition.reference, re.MULTILINE
    )
    return None if found is None else float(found[1])
