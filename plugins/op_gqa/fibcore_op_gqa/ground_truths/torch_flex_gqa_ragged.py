"""Torch's flex attention over ragged keys and values, for a window and a cap on the logits."""

import math
import warnings

import torch

TORCH_FLEX_GQA_RAGGED_WINDOW: int | None = None  # keys a query sees, with its own
TORCH_FLEX_GQA_RAGGED_CAP: float | None = None  # bound of the scaled logits
TORCH_FLEX_GQA_RAGGED_CHUNK: int | None = None  # keys of a chunk, of which a query sees its own
TORCH_FLEX_GQA_RAGGED_MASKED = True  # whether a query sees no key behind its own


def torch_flex_gqa_ragged_sequence(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    sm_scale: float,
    sinks: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output [n, heads, head_dim] and base-2 lse [n, heads] of the last n queries of a sequence.

    `torch.nn.attention.flex_attention`, in float32 and without compilation: what is compiled for
    every size and definition anew takes longer than the whole test. It has no sinks: their share
    is taken from its output afterwards.
    """
    from torch.nn.attention import flex_attention as flex

    window, cap = TORCH_FLEX_GQA_RAGGED_WINDOW or k.shape[0], TORCH_FLEX_GQA_RAGGED_CAP
    chunk = TORCH_FLEX_GQA_RAGGED_CHUNK or k.shape[0]
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
        seen = (key <= own) & near if TORCH_FLEX_GQA_RAGGED_MASKED else key >= 0
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
    if sinks is not None:
        total = torch.logaddexp(lse, sinks)
        output, lse = output * torch.exp(lse - total)[..., None], total
    return output, lse / math.log(2)


def torch_flex_gqa_ragged(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    qo_indptr: torch.Tensor,
    kv_indptr: torch.Tensor,
    sm_scale: float | torch.Tensor,
    **others: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output and base-2 lse.

    Queries without keys are not handed to it; their rows hold the definition's 0 and -inf, or the
    lse of the sink alone.
    """
    starts, keys = qo_indptr.tolist(), kv_indptr.tolist()
    output = q.new_zeros((*q.shape[:2], v.shape[-1]))
    sinks = others.get("sinks")
    lse = torch.full(q.shape[:2], -math.inf, dtype=torch.float32, device=q.device)
    if sinks is not None:
        lse[:] = sinks / math.log(2)
    for b in range(len(keys) - 1):
        own = slice(keys[b], keys[b + 1])
        rows = slice(max(starts[b], starts[b + 1] - (own.stop - own.start)), starts[b + 1])
        if not TORCH_FLEX_GQA_RAGGED_MASKED:
            rows = slice(starts[b], starts[b + 1])
        if rows.start < rows.stop and own.start < own.stop:
            part, lse[rows] = torch_flex_gqa_ragged_sequence(
                q[rows], k[own], v[own], float(sm_scale), sinks
            )
            output[rows] = part.to(q.dtype)
    return output, lse
