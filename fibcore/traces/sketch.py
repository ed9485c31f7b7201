"""A traced kernel as a definition, as far as plugins need one to tell functions apart."""

from __future__ import annotations

import ast
from collections.abc import Mapping

from fibcore.errors import DefinitionError
from fibcore.model.definition import Axis, Definition, TensorSpec
from fibcore.traces.reading import UNKNOWN, TracedTensor, TraceFile


def sketch(file: TraceFile) -> Definition | None:
    """What a dump says, made to fit the format; None where that cannot be.

    Nobody may keep or run it: sizes and dtypes that the dump lacks are made up, and `run` does
    nothing. The source of the dump's reference is in it.
    """
    reference = file.reference or ""
    try:
        ast.parse(reference)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        reference = ""
    stub = f"def run({', '.join(file.inputs)}):\n    raise NotImplementedError\n"
    used = [axis for t in (*file.inputs.values(), *file.outputs.values()) for axis in t.shape or ()]
    axes = {name: Axis("var") for name in dict.fromkeys(used)}
    axes |= {name: Axis("const", size) for name, size in file.sizes.items()}
    try:
        return Definition(
            file.name,
            file.op_type,
            axes,
            _tensors(file.inputs),
            _tensors({n: t for n, t in file.outputs.items() if n not in file.inputs}),
            f"{reference}\n\n{stub}",
            file.description,
            tags=tuple(tag for tag in file.tags if all(tag.partition(":"))),
        )
    except DefinitionError:
        return None


def _tensors(tensors: Mapping[str, TracedTensor]) -> dict[str, TensorSpec]:
    return {
        name: TensorSpec(tensor.shape, "int32" if tensor.dtype == UNKNOWN else tensor.dtype)
        for name, tensor in tensors.items()
    }
