"""Writes the definition of an embedding, and reads what other tools' definitions say."""

from __future__ import annotations

from importlib.resources import files

from fibcore.plugin import (
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
from fibcore_op_embedding.names import OP_TYPE, PART, SCALED, WHOLE


def define(kernel: Kernel) -> Definition:
    """The definition of a kernel that the matcher found.

    Axes: num_tokens (var), vocab_size, hidden_size. Inputs: input_ids [num_tokens] int64, weight
    [vocab_size, hidden_size] bfloat16, and of a rank's part vocab_start_index int32; output: output
    [num_tokens, hidden_size] bfloat16.
    """
    vocab_size = int(kernel.parameters["vocab_size"])
    hidden_size = int(kernel.parameters["hidden_size"])
    part, scaled = bool(kernel.parameters["part"]), bool(kernel.parameters.get("scaled"))
    inputs: dict[str, TensorSpec] = {
        "input_ids": tensor("num_tokens", "int64", "Tokens, each a number of the vocabulary."),
        "weight": tensor(
            "vocab_size hidden_size", "bfloat16", "The table, or a rank's part of it."
        ),
    }
    rows = "Rows of the table: the vocabulary."
    if part:
        inputs["vocab_start_index"] = scalar("int32", "Token of the part's first row.")
        rows = "Rows of a rank's part of the table."
    if scaled:
        inputs["embed_scale"] = scalar("float32", "What every row is multiplied by.")
    stem = "vocab_parallel_" * part + "scaled_" * scaled
    template = f"{stem}embedding.py"
    source = (files(__package__) / "references" / template).read_text(encoding="utf-8")
    return Definition(
        name=kernel.name,
        op_type=OP_TYPE,
        description=_description(vocab_size, hidden_size, part=part, scaled=scaled),
        tags=kernel.tags,
        axes={
            "num_tokens": var("Tokens of the batch."),
            "vocab_size": const(vocab_size, rows),
            "hidden_size": const(hidden_size, "Elements of a row."),
        },
        inputs=inputs,
        outputs={
            "output": tensor("num_tokens hidden_size", "bfloat16", "The row of each token."),
        },
        reference=render(source, {"VOCAB_SIZE": vocab_size, "HIDDEN_SIZE": hidden_size}),
    )


def _description(vocab_size: int, hidden_size: int, *, part: bool, scaled: bool) -> str:
    rows = f"{vocab_size} rows of {hidden_size} elements"
    if scaled:
        return (
            "Embedding: the row of a table for each token, times embed_scale. "
            f"The table has {rows}."
        )
    if not part:
        return f"Embedding: the row of a table for each token. The table has {rows}."
    return (
        f"Embedding in a rank's part of a table: the rows of tokens that it has, zeros for the "
        f"others, so that the ranks' results add up. The part has {rows}, those from "
        "vocab_start_index on."
    )


def identify(definition: Definition) -> Identity:
    """No variant, for the inputs tell a part from a whole; sizes that the name gives otherwise."""
    sizes = {"v": "vocab_size", "h": "hidden_size"}
    return Identity("", tuple(in_name(definition, sizes)))


def has_known_tensors(definition: Definition) -> bool:
    """Whether inputs, outputs and axes are those that `define` gives."""
    return (
        tuple(definition.inputs) in (WHOLE, PART, SCALED)
        and tuple(definition.outputs) == ("output",)
        and definition.var_axes == ("num_tokens",)
        and set(definition.const_axes) == {"vocab_size", "hidden_size"}
    )
