"""Writes the definition of a kernel, and reads what other tools' definitions say."""

from __future__ import annotations

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
    scalar,
    tensor,
    var,
)
from fibcore_op_lightning.names import FORMS, OP_TYPE, OUTPUTS, Form

_WHAT: dict[Form, str] = {
    "decode": "one token of each sequence, with states in a cache",
    "prefill": "whole sequences, one after the other",
}
_CONSTRAINTS: dict[Form, tuple[str, ...]] = {
    "decode": ("state_cache_size >= batch_size",),
    "prefill": ("len_cu_seqlens == num_seqs + 1", "total_seq_len == cu_seqlens[-1].item()"),
}


def define(kernel: Kernel) -> Definition:
    """The definition of a kernel that the matcher found."""
    form = cast(Form, kernel.parameters["form"])
    heads, dim = int(kernel.parameters["num_heads"]), int(kernel.parameters["head_dim"])
    inputs, outputs = _tensors(form, str(kernel.parameters["dtype"]))
    template = files(__package__) / "references" / f"{form}.py"
    return Definition(
        name=kernel.name,
        op_type=OP_TYPE,
        description=(
            f"Lightning attention, {_WHAT[form]}: S_new = exp(-slope) * S + k v^T, output = "
            "scale * q S_new. A head's state S is [K, V], and its slope says how fast it fades."
        ),
        tags=kernel.tags,
        axes=_axes(form, heads, dim),
        constraints=_CONSTRAINTS[form],
        inputs=inputs,
        outputs=outputs,
        reference=render(
            template.read_text(encoding="utf-8"), {"NUM_HEADS": heads, "HEAD_DIM": dim}
        ),
    )


def _axes(form: Form, heads: int, dim: int) -> dict[str, Axis]:
    constants = {
        "num_heads": const(heads, "Heads of a rank."),
        "head_dim": const(dim, "Elements of a query, key and value head."),
    }
    if form == "decode":
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


def _tensors(form: Form, dtype: str) -> tuple[dict[str, TensorSpec], dict[str, TensorSpec]]:
    rows, states, before, behind = {
        "decode": (
            "batch_size",
            "state_cache_size",
            "Cache of states, [K, V].",
            "The cache, with states behind the token.",
        ),
        "prefill": (
            "total_seq_len",
            "num_seqs",
            "States before the sequences, [K, V], 0 for new ones.",
            "States behind the sequences; one without tokens keeps its state.",
        ),
    }[form]
    heads, state = f"{rows} num_heads head_dim", f"{states} num_heads head_dim head_dim"
    every = {
        "q": tensor(heads, dtype, "Queries."),
        "k": tensor(heads, dtype, "Keys."),
        "v": tensor(heads, dtype, "Values."),
        "state": tensor(state, "float32", before),
        "slope": tensor("num_heads", "float32", "How fast a head's state fades, positive."),
        "state_batch_indices": tensor(
            "batch_size",
            "int32",
            "Place of each sequence's state in the cache, each another one; -1 for a row that is "
            "padding, whose output is 0.",
        ),
        "cu_seqlens": tensor(
            "len_cu_seqlens", "int64", "Where sequences begin among the tokens, and their end."
        ),
        "scale": scalar("float32", "Factor of the output."),
    }
    output, new_state = OUTPUTS
    return {name: every[name] for name in FORMS[form].inputs}, {
        output: tensor(heads, dtype, "What the queries read."),
        new_state: tensor(state, "float32", behind),
    }


def form_of(definition: Definition) -> Form | None:
    """Which form it is by its tensors and axes; None where they are others."""
    for form, kind in FORMS.items():
        if definition.op_type != OP_TYPE or tuple(definition.inputs) != kind.inputs:
            continue
        inputs, outputs = _tensors(form, definition.inputs["q"].dtype)
        have = {**definition.inputs, **definition.outputs}
        if (
            tuple(definition.outputs) == OUTPUTS
            and set(definition.var_axes) == set(kind.var_axes)
            and all(have[name].shape == spec.shape for name, spec in {**inputs, **outputs}.items())
        ):
            return form
    return None


def identify(definition: Definition) -> Identity:
    """No variant, and what contradicts sizes or name."""
    return Identity("", tuple(_contradictions(definition)))


def _contradictions(definition: Definition) -> Iterator[str]:
    yield from in_name(definition, {"h": "num_heads", "d": "head_dim"})
