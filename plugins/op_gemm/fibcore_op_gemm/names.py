"""What a GEMM is called: op type, option, and the name of a kernel."""

from __future__ import annotations

from fibcore.plugin import Option, OpType
from fibcore_op_gemm.formats import AnyFormat

OP_TYPE = "gemm"

SHAPES: Option[str] = Option(
    "gemm_shapes",
    default="layer",
    help="GEMM sizes: of the whole layer, or of one tensor-parallel rank.",
    choices={"layer": "GEMMs of whole layers", "rank": "GEMMs of a rank"},
    of_a_rank="rank",
)
"""Whether N and K are those of the whole layer or of one tensor-parallel rank."""

OP_TYPES = (
    OpType(
        OP_TYPE,
        "matrix products of linear layers, LM heads and router gates",
        (SHAPES,),
        parallel_tags=False,
    ),
)


def kernel_name(matrices: AnyFormat, n: int, k: int) -> str:
    """The definition's name, such as `gemm_fp8_block_scale_n_4096_k_7168`."""
    return f"{matrices.name}_n_{n}_k_{k}"
