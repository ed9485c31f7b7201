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
    tensor,
    var,
)
from fibcore_op_gemm.formats import BLOCK, FP8_BLOCK, PLAIN, Format


def define(kernel: Kernel) -> Definition:
    """The definition of a kernel that the matcher found.

    A [M, K] and B [N, K] give C [M, N], in the dtypes of the kernel's format. Where it is
    block-scaled, A_scale [M, num_k_blocks] and B_scale [num_n_blocks, num_k_blocks] are float32;
    blocks are rounded up.
    """
    n, k = int(kernel.parameters["N"]), int(kernel.parameters["K"])
    matrices = FP8_BLOCK if kernel.parameters["fp8_block_scale"] else PLAIN
    constants = {"N": n, "K": k}
    axes = {"M": var("Rows of A: tokens."), "N": const(n), "K": const(k)}
    inputs = {"A": tensor("M K", matrices.dtype), "B": tensor("N K", matrices.dtype)}
    if matrices.block_scaled:
        for axis, size in (("num_k_blocks", "K"), ("num_n_blocks", "N")):
            blocks = -(-constants[size] // BLOCK)
            axes[axis] = const(blocks, f"Blocks of {BLOCK} along {size}, rounded up.")
        scale_b = "num_n_blocks num_k_blocks"
        inputs["A_scale"] = tensor("M num_k_blocks", "float32", "Multiplies a block of A.")
        inputs["B_scale"] = tensor(scale_b, "float32", "Multiplies a block of B.")
        constants |= {a.upper(): axes[a].value or 0 for a in ("num_n_blocks", "num_k_blocks")}
    template = files(__package__) / "references" / f"{matrices.name}.py"
    return Definition(
        name=kernel.name,
        op_type=kernel.op_type,
        description=_description(matrices, n, k),
        tags=kernel.tags,
        axes=axes,
        inputs={name: inputs[name] for name in matrices.inputs},
        outputs={"C": tensor("M N", matrices.output_dtype)},
        reference=render(template.read_text(encoding="utf-8"), constants),
    )


def _description(matrices: Format, n: int, k: int) -> str:
    if not matrices.block_scaled:
        return f"General matrix multiply C = A · Bᵀ with N = {n} and K = {k}."
    return (
        f"Matrix multiply C = A · Bᵀ of block-scaled fp8 matrices with N = {n} and K = {k}. "
        f"A has a scale for {BLOCK} elements of a row, B one for {BLOCK} x {BLOCK}."
    )


def identify(definition: Definition) -> Identity:
    """One function for given tensors, and the contradictions of a definition."""
    return Identity(contradictions=contradictions(definition))


def contradictions(definition: Definition) -> tuple[str, ...]:
    """Sizes of a definition that no GEMM can have together."""
    found = list(in_name(definition, {"n": "N", "k": "K"}))
    for axis, size in (("num_n_blocks", "N"), ("num_k_blocks", "K")):
        whole = definition.const_axes.get(size)
        if whole is not None:
            blocks = -(-whole // BLOCK)
            found += other_than(definition, axis, blocks, f"{size} / {BLOCK}, rounded up,")
    return tuple(found)
