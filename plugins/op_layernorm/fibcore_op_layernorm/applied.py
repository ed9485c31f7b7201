"""LayerNorm in place of FlashInfer's at run time; see `fibcore.plugin.trace_apply_format`."""

from __future__ import annotations

from collections.abc import Sequence

from fibcore.plugin import CALLED, Applied, Definition, trace_apply_format
from fibcore_op_layernorm.names import OP_TYPE

SOURCE = '''
def apply(hidden_states, weight, bias):
    """As `flashinfer.norm.layernorm` is called, with the epsilon of the reference."""
    called(eps=(EPSILON,))
    return run(hidden_states, weight, bias)
'''


def _applied(definition: Definition) -> Sequence[Applied] | str:
    size = definition.const_axes.get("hidden_size")
    if definition.name != f"{OP_TYPE}_h{size}":
        return "FlashInfer's takes a weight and a bias in float32"
    return (
        Applied(
            name=definition.name,
            op_type=OP_TYPE,
            fi_api="flashinfer.norm.layernorm",
            inputs=definition.inputs,
            outputs=definition.outputs,
            source=f"{CALLED.strip()}\n\n\n{SOURCE.strip()}",
        ),
    )


FORMATS = (trace_apply_format((OP_TYPE,), _applied),)
"""The formats that this plugin writes."""
