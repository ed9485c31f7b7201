"""Latent attention in place of FlashInfer's at run time; see `fibcore.plugin.trace_apply_format`.

FlashInfer calls absorbed decode and absorbed prefill by one name, decode's. Decode's reference does
both: each query of a prefill is one of a sequence of its own, with the keys that it sees.
"""

from __future__ import annotations

from collections.abc import Sequence

from fibcore.plugin import (
    EACH_QUERY,
    PLANNED,
    Applied,
    Definition,
    scalar,
    trace_apply_format,
)
from fibcore_op_mla.names import KINDS, OWN_OP_TYPES

PAGED = '''
def apply(
    q_nope, q_pe, ckv_cache, kpe_cache, kv_indptr, kv_indices, sm_scale, return_lse=False, **scales
):
    """As `BatchMLAPagedAttentionWrapper.run` is called, with what `plan` was given."""
    namespace = planned(q_nope)
    for name in ("sinks", "o_scale", "bmm1_scale", "bmm2_scale", "kv_len", *scales):
        if namespace.get(name) is not None:
            raise RuntimeError(f"called with {name}, which this solution does not have")
    wrapper = namespace["self"]
    qo_indptr, keys = on(q_nope, wrapper._qo_indptr_buf), on(q_nope, wrapper._kv_len_arr_buf)
    indptr, indices, last = each_query(
        qo_indptr, on(q_nope, kv_indptr), on(q_nope, kv_indices), keys, PAGE_SIZE, wrapper._causal
    )
    output, lse = run(q_nope, q_pe, ckv_cache, kpe_cache, indptr, indices, LAST, sm_scale)
    if not return_lse:
        return output
    return output, lse * math.log(2) if namespace.get("return_lse_base_on_e") else lse
'''

RAGGED = '''
def apply(q, k, v, qo_indptr, kv_indptr, sm_scale=None, return_lse=False):
    """As `BatchPrefillWithRaggedKVCacheWrapper.run` is called, with what `plan` was given."""
    planned(
        q,
        _causal=True,
        _custom_mask_buf=None,
        _window_left=-1,
        _logits_soft_cap=0.0,
        _pos_encoding_mode="NONE",
    )
    scale = q.shape[-1] ** -0.5 if sm_scale is None else sm_scale
    output, lse = run(q, k, v, on(q, qo_indptr), on(q, kv_indptr), scale)
    return (output, lse) if return_lse else output
'''


def _applied(definition: Definition) -> Sequence[Applied] | str:
    axes = definition.const_axes
    if "qk_dim" in axes:
        heads, size = axes["num_qo_heads"], axes["qk_dim"]
        if definition.name != f"{KINDS['ragged'].stem}_h{heads}_qk{size}_vo{axes['vo_dim']}":
            return "FlashInfer's name says nothing of its cache"
        name = f"gqa_ragged_h{heads}_kv{axes['num_kv_heads']}_d{size}"
        call = f"{KINDS['ragged'].flashinfer}.run"
        return (_made(definition, name, call, f"{PLANNED.strip()}\n\n\n{RAGGED.strip()}\n"),)
    sizes = (
        f"h{axes['num_qo_heads']}_ckv{axes['head_dim_ckv']}_kpe{axes['head_dim_kpe']}"
        f"_ps{axes['page_size']}"
    )
    if definition.name == f"{KINDS['prefill'].stem}_{sizes}":
        return "FlashInfer calls it by the name of decode, whose solution does both"
    name = f"{KINDS['decode'].stem}_{sizes}"
    if definition.name != name:
        return "FlashInfer's name says nothing of its cache"
    body = PAGED.replace("LAST, ", "last, " if "kv_last_page_len" in definition.inputs else "")
    source = "\n\n\n".join(text.strip() for text in (PLANNED, EACH_QUERY, body)) + "\n"
    return (
        _made(definition, name, "flashinfer.mla._core.BatchMLAPagedAttentionWrapper.run", source),
    )


def _made(definition: Definition, name: str, call: str, source: str) -> Applied:
    inputs = {n: s for n, s in definition.inputs.items() if n != "kv_last_page_len"}
    return Applied(
        name=name,
        op_type=definition.op_type,
        fi_api=call,
        inputs={**inputs, "return_lse": scalar("int32")},
        outputs=definition.outputs,
        source=source,
        optional=frozenset(n for n in inputs if n.endswith(("indptr", "indices", "scale")))
        | {"return_lse"},
    )


FORMATS = (trace_apply_format(OWN_OP_TYPES, _applied),)
"""The formats that this plugin writes here."""
