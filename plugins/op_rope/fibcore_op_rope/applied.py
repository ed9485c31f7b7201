"""Rotations in place of FlashInfer's at run time; see `fibcore.plugin.trace_apply_format`.

FlashInfer's name says nothing of the style and of how much of a head turns: a call of another style
is refused by the solution, and two styles of one head size are not exported. The function that
turns in place cannot be replaced: its template does not say what it writes into.
"""

from __future__ import annotations

from collections.abc import Sequence

from fibcore.plugin import Applied, Definition, scalar, tensor, trace_apply_format
from fibcore_op_rope.names import OP_TYPE

SOURCE = '''
def apply(positions, query, key, head_size, cos_sin_cache, is_neox=True):
    """As FlashInfer's function is called: heads lie side by side in a row."""
    if bool(is_neox) != {neox}:
        raise RuntimeError(f"called with is_neox={{is_neox}}; this solution is for {neox}")
    q, k = (x.view(x.shape[0], -1, head_size) for x in (query, key))
    q_out, k_out = run(q, k, cos_sin_cache, positions.long())
    return q_out.view(query.shape), k_out.view(key.shape)
'''


def _applied(definition: Definition) -> Sequence[Applied] | str:
    if not definition.name.startswith("rope_with_cos_sin_cache_"):
        return "FlashInfer's trace templates have no such rotation"
    head_size = definition.const_axes["head_size"]
    inputs = {
        "positions": tensor("num_tokens", "int32"),
        "query": tensor("num_tokens q_width", "bfloat16"),
        "key": tensor("num_tokens k_width", "bfloat16"),
        "head_size": scalar("int32"),
        "cos_sin_cache": definition.inputs["cos_sin_cache"],
        "is_neox": scalar("int32"),
    }
    source = SOURCE.format(neox="_neox_style_" in definition.name)
    return (
        Applied(
            name=f"rope_cos_sin_cache_d{head_size}",
            op_type=OP_TYPE,
            fi_api="flashinfer.rope.apply_rope_with_cos_sin_cache",
            inputs=inputs,
            outputs={"query_out": inputs["query"], "key_out": inputs["key"]},
            source=source,
            optional=frozenset({"is_neox"}),
        ),
    )


FORMATS = (trace_apply_format((OP_TYPE,), _applied),)
"""The formats that this plugin writes."""
