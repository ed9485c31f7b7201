"""RMSNorm in place of FlashInfer's at run time; see `fibcore.plugin.trace_apply_format`."""

from __future__ import annotations

from collections.abc import Sequence

from fibcore.plugin import CALLED, Applied, Definition, trace_apply_format
from fibcore_op_rmsnorm.names import OP_TYPE, function_name

PLAIN = '''
def apply(hidden_states, weight):
    """As FlashInfer's function is called, with the epsilon of the reference."""
    called(eps=(EPSILON,))
    return run(hidden_states, weight)
'''

FUSED = '''
def apply(hidden_states, residual, weight):
    """As `flashinfer.norm.fused_add_rmsnorm` is called: the residual becomes the sum."""
    called(eps=(EPSILON,))
    total = (hidden_states.to(torch.float32) + residual).to(residual.dtype)
    return run(hidden_states, residual, weight), total
'''
# The definition has one output, so that its reference alone would leave the residual as it was.


def _applied(definition: Definition) -> Sequence[Applied] | str:
    for gemma, fused in ((False, False), (False, True), (True, False)):
        stem = function_name(gemma=gemma, fused_add=fused)
        if not definition.name.startswith(f"{stem}_h"):
            continue
        outputs = {"output": definition.outputs["output"]}
        if fused:
            outputs["residual"] = definition.inputs["residual"]
        return (
            Applied(
                name=f"{stem}_h{definition.const_axes['hidden_size']}",
                op_type=OP_TYPE,
                fi_api=f"flashinfer.norm.{stem}",
                inputs=definition.inputs,
                outputs=outputs,
                source=f"{CALLED.strip()}\n\n\n{(FUSED if fused else PLAIN).strip()}",
                written={"output": "input", "residual": "residual"} if fused else {},
            ),
        )
    if definition.name.startswith(function_name(gemma=True, fused_add=True)):
        return "FlashInfer's template does not say that it writes into the residual"
    return "FlashInfer's trace templates have no such norm"


FORMATS = (trace_apply_format((OP_TYPE,), _applied),)
"""The formats that this plugin writes."""
