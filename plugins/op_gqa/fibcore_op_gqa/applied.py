"""Attention in place of FlashInfer's at run time; see `fibcore.plugin.trace_apply_format`.

FlashInfer's names say nothing of windows, caps and masks: a call whose plan has another one than
the definition is refused by the solution, which is better than a model that is quietly wrong.
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
from fibcore_op_gqa.names import KINDS, Kind

RETURN = "    return (output, lse) if return_lse else output\n"

DECODE = '''
def apply(q, k_cache, v_cache, kv_indptr, kv_indices, sm_scale=None, return_lse=False):
    """As `BatchDecodeWithPagedKVCacheWrapper.run` is called, with what `plan` was given."""
    namespace = planned(q, {plan})
    if (getattr(namespace["self"], "_q_len_per_req", None) or 1) != 1:
        raise RuntimeError("planned with several queries a sequence")
    scale = q.shape[-1] ** -0.5 if sm_scale is None else sm_scale
    kv_indptr, kv_indices = on(q, kv_indptr), on(q, kv_indices)
    kv_indices = kv_indices[: int(kv_indptr[-1])]
    output, lse = run(q, k_cache, v_cache, kv_indptr, kv_indices, {last}scale)
'''

PREFILL = '''
def apply(
    q, k_cache, v_cache, qo_indptr, kv_indptr, kv_indices, sm_scale=None, return_lse=False
):
    """As `BatchPrefillWithPagedKVCacheWrapper.run` is called, with what `plan` was given.

    Where the plan is not causal, as for a prefix that all queries see, each query is one of a
    sequence of its own, which sees all of its keys.
    """
    namespace = planned(q, _custom_mask_buf=None, {plan})
    scale = q.shape[-1] ** -0.5 if sm_scale is None else sm_scale
    qo_indptr, kv_indptr, kv_indices = (on(q, t) for t in (qo_indptr, kv_indptr, kv_indices))
    kv_indices, last = kv_indices[: int(kv_indptr[-1])], {last}
    if not namespace["self"]._causal:
        keys = (kv_indptr.diff() - 1).clamp(min=0) * PAGE_SIZE + last
        kv_indptr, kv_indices, last = each_query(
            qo_indptr, kv_indptr, kv_indices, keys, PAGE_SIZE, False
        )
        qo_indptr = torch.arange(q.shape[0] + 1, dtype=torch.int32, device=q.device)
    output, lse = run(q, k_cache, v_cache, qo_indptr, kv_indptr, kv_indices, {given}scale)
'''

RAGGED = '''
def apply(q, k, v, qo_indptr, kv_indptr, sm_scale=None, return_lse=False):
    """As `BatchPrefillWithRaggedKVCacheWrapper.run` is called, with what `plan` was given."""
    planned(q, _causal=True, _custom_mask_buf=None, {plan})
    scale = q.shape[-1] ** -0.5 if sm_scale is None else sm_scale
    output, lse = run(q, k, v, on(q, qo_indptr), on(q, kv_indptr), scale)
'''

SOURCES: dict[Kind, tuple[str, str]] = {
    "decode": ("gqa_paged_decode", DECODE),
    "prefill": ("gqa_paged_prefill", PREFILL),
    "ragged": ("gqa_ragged", RAGGED),
}
"""Kind to what FlashInfer's names begin with, and what is called."""

LAST = 'on(q, namespace["self"]._paged_kv_last_page_len_buf)'
"""How full the last pages are, which the template leaves out."""


def _applied(definition: Definition) -> Sequence[Applied] | str:
    axes = definition.const_axes
    for kind, (stem, source) in SOURCES.items():
        if "head_dim" not in axes:
            break  # heads of two sizes
        sizes = f"h{axes['num_qo_heads']}_kv{axes['num_kv_heads']}_d{axes['head_dim']}"
        page = f"_ps{axes['page_size']}" if "page_size" in axes else ""
        if definition.name != f"{KINDS[kind].stem}_{sizes}{page}":
            continue
        plan = '_window_left=-1, _logits_soft_cap=0.0, _pos_encoding_mode="NONE"'
        if kind != "ragged":
            plan += ', _kv_layout="NHD"'
        paged = "kv_last_page_len" in definition.inputs
        last = LAST if paged else "(kv_indptr.diff() > 0).int()"
        if kind == "decode":
            last = f"{LAST}, " if paged else ""
        body = source.format(plan=plan, last=last, given="last, " if paged else "")
        parts = (PLANNED, *((EACH_QUERY,) if kind == "prefill" else ()), body)
        inputs = {n: s for n, s in definition.inputs.items() if n != "kv_last_page_len"}
        return (
            Applied(
                name=f"{stem}_{sizes}{page}",
                op_type=definition.op_type,
                fi_api=f"{KINDS[kind].flashinfer}.run",
                inputs={**inputs, "return_lse": scalar("int32")},
                outputs={
                    "output": definition.outputs["output"],
                    "lse": definition.outputs["lse"],
                },
                source="\n\n\n".join(part.strip() for part in parts) + "\n" + RETURN,
                optional=frozenset(n for n in inputs if n.endswith(("indptr", "indices", "scale")))
                | {"return_lse"},
            ),
        )
    return "FlashInfer's name says nothing of its window, cap, sinks, mask or cache"


FORMATS = (
    trace_apply_format(tuple(dict.fromkeys(kind.op_type for kind in KINDS.values())), _applied),
)
"""The formats that this plugin writes here."""
