"""Torch's flex attention over ragged keys and values, for a window and a cap on the logits."""

import math
import warnings

import torch

TORCH_FLEX_GQA_RAGGED_WINDOW: int | None = None  # keys a query sees, with its own
TORCH_FLEX_GQA_RAGGED_CAP: float | None = None  # bound of the scaled logits


def torch_flex_gqa_ragged_sequence(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, sm_scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output [n, heads, head_dim] and base-2 lse [n, heads] of the last n queries of a sequence.

    `torch.nn.attention.flex_attention`, in float32 and without compilation: what is compiled for
    every size and definition anew takes longer than the whole test.
    """
    from torch.nn.attention import flex_attention as flex

    window, cap = TORCH_FLEX_GQA_RAGGED_WINDOW or k.shape[0], TORCH_FLEX_GQA_RAGGED_CAP
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
        return torch.where((key <= own) & (key > own - window), logit, -math.inf)

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
    return output[0].movedim(0, 1), lse[0].movedim(0, 1) / math.log(2)


def torch_flex_gqa_ragged(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    qo_indptr: torch.Tensor,
    kv_indptr: torch.Tensor,
    sm_scale: float | torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output and base-2 lse, causal.

    Queries without keys are not handed to it; their rows hold the definition's 0 and -inf.
    """
    starts, keys = qo_indptr.tolist(), kv_indptr.tolist()
    output = torch.zeros_like(q)
    lse = torch.full(q.shape[:2], -math.inf, dtype=torch.float32, device=q.device)
    for b in range(len(keys) - 1):
        own = slice(keys[b], keys[b + 1])
        rows = slice(max(starts[b], starts[b + 1] - (own.stop - own.start)), starts[b + 1])
        if rows.start < rows.stop:
            part, lse[rows] = torch_flex_gqa_ragged_sequence(
                q[rows], k[own], v[own], float(sm_scale)
            )
            output[rows] = part.to(q.dtype)
    return output, lse
