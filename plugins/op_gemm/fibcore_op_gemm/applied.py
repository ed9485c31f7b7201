"""Products in place of FlashInfer's at run time; see `fibcore.plugin.trace_apply_format`."""

from __future__ import annotations

from collections.abc import Sequence

from fibcore.plugin import Applied, Definition, tensor, trace_apply_format
from fibcore_op_gemm.names import OP_TYPE, SHAPES

SOURCE = '''
def apply(A, B):
    """As `flashinfer.mm_bf16` is called: B is [K, N], and C of the dtype of A."""
    return run(A, B.T)
'''


def _applied(definition: Definition) -> Sequence[Applied] | str:
    """`mm_bf16` alone: names of the other formats say nothing of their scales' layouts."""
    axes = definition.const_axes
    if set(definition.inputs) != {"A", "B"} or set(axes) != {"N", "K"}:
        return "FlashInfer's name says nothing of how its scales lie"
    return (
        Applied(
            name=f"gemm_bf16_N{axes['N']}_K{axes['K']}",
            op_type="gemm_bf16",
            fi_api="flashinfer.gemm.gemm_base.mm_bf16",
            inputs={"A": tensor("M K", "bfloat16"), "B": tensor("K N", "bfloat16")},
            outputs={"C": tensor("M N", "bfloat16")},
            source=SOURCE,
        ),
    )


FORMATS = (trace_apply_format((OP_TYPE,), _applied, {SHAPES.name: "rank"}),)
"""The formats that this plugin writes here."""
