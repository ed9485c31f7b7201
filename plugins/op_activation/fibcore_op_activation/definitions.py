"""Writes the definition of an activation, and reads what other tools' definitions compute."""

from __future__ import annotations

import ast
from importlib.resources import files

from fibcore.plugin import (
    Axis,
    Definition,
    Identity,
    Kernel,
    TensorSpec,
    const,
    in_name,
    render,
    scalar,
    tensor,
    var,
)
from fibcore_op_activation.kinds import KINDS, Kind
from fibcore_op_activation.names import OP_TYPE

HALF = "hidden_div_2"
"""The axis of a gated activation's output: half of what its input has."""


def define(kernel: Kernel) -> Definition:
    """The definition of a kernel that the matcher found; all tensors are bfloat16.

    Gated, as FlashInfer's trace templates have it: axes num_tokens (var), hidden_size, hidden_div_2
    (var, half of it); input [num_tokens, hidden_size], output [num_tokens, hidden_div_2]. Others:
    axes num_tokens (var), intermediate_size; input and output [num_tokens, intermediate_size].
    Scalars are float32.
    """
    kind, width = KINDS[str(kernel.parameters["kind"])], int(kernel.parameters["width"])
    template = files(__package__) / "references" / f"{kind.name}.py"
    inputs: dict[str, TensorSpec] = {
        "input": tensor(f"num_tokens {kind.width}", "bfloat16", _rows(kind))
    }
    inputs |= {name: scalar("float32", what) for name, what in kind.scalars.items()}
    columns = HALF if kind.gated else kind.width
    return Definition(
        name=kernel.name,
        op_type=OP_TYPE,
        description=_description(kind, width),
        tags=kernel.tags,
        axes=_axes(kind, width),
        inputs=inputs,
        outputs={"output": tensor(f"num_tokens {columns}", "bfloat16", "The activated rows.")},
        reference=render(template.read_text(encoding="utf-8"), {kind.width.upper(): width}),
        constraints=(f"hidden_size == 2 * {HALF}",) if kind.gated else (),
    )


def _axes(kind: Kind, width: int) -> dict[str, Axis]:
    tokens = {"num_tokens": var("Rows: tokens of a batch.")}
    if not kind.gated:
        return {**tokens, kind.width: const(width, "Elements of a row.")}
    return {
        **tokens,
        kind.width: const(width, "Elements of a row of input: gate, then the other factor."),
        HALF: var("Elements of a row of output: hidden_size / 2."),
    }


def _rows(kind: Kind) -> str:
    return "Rows of which the first half is gate, the second up." if kind.gated else "The rows."


def _description(kind: Kind, width: int) -> str:
    if kind.gated:
        return (
            f"{kind.formula}, where gate and up are the first and the second {width // 2} elements "
            "of a row of input."
        )
    return f"{kind.formula}, for each element x of rows of {width} elements."


def kind_of(definition: Definition) -> Kind | None:
    """What a definition computes, whoever wrote it; None where its reference does not tell.

    Its inputs and outputs have to be those of the kind.
    """
    gated = list(definition.axes) == ["num_tokens", "hidden_size", HALF]
    if not gated and list(definition.axes) != ["num_tokens", "intermediate_size"]:
        return None
    if list(definition.outputs) != ["output"]:
        return None
    inputs = tuple(definition.inputs)
    found = [k for k in KINDS.values() if k.gated == gated and k.inputs == inputs]
    name = _function(definition.reference) + "_and_mul" * gated
    for kind in found:
        if kind.scalars or kind.name == name:
            return kind
    return None


def _function(reference: str) -> str:
    """The function that a reference without scalars applies, by what it calls; "" for another."""
    called: set[str] = set()
    constants: set[object] = set()
    for node in ast.walk(ast.parse(reference)):
        if isinstance(node, ast.Call):
            function = node.func
            name = function.attr if isinstance(function, ast.Attribute) else ""
            called.add((function.id if isinstance(function, ast.Name) else name).rstrip("_"))
        elif isinstance(node, ast.Constant):
            constants.add(node.value)
    if "gelu" in called or "erf" in called or "tanh" in called:
        return "gelu_tanh" if "tanh" in called | constants else "gelu"
    if 1.702 in constants:
        return "quick_gelu"
    if "relu" in called:
        return "relu2" if called & {"square", "pow"} else "relu"
    return "silu" if called & {"silu", "sigmoid"} else ""


def identify(definition: Definition) -> Identity:
    """Which activation it is, where tensors do not tell; a size that the name gives otherwise."""
    kind = kind_of(definition)
    named = {"h": "hidden_size"} if "hidden_size" in definition.axes else {"i": "intermediate_size"}
    return Identity("" if kind is None else kind.name, tuple(in_name(definition, named)))
