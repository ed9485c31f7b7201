"""Gated activations in place of FlashInfer's at run time; see `trace_apply_format`."""

from __future__ import annotations

from collections.abc import Sequence

from fibcore.plugin import Applied, Definition, trace_apply_format
from fibcore_op_activation.names import OP_TYPE

FUNCTIONS = ("silu_and_mul", "gelu_and_mul", "gelu_tanh_and_mul")
"""Those that FlashInfer has a trace template for."""

SOURCE = '''
def apply(input):
    """As FlashInfer's function is called; trace_apply writes into `out` where one is given."""
    return run(input)
'''


def _applied(definition: Definition) -> Sequence[Applied] | str:
    for function in FUNCTIONS:
        if definition.name.startswith(f"{function}_h"):
            return (
                Applied(
                    name=f"{function}_h{definition.const_axes['hidden_size']}",
                    op_type=OP_TYPE,
                    fi_api=f"flashinfer.activation.{function}",
                    inputs=definition.inputs,
                    outputs=definition.outputs,
                    source=SOURCE,
                ),
            )
    return "FlashInfer's trace templates have no such activation"


FORMATS = (trace_apply_format((OP_TYPE,), _applied),)
"""The formats that this plugin writes."""
