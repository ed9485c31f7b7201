"""Writes the definition of a causal convolution, and reads what other tools' compute."""

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
    TensorSpec,
    const,
    in_name,
    render,
    select,
    tensor,
    var,
)
from fibcore_op_conv.names import OP_TYPE, OUTPUTS, VAR_AXES, Form, Shape, inputs

_WORDS = ("bias", "silu")
_WHAT: dict[Form, str] = {
    "update": "one token of each sequence, with the tokens before in a cache",
    "prefill": "whole sequences, one after the other, with the tokens before in a state",
}


def define(kernel: Kernel) -> Definition:
    """The definition of a kernel that the matcher found.

    Axes: batch_size and state_cache_size, or total_seq_len, num_seqs and len_cu_seqlens (var), dim,
    width, state_len. Tensors are laid out as SGLang's functions have them, tokens of a prompt one
    after the other.
    """
    parameters = kernel.parameters
    form = cast(Form, parameters["form"])
    shape = Shape(
        int(parameters["dim"]),
        int(parameters["width"]),
        bool(parameters["silu"]),
        bool(parameters["bias"]),
        str(parameters["weight_dtype"]),
    )
    taken, given = _tensors(form, shape.weight_dtype, bias=shape.bias)
    words = {word for word, has in (("bias", shape.bias), ("silu", shape.silu)) if has}
    template = files(__package__) / "references" / f"{form}.py"
    source = select(template.read_text(encoding="utf-8"), words, _WORDS)
    sizes = {"DIM": shape.dim, "WIDTH": shape.width, "STATE_LEN": shape.width - 1}
    behind = ", ".join((*["plus a bias"] * shape.bias, *["through SiLU"] * shape.silu))
    return Definition(
        name=kernel.name,
        op_type=OP_TYPE,
        description=(
            f"Causal convolution of each channel over {shape.width} tokens, {_WHAT[form]}: the "
            f"sum of the last {shape.width} inputs, each times a weight"
            f"{', ' + behind if behind else ''}."
        ),
        tags=kernel.tags,
        axes=_axes(form, shape),
        constraints=(
            ("state_cache_size >= batch_size",)
            if form == "update"
            else ("len_cu_seqlens == num_seqs + 1", "total_seq_len == cu_seqlens[-1].item()")
        ),
        inputs=taken,
        outputs=given,
        reference=render(source, sizes),
    )


def _axes(form: Form, shape: Shape) -> dict[str, Axis]:
    constants = {
        "dim": const(shape.dim, "Channels of a rank."),
        "width": const(shape.width, "Tokens that an output sees, its own included."),
        "state_len": const(shape.width - 1, "Tokens that a state keeps, width - 1."),
    }
    if form == "update":
        return {
            "batch_size": var("Sequences."),
            "state_cache_size": var("States in the cache."),
            **constants,
        }
    return {
        "total_seq_len": var("Tokens of all sequences."),
        "num_seqs": var("Sequences."),
        **constants,
        "len_cu_seqlens": var("Length of cu_seqlens, num_seqs + 1."),
    }


def _tensors(
    form: Form, weight_dtype: str, *, bias: bool
) -> tuple[dict[str, TensorSpec], dict[str, TensorSpec]]:
    rows, states = {
        "update": ("batch_size dim", "state_cache_size dim state_len"),
        "prefill": ("total_seq_len dim", "num_seqs dim state_len"),
    }[form]
    before, behind = {
        "update": ("Cache of the last tokens.", "The cache, with the tokens behind."),
        "prefill": ("Tokens before the sequences, 0 for new ones.", "The last tokens."),
    }[form]
    every = {
        "x": tensor(rows, "bfloat16", "Tokens."),
        "conv_state": tensor(states, "bfloat16", f"{before} The oldest one is first."),
        "weight": tensor(
            "dim width", weight_dtype, "Weights; the last one is that of the own token."
        ),
        "bias": tensor("dim", weight_dtype, "Added to the sums."),
        "conv_state_indices": tensor(
            "batch_size",
            "int32",
            "Place of each sequence's state in the cache, each another one; -1 for a row that is "
            "padding, whose output is 0.",
        ),
        "cu_seqlens": tensor(
            "len_cu_seqlens", "int64", "Where sequences begin among the tokens, and their end."
        ),
    }
    output, state = OUTPUTS
    return {name: every[name] for name in inputs(form, bias=bias)}, {
        output: tensor(rows, "bfloat16", "What the tokens become."),
        state: tensor(states, "bfloat16", behind),
    }


def form_of(definition: Definition) -> Form | None:
    """Which form it is by its tensors and axes; None where they are others."""
    if definition.op_type != OP_TYPE or "weight" not in definition.inputs:
        return None
    for form, axes in VAR_AXES.items():
        bias = "bias" in definition.inputs
        taken, given = _tensors(form, definition.inputs["weight"].dtype, bias=bias)
        wanted, have = {**taken, **given}, {**definition.inputs, **definition.outputs}
        if (
            tuple(definition.inputs) == tuple(taken)
            and tuple(definition.outputs) == OUTPUTS
            and set(definition.var_axes) == set(axes)
            and all(have[name].shape == spec.shape for name, spec in wanted.items())
        ):
            return form
    return None


def has_silu(definition: Definition) -> bool:
    """Whether SiLU comes behind the sums, by the reference, whoever wrote it."""
    return re.search(r"silu|swish|sigmoid", definition.reference, re.IGNORECASE) is not None


def identify(definition: Definition) -> Identity:
    """The activation, and what contradicts sizes or name."""
    variant = "silu" if has_silu(definition) else ""
    return Identity(variant, tuple(_contradictions(definition)))


def _contradictions(definition: Definition) -> Iterator[str]:
    yield from in_name(definition, {"d": "dim", "w": "width"})
    width, length = (definition.const_axes.get(axis) for axis in ("width", "state_len"))
    if width is not None and length is not None and length < width - 1:
        yield f"state_len is {length}, too few for a width of {width}"
    if re.search(r"_silu(?=_|$)", definition.name) and not has_silu(definition):
        yield "the name says silu, and the reference has none"
