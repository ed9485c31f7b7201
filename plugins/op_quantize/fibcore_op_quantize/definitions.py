"""Writes the definition of a quantisation, and reads what other tools' definitions compute."""

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
    select,
    tensor,
    var,
)
from fibcore_op_quantize.kinds import KINDS, Kind
from fibcore_op_quantize.names import OP_TYPE

WORDS = ("powers", "int8", "dynamic")
"""What lines of references are marked with."""


def define(kernel: Kernel) -> Definition:
    """The definition of a kernel that the matcher found.

    Axes: M (var), K, and as the kind has them num_groups, packed_k, scalar. Inputs: the rows
    [M, K] bfloat16, a scale [scalar] float32 where one is given. Outputs: quantized [M, K] or
    [M, packed_k], scales [M, num_groups], [M] or [scalar]: what a GEMM of the format takes as A and
    A_scale.
    """
    kind, k = KINDS[str(kernel.parameters["kind"])], int(kernel.parameters["K"])
    return Definition(
        name=kernel.name,
        op_type=OP_TYPE,
        description=f"{kind.description}. Rows have {k} elements.",
        tags=kernel.tags,
        axes=axes(kind, k),
        inputs=_inputs(kind),
        outputs=_outputs(kind),
        reference=_reference(kind, k),
    )


def axes(kind: Kind, k: int) -> dict[str, Axis]:
    """The axes of a kind; those that follow from K are const."""
    found = {"M": var("Rows: tokens."), "K": const(k, "Elements of a row.")}
    if kind.group:
        about = f"Groups of {kind.group} elements in a row: K / {kind.group}."
        found["num_groups"] = const(k // kind.group, about)
    if kind.packed:
        found["packed_k"] = const(k // 2, "Bytes of a row: K / 2.")
    if kind.covers == "all" or kind.given:
        found["scalar"] = const(1, "One scale for all.")
    return found


def _inputs(kind: Kind) -> dict[str, TensorSpec]:
    found = {kind.input: tensor("M K", "bfloat16", "The rows.")}
    if kind.given:
        about = "All rows are divided by it."
        if kind.packed:
            about = "Multiplies all rows first: 448 · 6 / their largest element, usually."
        found[kind.given] = tensor("scalar", "float32", about)
    return found


def _outputs(kind: Kind) -> dict[str, TensorSpec]:
    columns = "packed_k" if kind.packed else "K"
    about = "The rows, divided by their scales."
    if kind.packed:
        about += " Two numbers e2m1 a byte, the first in its four lower bits."
    found = {"quantized": tensor(f"M {columns}", kind.dtype, about)}
    if kind.gives_scales:
        shape = {"group": "M num_groups", "row": "M", "all": "scalar"}[kind.covers]
        found["scales"] = tensor(shape, kind.scale_dtype, _about_scales(kind))
    return found


def _about_scales(kind: Kind) -> str:
    covered = {"group": "a group", "row": "a row", "all": "all rows"}[kind.covers]
    about = f"Multiplies {covered} to give back what was quantised"
    if kind.scale_dtype == "int8":
        about += ", as 2^(b - 127), b being the byte without a sign (e8m0)"
    if kind.packed:
        about += f", divided by {kind.given}"
    return f"{about}."


def _reference(kind: Kind, k: int) -> str:
    text = (files(__package__) / "references" / f"{kind.reference}.py").read_text("utf-8")
    constants = {"K": k}
    if kind.group:
        constants["NUM_GROUPS"] = k // kind.group
    return render(select(text, kind.words, WORDS), constants)


def kind_of(definition: Definition) -> Kind | None:
    """What a definition computes, whoever wrote it; None where its tensors are those of no kind.

    Scales in powers of two are told from others by what the reference calls.
    """
    powers = "frexp" in _called(definition.reference)
    for kind in KINDS.values():
        if _fits(kind, definition) and (kind.words != ("powers",) or powers):
            if kind.reference == "group_fp8" and powers and not kind.words:
                continue
            return kind
    return None


def _fits(kind: Kind, definition: Definition) -> bool:
    k = definition.const_axes.get("K")
    if k is None:
        return False
    own = (axes(kind, k), _inputs(kind), _outputs(kind))
    given = (definition.axes, definition.inputs, definition.outputs)
    return all(_bare(a) == _bare(b) for a, b in zip(own, given, strict=True))


def _bare(parts: object) -> list[tuple[object, ...]]:
    """Axes or tensors without their descriptions, in order."""
    found: list[tuple[object, ...]] = []
    for name, part in parts.items():  # type: ignore[attr-defined]
        if isinstance(part, Axis):
            found.append((name, part.type, part.value))
        else:
            found.append((name, part.shape, part.dtype))
    return found


def _called(reference: str) -> set[str]:
    nodes = ast.walk(ast.parse(reference))
    functions = (node.func for node in nodes if isinstance(node, ast.Call))
    return {f.attr for f in functions if isinstance(f, ast.Attribute)}


def identify(definition: Definition) -> Identity:
    """Whether scales are powers of two, which tensors do not tell; a size that the name denies."""
    kind = kind_of(definition)
    powers = kind is not None and kind.reference == "group_fp8" and bool(kind.words)
    return Identity("powers" if powers else "", tuple(in_name(definition, {"k": "K"})))
