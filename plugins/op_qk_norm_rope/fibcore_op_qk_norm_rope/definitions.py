"""Writes the definition of a kernel, and reads what other tools' definitions say."""

from __future__ import annotations

import re
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
from fibcore_op_qk_norm_rope.names import AXES, OP_TYPE, VAR_AXES, Shape

_WORDS = ("gate", "mrope", "partial")


def define(kernel: Kernel) -> Definition:
    """The definition of a kernel that the matcher found.

    Axes: num_tokens, num_qo_heads, num_kv_heads, max_seq_len (var), head_size, rotary_dim; tensors
    are laid out as SGLang's function takes them, with heads as an axis of their own.
    """
    parameters = kernel.parameters
    shape = Shape(
        int(parameters["head_size"]),
        int(parameters["rotary_dim"]),
        bool(parameters["gated"]),
        bool(parameters["sections"]),
    )
    eps = float(parameters["eps"])
    taken, given = _tensors(shape)
    gate = " A gate behind each query head comes out as it is." if shape.gated else ""
    several = ", each pair by one of a token's three positions" if shape.sections else ""
    return Definition(
        name=kernel.name,
        op_type=OP_TYPE,
        description=(
            f"RMSNorm of query and key heads of {shape.head_size} elements, times 1 + weight, then "
            f"rotary position embedding of their first {shape.rotary_dim}: element j and element "
            f"j + {shape.rotary_dim // 2} are a pair{several}.{gate} Epsilon is {eps!r}."
        ),
        tags=kernel.tags,
        axes=_axes(shape),
        constraints=("gated_size == 2 * head_size",) if shape.gated else (),
        inputs=taken,
        outputs=given,
        reference=_reference(shape, eps),
    )


def _reference(shape: Shape, eps: float) -> str:
    has = {
        "gate": shape.gated,
        "mrope": shape.sections,
        "partial": shape.rotary_dim < shape.head_size,
    }
    template = files(__package__) / "references" / "qk_norm_rope.py"
    words = {word for word, is_there in has.items() if is_there}
    source = select(template.read_text(encoding="utf-8"), words, _WORDS)
    sizes = {"HEAD_SIZE": shape.head_size, "ROTARY_DIM": shape.rotary_dim, "EPSILON": eps}
    if shape.gated:
        sizes["GATED_SIZE"] = 2 * shape.head_size
    return render(source, sizes)


def _axes(shape: Shape) -> dict[str, Axis]:
    axes: dict[str, Axis] = {
        "num_tokens": var("Tokens of the batch."),
        "num_qo_heads": var("Query heads."),
        "num_kv_heads": var("Key heads."),
        "head_size": const(shape.head_size, "Elements of a head, which are normalised together."),
        "rotary_dim": const(shape.rotary_dim, "Elements of a head that are turned, its first."),
    }
    if shape.gated:
        axes["gated_size"] = const(2 * shape.head_size, "Elements of a query head and its gate.")
    if shape.sections:
        axes["num_positions"] = const(AXES, "Positions of a token: time, height, width.")
        axes["num_pairs"] = const(shape.rotary_dim // 2, "Pairs of a head that are turned.")
    return {**axes, "max_seq_len": var("Positions in the table.")}


def _tensors(shape: Shape) -> tuple[dict[str, TensorSpec], dict[str, TensorSpec]]:
    queries, keys = "num_tokens num_qo_heads head_size", "num_tokens num_kv_heads head_size"
    every = {
        "q": tensor(queries, "bfloat16", "Queries."),
        "q_gate": tensor(
            "num_tokens num_qo_heads gated_size", "bfloat16", "Queries, each with its gate behind."
        ),
        "k": tensor(keys, "bfloat16", "Keys."),
        "q_weight": tensor("head_size", "bfloat16", "1 + it multiplies normalised queries."),
        "k_weight": tensor("head_size", "bfloat16", "1 + it multiplies normalised keys."),
        "cos_sin_cache": tensor(
            "max_seq_len rotary_dim",
            "float32",
            f"A row for each position: cosines of {shape.rotary_dim // 2} pairs, then their sines.",
        ),
        "positions": tensor(
            "num_positions num_tokens" if shape.sections else "num_tokens",
            "int64",
            "Rows of the table for each token, from 0 to max_seq_len - 1.",
        ),
        "axis_map": tensor("num_pairs", "int32", "Which position turns a pair, from 0 to 2."),
    }
    outputs = {
        "q_out": tensor(queries, "bfloat16", "Queries, normalised and turned."),
        "k_out": tensor(keys, "bfloat16", "Keys, normalised and turned."),
        "gate": tensor(queries, "bfloat16", "The gates, by themselves."),
    }
    return (
        {name: every[name] for name in shape.inputs},
        {name: outputs[name] for name in shape.outputs},
    )


def shape_of(definition: Definition) -> Shape | None:
    """What a definition computes, by its tensors and axes; None where they are others."""
    axes = definition.const_axes
    if definition.op_type != OP_TYPE or not {"head_size", "rotary_dim"} <= set(axes):
        return None
    inputs = definition.inputs
    shape = Shape(axes["head_size"], axes["rotary_dim"], "q_gate" in inputs, "axis_map" in inputs)
    taken, given = _tensors(shape)
    have = {**inputs, **definition.outputs}
    known = (
        tuple(inputs) == shape.inputs
        and tuple(definition.outputs) == shape.outputs
        and set(definition.var_axes) == set(VAR_AXES)
        and all(have[name].shape == spec.shape for name, spec in {**taken, **given}.items())
    )
    return shape if known else None


def identify(definition: Definition) -> Identity:
    """No variant, and sizes that the name gives otherwise."""
    sizes = {"d": "head_size", "rd": "rotary_dim"}
    return Identity("", tuple(in_name(definition, sizes)))


def epsilon(definition: Definition) -> float | None:
    """The epsilon of a definition: as its description says, else as its reference sets it."""
    said = re.search(r"[Ee]psilon\D*?(\d[\d.]*(?:[eE][-+]?\d+)?)", definition.description or "")
    if said:
        return float(said[1].rstrip("."))
    found = re.search(r"\b(?:EPSILON|EPS|eps) = ([\d.eE+-]+)", definition.reference)
    return None if found is None else float(found[1])
