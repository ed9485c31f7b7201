"""SGLang's torch-native prefill attention (`srt/layers/attention/torch_native_backend.py`)."""

from types import SimpleNamespace
from typing import Any

import torch

SGLANG_GQA_RAGGED_PREFILL_CAUSAL_WINDOW: int | None = None  # keys a query sees, with its own
SGLANG_GQA_RAGGED_PREFILL_CAUSAL_MASKED = True  # whether a query sees no key behind its own


def sglang_gqa_ragged_prefill_causal(
    load_sglang: Any,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    qo_indptr: torch.Tensor,
    kv_indptr: torch.Tensor,
    sm_scale: float | torch.Tensor,
) -> tuple[torch.Tensor, None]:
    """Output of `_run_sdpa_forward_extend`; it gives no lse.

    It reads keys and values through a table of places, request by request; the ragged tensors
    serve as its cache. It runs in float32 here: in bfloat16 it would round the attention weights.
    It expects keys for every query and does not define what a query without keys gives, so such
    rows are not handed to it and hold the definition's 0. It takes no more queries than keys: what
    a sequence has more, where they need no keys of their own, goes as further requests.
    """
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 5):
        raise NotImplementedError("SGLang's function needs the enable_gqa of torch 2.5")
    file = "srt/layers/attention/torch_native_backend.py"
    attend = load_sglang(
        file,
        "TorchNativeAttnBackend._run_sdpa_forward_extend",
        scaled_dot_product_attention=torch.nn.functional.scaled_dot_product_attention,
    )
    backend = SimpleNamespace()
    window: dict[str, int] = {}
    if SGLANG_GQA_RAGGED_PREFILL_CAUSAL_WINDOW is not None:
        make_mask = "TorchNativeAttnBackend._make_sliding_window_mask"
        if not load_sglang.has(file, make_mask):
            raise NotImplementedError("this version of SGLang's function has no sliding window")
        backend._make_sliding_window_mask = load_sglang(file, make_mask)
        # SGLang counts the keys before the query's own.
        window["sliding_window_size"] = SGLANG_GQA_RAGGED_PREFILL_CAUSAL_WINDOW - 1
    kv_len = (kv_indptr[1:] - kv_indptr[:-1]).long()
    q_len = (qo_indptr[1:] - qo_indptr[:-1]).long()
    masked = SGLANG_GQA_RAGGED_PREFILL_CAUSAL_MASKED
    # The queries that see a key: the last ones, or all where there is one.
    extend = torch.minimum(q_len, kv_len) if masked else q_len * (kv_len > 0)
    pieces = -(-extend // kv_len.clamp(min=1))
    owner = torch.repeat_interleave(q_len)
    keep = qo_indptr[1:].long()[owner] - torch.arange(q.shape[0], device=q.device) <= extend[owner]
    output = q.new_zeros((*q.shape[:2], v.shape[-1]))
    some = torch.repeat_interleave(pieces)  # a request each
    number = torch.arange(some.numel(), device=q.device) - (pieces.cumsum(0) - pieces)[some]
    taken = torch.minimum(kv_len[some], extend[some] - number * kv_len[some])
    if some.numel() == 0:
        return output, None
    position = torch.arange(int(kv_len[some].max()), device=q.device)
    position = torch.minimum(position, kv_len[some, None] - 1)
    result = attend(
        backend,
        q[keep].float(),
        torch.empty_like(output[keep], dtype=torch.float32),
        k.float(),
        v.float(),
        kv_indptr[:-1].long()[some, None] + position,
        torch.arange(some.numel(), device=q.device),
        kv_len[some],
        kv_len[some] - taken,
        taken,
        scaling=float(sm_scale),
        enable_gqa=q.shape[1] != k.shape[1],
        causal=masked,
        **window,
    )
    output[keep] = result.to(q.dtype)
    return output, None
