"""Hyper-connections in place of FlashInfer's at run time; see `trace_apply_format`."""

from __future__ import annotations

from collections.abc import Sequence

from fibcore.plugin import Applied, Definition, trace_apply_format
from fibcore_op_mhc.names import OP_TYPES

SOURCE = '''
def apply(x, residual, post_layer_mix, comb_res_mix):
    """As `flashinfer.mhc.mhc_post` is called; factors may have a last axis of 1."""
    return run(x, residual, post_layer_mix.reshape(residual.shape[:2]), comb_res_mix)
'''


def _applied(definition: Definition) -> Sequence[Applied] | str:
    if not definition.name.startswith("mhc_post_"):
        return "FlashInfer's function begins behind a product that the definition has in it"
    axes = definition.const_axes
    return (
        Applied(
            name=f"mhc_post_hc{axes['hc']}_h{axes['hidden_size']}",
            op_type=definition.op_type,
            fi_api="flashinfer.mhc.mhc_post",
            inputs=definition.inputs,
            outputs={"out": next(iter(definition.outputs.values()))},
            source=SOURCE,
        ),
    )


FORMATS = (trace_apply_format([one.name for one in OP_TYPES], _applied),)
"""The formats that this plugin writes."""
