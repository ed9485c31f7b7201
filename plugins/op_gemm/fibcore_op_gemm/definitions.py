"""Writes the definition of a GEMM."""

from __future__ import annotations

from importlib.resources import files

from fibcore.plugin import (
    Definition,
    Identity,
    Kernel,
    const,
    in_name,
    other_than,
    render,
    select,
    tensor,
    var,
)
from fibcore_op_gemm.formats import FORMATS, AnyFormat, named, of_definition
from fibcore_op_gemm.weight_only import WORDS

_WORDS = frozenset((*(word for matrices in FORMATS for word in matrices.words), *WORDS))


def define(kernel: Kernel) -> Definition:
    """The definition of a kernel that the matcher found.

    A [M, K] and B [N, K] give C [M, N], in the dtypes of the kernel's format, whose scales stand
    beside each. Batched ones have several of each.
    """
    n, k = int(kernel.parameters["N"]), int(kernel.parameters["K"])
    matrices = named(str(kernel.parameters["format"]))
    constants = {"N": n, "K": k}
    axes = {"M": var("Rows of A: tokens.")}
    if matrices.batched:
        axes = {"batch_size": var("Matrices: heads, or groups of them, of a rank."), **axes}
    for axis, size, features in (("N", n, "Output features."), ("K", k, "Input features.")):
        axes[axis] = const(size, features)
    for axis, size, _ in matrices.sizes(n, k):
        axes[axis] = const(size, matrices.about(axis))
        constants[axis.upper()] = size
    constants |= {"BLOCK": matrices.block} if matrices.block is not None else {}
    # A reference has what it reads.
    source = files(__package__) / "references" / f"{matrices.reference or matrices.name}.py"
    text = select(source.read_text(encoding="utf-8"), matrices.words, _WORDS)
    constants = {name: size for name, size in constants.items() if f"\n{name} = " in text}
    batch = "batch_size " if matrices.batched else ""
    return Definition(
        name=kernel.name,
        op_type=kernel.op_type,
        description=_description(matrices, n, k),
        tags=kernel.tags,
        axes=axes,
        inputs=matrices.inputs,
        outputs={"C": tensor(f"{batch}M N", matrices.output_dtype, "The product.")},
        reference=render(text, constants),
    )


def _description(matrices: AnyFormat, n: int, k: int) -> str:
    return f"{matrices.description} with N = {n} and K = {k}. {matrices.details}".rstrip()


def identify(definition: Definition) -> Identity:
    """One function for given tensors, and the contradictions of a definition."""
    return Identity(contradictions=contradictions(definition))


def contradictions(definition: Definition) -> tuple[str, ...]:
    """Sizes of a definition that no GEMM can have together."""
    found = list(in_name(definition, {"n": "N", "k": "K"}))
    matrices, sizes = of_definition(definition), definition.const_axes
    if matrices is not None and {"N", "K"} <= set(sizes):
        for axis, size, why in matrices.sizes(sizes["N"], sizes["K"]):
            found += other_than(definition, axis, size, f"{why},")
    return tuple(found)
