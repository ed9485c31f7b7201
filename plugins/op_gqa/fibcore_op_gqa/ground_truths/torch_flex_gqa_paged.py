"""Torch's flex attention over a paged KV cache, for attention that is not plain."""

import math
import warnings
from typing import Any

import torch

TORCH_FLEX_GQA_PAGED_WINDOW: int | None = None  # keys a query sees, with its own
TORCH_FLEX_GQA_PAGED_CAP: float | None = None  # bound of the scaled logits
TORCH_FLEX_GQA_PAGED_CHUNK: int | None = None  # keys of a chunk, of which a query sees its own
TORCH_FLEX_GQA_PAGED_MASKED = True  # whether a query sees no key behind its own


def torch_flex_gqa_paged_sequence(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    sm_scale: float,
    sinks: torch.Tensor | None,
    mask: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output [n, heads, head_dim] and base-2 lse [n, heads] of the last n queries of a sequence.

    mask [n, keys]: what each sees, where no rule says it.

    `torch.nn.attention.flex_attention`, in float32 and without compilation: what is compiled for
    every size and definition anew takes longer than the whole test. It has no sinks: their share
    is taken from its output afterwards.
    """
    from torch.nn.attention import flex_attention as flex

    window, cap = TORCH_FLEX_GQA_PAGED_WINDOW or k.shape[0], TORCH_FLEX_GQA_PAGED_CAP
    chunk = TORCH_FLEX_GQA_PAGED_CHUNK or k.shape[0]
    offset = torch.tensor(k.shape[0] - q.shape[0], device=q.device)

    def score(
        logit: torch.Tensor,
        _batch: torch.Tensor,
        _head: torch.Tensor,
        row: torch.Tensor,
        key: torch.Tensor,
    ) -> torch.Tensor:
        if cap is not None:
            logit = cap * torch.tanh(logit / cap)
        own = row + offset
        near = (key > own - window) & (key // chunk == own // chunk)
        seen = (key <= own) & near if TORCH_FLEX_GQA_PAGED_MASKED else key >= 0
        if mask is not None:
            seen = mask[row, key] & (key > own - window)
        return torch.where(seen, logit, -math.inf)

    rows, keys, values = (x.float().movedim(0, 1)[None] for x in (q, k, v))
    switch = "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG"  # its documented name, since torch 2.9
    before = getattr(flex, switch, None)
    setattr(flex, switch, True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it is slow, and that return_lse is old
            output, lse = flex.flex_attention(
                rows, keys, values, score, scale=sm_scale, enable_gqa=True, return_lse=True
            )
    finally:
        setattr(flex, switch, before)
    output, lse = output[0].movedim(0, 1), lse[0].movedim(0, 1)
    output = output.masked_fill(lse.isinf()[..., None], 0.0)  # of a row from which all is hidden
    if sinks is not None:
        total = torch.logaddexp(lse, sinks)
        output, lse = output * torch.exp(lse - total)[..., None], total
    return output, lse / math.log(2)


def torch_flex_gqa_paged(
    q: torch.Tensor,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
    kv_indptr: torch.Tensor,
    kv_indices: torch.Tensor,
    sm_scale: float | torch.Tensor,
    **others: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output and base-2 lse, decode (no `qo_indptr`: one query a sequence) and prefill.

    Queries without keys are not handed to it; their rows hold the definition's 0 and -inf, or the
    lse of the sink alone.
    """
    page_size = k_cache.shape[1]
    one_each = torch.arange(kv_indptr.shape[0])
    starts, pages = others.get("qo_indptr", one_each).tolist(), kv_indptr.tolist()
    output = q.new_zeros((*q.shape[:2], v_cache.shape[-1]))
    k_scale, v_scale = (float(others.get(name, 1.0)) for name in ("k_scale", "v_scale"))
    offset = 0
    sinks = others.get("sinks")
    lse = torch.full(q.shape[:2], -math.inf, dtype=torch.float32, device=q.device)
    if sinks is not None:
        lse[:] = sinks / math.log(2)
    for b in range(len(pages) - 1):
        table = kv_indices[pages[b] : pages[b + 1]].long()
        # Pages of one token have no such input: each is full.
        last = int(others["kv_last_page_len"][b]) if "kv_last_page_len" in others else page_size
        length = max(0, (len(table) - 1) * page_size + last)
        rows = slice(max(starts[b], starts[b + 1] - length), starts[b + 1])
        mask = None
        if "custom_mask" in others:
            pairs = (starts[b + 1] - starts[b]) * length
            mask = others["custom_mask"][offset : offset + pairs]
            offset += pairs
        if mask is not None or not TORCH_FLEX_GQA_PAGED_MASKED:
            rows = slice(starts[b], starts[b + 1])
        if rows.start < rows.stop and length:
            mask = None if mask is None else mask.view(-1, length)
            k, v = (x[table].flatten(0, 1)[:length] for x in (k_cache, v_cache))
            part, lse[rows] = torch_flex_gqa_paged_sequence(
                q[rows], k, v, float(sm_scale) * k_scale, sinks, mask
            )
            output[rows] = (part * v_scale).to(q.dtype)
    return output, lse
