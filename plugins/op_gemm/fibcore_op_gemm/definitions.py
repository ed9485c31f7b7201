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
from fibcore_op_gemm.formats import BLOCK


def define(kernel: Kernel) -> Definition:
    """The definition of a kernel that the matcher found.

    Plain: A [M, K] and B [N, K] in float16 give C [M, N] in float16, whatever the model's own
    dtype; that is the dataset's convention. fp8: see `_fp8_block_scale`.
    """
    n, k = int(kernel.parameters["N"]), int(kernel.parameters["K"])
    if kernel.parameters["fp8_block_scale"]:
        return _fp8_block_scale(kernel, n, k)
    return Definition(
        name=kernel.name,
        op_type=kernel.op_type,
        description=f"General matrix multiply C = A · Bᵀ with N = {n} and K = {k}.",
        tags=kernel.tags,
        axes={"M": var("Rows of A: tokens."), "N": const(n), "K": const(k)},
        inputs={"A": tensor("M K", "float16"), "B": tensor("N K", "float16")},
        outputs={"C": tensor("M N", "float16")},
        reference=_reference("gemm", {"N": n, "K": k}),
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


def _fp8_block_scale(kernel: Kernel, n: int, k: int) -> Definition:
    """A [M, K] and B [N, K] in float8_e4m3fn with float32 scales give C [M, N] in bfloat16.

    A has one scale for 128 elements of a row, B one for 128 x 128; blocks are rounded up.
    """
    num_n_blocks, num_k_blocks = -(-n // BLOCK), -(-k // BLOCK)
    constants = {"N": n, "K": k, "NUM_N_BLOCKS": num_n_blocks, "NUM_K_BLOCKS": num_k_blocks}
    return Definition(
        name=kernel.name,
        op_type=kernel.op_type,
        description=(
            f"Matrix multiply C = A · Bᵀ of block-scaled fp8 matrices with N = {n} and K = {k}. "
            f"A has a scale for {BLOCK} elements of a row, B one for {BLOCK} x {BLOCK}."
        ),
        tags=kernel.tags,
        axes={
            "M": var("Rows of A: tokens."),
            "N": const(n),
            "K": const(k),
            "num_k_blocks": const(num_k_blocks, f"Blocks of {BLOCK} along K, rounded up."),
            "num_n_blocks": const(num_n_blocks, f"Blocks of {BLOCK} along N, rounded up."),
        },
        inputs={
            "A": tensor("M K", "float8_e4m3fn"),
            "A_scale": tensor("M num_k_blocks", "float32", "Multiplies a block of A."),
            "B": tensor("N K", "float8_e4m3fn"),
            "B_scale": tensor("num_n_blocks num_k_blocks", "float32", "Multiplies a block of B."),
        },
        outputs={"C": tensor("M N", "bfloat16")},
        reference=_reference("gemm_fp8_block_scale", constants),
    )


def _reference(stem: str, constants: dict[str, int]) -> str:
    template = files(__package__) / "references" / f"{stem}.py"
    return render(template.read_text(encoding="utf-8"), constants)
