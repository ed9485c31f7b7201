"""SGLang's torch-native attention as ground truth for mla_ragged."""

from collections.abc import Callable
from typing import Any

import torch


def sglang_mla_ragged(
    load_sglang: Callable[..., Callable[..., Any]],
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    qo_indptr: torch.Tensor,
    kv_indptr: torch.Tensor,
    sm_scale: float | torch.Tensor,
) -> tuple[torch.Tensor, None]:
    """Materialised MLA prefill as SGLang's torch-native backend runs it.

    `TorchNativeAttnBackend._run_sdpa_forward_extend` stays as it is; it gets float32 tensors, as
    its arithmetic follows the dtype of the inputs, and k and v in the place of a cache. SGLang
    runs no sequence without keys, so such sequences are left out and their rows keep the values
    of the definition (0).

    Returns:
        The output in the dtype of q, and None: this implementation gives no log-sum-exp.
    """
    device = q.device
    q_lens, kv_lens = qo_indptr.long().diff(), kv_indptr.long().diff()
    kept = (kv_lens > 0) & (q_lens > 0)
    output = torch.zeros((*q.shape[:2], v.shape[2]), dtype=q.dtype, device=device)
    if not bool(kept.any()):
        return output, None

    # A table of token slots per sequence; what lies beyond a sequence's length is not read.
    table = kv_indptr.long()[:-1, None] + torch.arange(int(kv_lens.max()), device=device)
    rows = torch.repeat_interleave(kept, q_lens)
    query = q[rows].float()
    result = torch.zeros((*query.shape[:2], v.shape[2]), device=device)
    attention = load_sglang(
        "srt/layers/attention/torch_native_backend.py",
        "TorchNativeAttnBackend._run_sdpa_forward_extend",
        scaled_dot_product_attention=torch.nn.functional.scaled_dot_product_attention,
    )
    attention(
        self=None,
        query=query,
        output=result,
        k_cache=k.float(),
        v_cache=v.float(),
        req_to_token=table[kept],
        req_pool_indices=torch.arange(int(kept.sum()), device=device),
        seq_lens=kv_lens[kept],
        extend_prefix_lens=(kv_lens - q_lens)[kept],
        extend_seq_lens=q_lens[kept],
        scaling=float(sm_scale),
        enable_gqa=False,
        causal=True,
    )
    output[rows] = result.to(output.dtype)
    return output, None
