"""Writes the definition of a rotary position embedding, and reads what other tools' compute."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from importlib.resources import files

from fibcore.plugin import (
    Definition,
    Identity,
    Kernel,
    const,
    in_name,
    render,
    scalar,
    select,
    tensor,
    var,
)
from fibcore_op_rope.names import (
    ANGLES,
    ANGLES_OUTPUTS,
    GPTJ,
    INPUTS,
    NEOX,
    OP_TYPE,
    OUTPUTS,
    ROWS,
    ROWS_VAR_AXES,
    STYLES,
    VAR_AXES,
)

# Marks what only a reference has that leaves elements as they are.
_PARTIAL = "partial"
_WORDS = (*STYLES, _PARTIAL, "sections", "split", "interleaved")
_SEVERAL = ("num_axes", "num_tokens")
_PAIRS = {
    NEOX: "element j and element j + {half}",
    GPTJ: "elements 2 j and 2 j + 1",
}


def define(kernel: Kernel) -> Definition:
    """The definition of a kernel that the matcher found, as the published dataset has it.

    Axes: num_tokens, num_qo_heads, num_kv_heads, max_seq_len (var), head_size, rotary_dim. Inputs:
    q [num_tokens, num_qo_heads, head_size] and k [num_tokens, num_kv_heads, head_size] bfloat16,
    cos_sin_cache [max_seq_len, rotary_dim] float32, positions [num_tokens] int64; outputs: q_out
    and k_out, as q and k.
    """
    if kernel.parameters.get("rows"):
        return _define_rows(kernel)
    if kernel.parameters.get("angles"):
        return _define_angles(kernel)
    head_size = int(kernel.parameters["head_size"])
    rotary_dim = int(kernel.parameters["rotary_dim"])
    style = str(kernel.parameters["style"])
    sections = tuple(int(part) for part in str(kernel.parameters.get("sections", "")).split())
    interleaved = bool(kernel.parameters.get("interleaved"))
    template = files(__package__) / "references" / "rope_with_cos_sin_cache.py"
    words = {style, *((_PARTIAL,) if rotary_dim < head_size else ())}
    words |= {"sections", "interleaved" if interleaved else "split"} if sections else set()
    source = select(template.read_text(encoding="utf-8"), words, _WORDS)
    constants: dict[str, object] = {"HEAD_SIZE": head_size, "ROTARY_DIM": rotary_dim}
    constants |= {"SECTIONS": sections} if sections else {}
    queries, keys = "num_tokens num_qo_heads head_size", "num_tokens num_kv_heads head_size"
    return Definition(
        name=kernel.name,
        op_type=OP_TYPE,
        description=_description(style, head_size, rotary_dim)
        + (_several(sections, interleaved=interleaved) if sections else ""),
        tags=kernel.tags,
        axes={
            "num_tokens": var("Tokens of the batch."),
            "num_qo_heads": var("Query heads."),
            "num_kv_heads": var("Key heads; 1 for the shared part of latent attention's keys."),
            "head_size": const(head_size, "Elements of a head."),
            "rotary_dim": const(rotary_dim, "Elements of a head that are turned, its first ones."),
            "max_seq_len": var("Positions in the table."),
            **({"num_axes": const(3, "Positions of a token.")} if sections else {}),
        },
        inputs={
            "q": tensor(queries, "bfloat16", "Queries."),
            "k": tensor(keys, "bfloat16", "Keys."),
            "cos_sin_cache": tensor(
                "max_seq_len rotary_dim",
                "float32",
                f"A row for each position: cosines of the {rotary_dim // 2} pairs, then their "
                "sines, with whatever scaling the model has.",
            ),
            "positions": tensor(
                "num_axes num_tokens" if sections else "num_tokens",
                "int64",
                "Row of the table for each token, from 0 to max_seq_len - 1.",
            ),
        },
        outputs={
            "q_out": tensor(queries, "bfloat16", "Queries, turned."),
            "k_out": tensor(keys, "bfloat16", "Keys, turned."),
        },
        reference=render(source, constants),
    )


def _define_rows(kernel: Kernel) -> Definition:
    """The definition of a kernel that is given every token's cosines and sines.

    Axes: num_tokens, num_qo_heads, num_kv_heads (var), head_size. Inputs: q [num_tokens,
    num_qo_heads, head_size] and k [num_tokens, num_kv_heads, head_size] bfloat16, cos and sin
    [num_tokens, head_size] float32; outputs: q_out and k_out, as q and k.
    """
    head_size = int(kernel.parameters["head_size"])
    template = files(__package__) / "references" / "rope_with_cos_sin.py"
    queries, keys = "num_tokens num_qo_heads head_size", "num_tokens num_kv_heads head_size"
    rows = "num_tokens head_size"
    return Definition(
        name=kernel.name,
        op_type=OP_TYPE,
        description=(
            f"Rotary position embedding of queries and keys, with the cosines and sines of every "
            f"token: of {head_size} elements of a head, pair j is "
            f"{_PAIRS[NEOX].format(half=head_size // 2)} ({NEOX} style). Each element has a "
            "cosine and a sine of its own."
        ),
        tags=kernel.tags,
        axes={
            "num_tokens": var("Tokens of the batch."),
            "num_qo_heads": var("Query heads."),
            "num_kv_heads": var("Key heads."),
            "head_size": const(head_size, "Elements of a head, all of which are turned."),
        },
        inputs={
            "q": tensor(queries, "bfloat16", "Queries."),
            "k": tensor(keys, "bfloat16", "Keys."),
            "cos": tensor(rows, "float32", "Cosines of each token, one for each element."),
            "sin": tensor(rows, "float32", "Sines likewise."),
        },
        outputs={
            "q_out": tensor(queries, "bfloat16", "Queries, turned."),
            "k_out": tensor(keys, "bfloat16", "Keys, turned."),
        },
        reference=render(template.read_text(encoding="utf-8"), {"HEAD_SIZE": head_size}),
    )


def _define_angles(kernel: Kernel) -> Definition:
    """The definition of a kernel that gives every token's cosines and sines.

    Axes: num_tokens (var), head_size, num_pairs. Inputs: positions [num_tokens] int64, inv_freq
    [num_pairs] float32, attention_scaling float32; outputs: cos and sin [num_tokens, head_size]
    bfloat16.
    """
    head_size = int(kernel.parameters["head_size"])
    template = files(__package__) / "references" / "rotary_cos_sin.py"
    rows = "num_tokens head_size"
    return Definition(
        name=kernel.name,
        op_type=OP_TYPE,
        description=(
            "Cosines and sines for a rotary position embedding: those of a token's position times "
            f"each of {head_size // 2} frequencies, twice one after the other, times "
            "attention_scaling."
        ),
        tags=kernel.tags,
        axes={
            "num_tokens": var("Tokens of the batch."),
            "head_size": const(head_size, "Elements of a head."),
            "num_pairs": const(head_size // 2, "Pairs of them, each with a frequency."),
        },
        inputs={
            "positions": tensor("num_tokens", "int64", "Position of each token."),
            "inv_freq": tensor("num_pairs", "float32", "Angle of each pair from token to token."),
            "attention_scaling": scalar("float32", "What all are multiplied by, 1 for most."),
        },
        outputs={
            "cos": tensor(rows, "bfloat16", "Cosines of each token, one for each element."),
            "sin": tensor(rows, "bfloat16", "Sines likewise."),
        },
        reference=render(template.read_text(encoding="utf-8"), {"NUM_PAIRS": head_size // 2}),
    )


def gives_angles(definition: Definition) -> bool:
    """Whether inputs, outputs and axes are those of a kernel that gives cosines and sines."""
    return (
        tuple(definition.inputs) == ANGLES
        and tuple(definition.outputs) == ANGLES_OUTPUTS
        and definition.var_axes == ("num_tokens",)
        and {"head_size", "num_pairs"} == set(definition.const_axes)
    )


def _description(style: str, head_size: int, rotary_dim: int) -> str:
    pairs = _PAIRS[style].format(half=rotary_dim // 2)
    part = "all" if rotary_dim == head_size else f"the first {rotary_dim}"
    rest = "" if rotary_dim == head_size else " The others stay as they are."
    return (
        f"Rotary position embedding of queries and keys, with cosines and sines from a table: "
        f"of {part} of {head_size} elements of a head, pair j is {pairs} ({style} style).{rest}"
    )


def _several(sections: Sequence[int], *, interleaved: bool) -> str:
    parts = " and ".join(str(section) for section in sections)
    how = ", one pair after the other in turn" if interleaved else ", one section after the other"
    return f" A token has three positions (MRoPE), which turn {parts} pairs{how}."


def identify(definition: Definition) -> Identity:
    """The style and the sections, and what contradicts them, the sizes or the name."""
    variant = " ".join((style_of(definition), *sections_of(definition)))
    return Identity(variant, tuple(_contradictions(definition)))


def sections_of(definition: Definition) -> tuple[str, ...]:
    """The sections of a reference that was written here, and whether they take turns.

    Empty where a token has one position, or others wrote it.
    """
    if definition.inputs.get("positions", scalar("int64")).shape != _SEVERAL:
        return ()
    found: tuple[str, ...] = ()
    for node in ast.parse(definition.reference).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "SECTIONS":
            found = tuple(str(part) for part in ast.literal_eval(node.value))
    turns = any(isinstance(n, ast.Mod) for n in ast.walk(ast.parse(definition.reference)))
    return (*found, *(("interleaved",) if found and turns else ()))


def style_of(definition: Definition) -> str:
    """Which elements are a pair, "neox" or "gptj", by the reference, whoever wrote it.

    It is gptj where something takes every second element, or ends in a dimension of 2, and neox
    where nothing does.
    """
    interleaves = any(map(_interleaves, ast.walk(ast.parse(definition.reference))))
    return GPTJ if interleaves else NEOX


def _interleaves(node: ast.AST) -> bool:
    """Whether it takes every second element, or pairs that stand side by side."""
    if isinstance(node, ast.Slice):
        return _is_two(node.step)
    if not isinstance(node, ast.Call):
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    if isinstance(node.func, ast.Name) and node.func.id == "slice":
        return _is_two(node.args[-1]) and len(node.args) > 2
    if name in ("view_as_complex", "repeat_interleave"):
        return True
    if name in ("view", "reshape", "unflatten") and node.args:
        last = node.args[-1]
        return _is_two(last.elts[-1] if isinstance(last, ast.Tuple) and last.elts else last)
    return False


def _is_two(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Constant) and node.value == 2


def has_known_tensors(definition: Definition) -> bool:
    """Whether inputs, outputs and axes are those that `define` gives."""
    several = {"num_axes"} if has_sections(definition) else set()
    return (
        tuple(definition.inputs) == INPUTS
        and tuple(definition.outputs) == OUTPUTS
        and definition.var_axes == VAR_AXES
        and {"head_size", "rotary_dim", *several} == set(definition.const_axes)
    )


def has_sections(definition: Definition) -> bool:
    """Whether a token has several positions, each of which turns some of the pairs."""
    return definition.inputs.get("positions", scalar("int64")).shape == _SEVERAL


def has_rows(definition: Definition) -> bool:
    """Whether inputs, outputs and axes are those of a kernel that is given cosines and sines."""
    return (
        tuple(definition.inputs) == ROWS
        and tuple(definition.outputs) == OUTPUTS
        and definition.var_axes == ROWS_VAR_AXES
        and {"head_size"} == set(definition.const_axes)
    )


def _contradictions(definition: Definition) -> Iterator[str]:
    yield from in_name(definition, {"d": "head_size", "rd": "rotary_dim"})
    named = re.search(r"(?:^|_)(neox|gptj)(?=_|$)", definition.name)
    style = style_of(definition)
    if named is not None and named[1] != style:
        yield f"the name says {named[1]}, and the reference has pairs as {style} has"
    head_size = definition.const_axes.get("head_size")
    rotary_dim = definition.const_axes.get("rotary_dim")
    if rotary_dim is not None and rotary_dim % 2:
        yield f"rotary_dim is {rotary_dim}, and pairs need an even number"
    sections = [int(part) for part in sections_of(definition) if part.isdigit()]
    if rotary_dim is not None and sections and 2 * sum(sections) != rotary_dim:
        yield f"sections of {sum(sections)} pairs, and rotary_dim is {rotary_dim}"
    if head_size is not None and rotary_dim is not None and rotary_dim > head_size:
        yield f"rotary_dim is {rotary_dim}, more than head_size, {head_size}"
