"""SGLang's torch-native prefill attention (`srt/layers/attention/torch_native_backend.py`)."""

from types import SimpleNamespace
from typing import Any

import torch

SGLANG_GQA_PAGED_PREFILL_CAUSAL_WINDOW: int | None = None  # keys a query sees, with its own


def sglang_gqa_paged_prefill_causal(
    load_sglang: Any,
    q: torch.Tensor,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
    qo_indptr: torch.Tensor,
    kv_indptr: torch.Tensor,
    kv_indices: torch.Tensor,
    sm_scale: float | torch.Tensor,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Output of `_run_sdpa_forward_extend`, causal; it gives no lse.

    It reads a cache of one token a place through a table of places, request by request. It runs
    in float32 here: in bfloat16 it would round the attention weights. It expects the keys of the
    queries to be in the cache and does not define what a query without keys gives, so such rows
    are not handed to it and hold the definition's 0. It knows no scales of an eight-bit cache: here
    they multiply the logits' factor and its output.
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
    if SGLANG_GQA_PAGED_PREFILL_CAUSAL_WINDOW is not None:
        make_mask = "TorchNativeAttnBackend._make_sliding_window_mask"
        if not load_sglang.has(file, make_mask):
            raise NotImplementedError("this version of SGLang's function has no sliding window")
        backend._make_sliding_window_mask = load_sglang(file, make_mask)
        # SGLang counts the keys before the query's own.
        window["sliding_window_size"] = SGLANG_GQA_PAGED_PREFILL_CAUSAL_WINDOW - 1
    page_size, num_kv_heads, head_dim = k_cache.shape[1:]
    pages = (kv_indptr[1:] - kv_indptr[:-1]).long()
    # Pages of one token have no such input: each is full.
    last = others.get("kv_last_page_len", torch.ones_like(pages)).long()
    kv_len = torch.where(pages > 0, (pages - 1) * page_size + last, 0)
    q_len = (qo_indptr[1:] - qo_indptr[:-1]).long()
    extend = torch.minimum(q_len, kv_len)  # the queries that see a key: the last ones
    owner = torch.repeat_interleave(q_len)
    keep = qo_indptr[1:].long()[owner] - torch.arange(q.shape[0], device=q.device) <= extend[owner]
    output = q.new_zeros((*q.shape[:2], v_cache.shape[-1]))
    some = extend.nonzero()[:, 0]
    if some.numel() == 0:
        return output, None
    # Place of token j of request b: its page's number times the page size, plus its slot.
    position = torch.arange(int(kv_len[some].max()), device=q.device)
    position = torch.minimum(position, kv_len[some, None] - 1)
    page = kv_indices[kv_indptr[:-1].long()[some, None] + position // page_size].long()
    result = attend(
        backend,
        q[keep].float(),
        torch.empty_like(output[keep], dtype=torch.float32),
        k_cache.reshape(-1, num_kv_heads, head_dim).float(),
        v_cache.reshape(-1, num_kv_heads, v_cache.shape[-1]).float(),
        page * page_size + position % page_size,
        torch.arange(some.numel(), device=q.device),
        kv_len[some],
        (kv_len - extend)[some],
        extend[some],
        scaling=float(sm_scale) * float(others.get("k_scale", 1.0)),
        enable_gqa=q.shape[1] != num_kv_heads,
        causal=True,
        **window,
    )
    output[keep] = (result * float(others.get("v_scale", 1.0))).to(q.dtype)
    return output, None
