"""SGLang's torch-native attention as ground truth for mla_paged."""

from collections.abc import Callable
from typing import Any

import torch


def sglang_mla_paged(
    load_sglang: Callable[..., Callable[..., Any]], **inputs: Any
) -> tuple[torch.Tensor, None]:
    """Absorbed MLA as SGLang's torch-native backend runs it: one KV head, V a prefix of K.

    The loops of `TorchNativeAttnBackend._run_sdpa_forward_decode` and `_run_sdpa_forward_extend`
    stay as they are; they get float32 tensors, as their arithmetic follows the dtype of the
    inputs. SGLang runs no sequence without keys, so such sequences are left out and their rows
    keep the values of the definition (0).

    Returns:
        The output in the dtype of q_nope, and None: this implementation gives no log-sum-exp.
    """
    return _sglang_mla_paged(load_sglang, **inputs)


def _sglang_mla_paged(
    load_sglang: Callable[..., Callable[..., Any]],
    q_nope: torch.Tensor,
    q_pe: torch.Tensor,
    ckv_cache: torch.Tensor,
    kpe_cache: torch.Tensor,
    kv_indptr: torch.Tensor,
    kv_indices: torch.Tensor,
    sm_scale: float | torch.Tensor,
    qo_indptr: torch.Tensor | None = None,
    kv_last_page_len: torch.Tensor | None = None,
    kv_scale: float | torch.Tensor = 1.0,
) -> tuple[torch.Tensor, None]:
    device = q_nope.device
    page_size = ckv_cache.shape[1]
    pages = kv_indptr.long().diff()
    last = torch.full_like(pages, page_size) if kv_last_page_len is None else kv_last_page_len
    kv_lens = torch.where(pages > 0, (pages - 1) * page_size + last.long(), 0)
    q_lens = torch.ones_like(pages) if qo_indptr is None else qo_indptr.long().diff()
    kept = (kv_lens > 0) & (q_lens > 0)
    output = torch.zeros_like(q_nope)
    if not bool(kept.any()):
        return output, None

    tokens = kv_indices.long()[:, None] * page_size + torch.arange(page_size, device=device)
    tokens = tokens.flatten()
    longest = int(kv_lens.max())
    req_to_token = torch.zeros((int(kept.sum()), longest), dtype=torch.long, device=device)
    for row, seq in enumerate(kept.nonzero().flatten().tolist()):
        begin, length = int(kv_indptr[seq]) * page_size, int(kv_lens[seq])
        req_to_token[row, :length] = tokens[begin : begin + length]

    rows = torch.repeat_interleave(kept, q_lens)
    keys = torch.cat((ckv_cache.float(), kpe_cache.float()), -1).flatten(0, 1).unsqueeze(1)
    keys *= float(kv_scale)
    query = torch.cat((q_nope, q_pe), -1)[rows].float()
    result = torch.zeros((query.shape[0], *q_nope.shape[1:]), device=device)
    arguments: dict[str, Any] = {
        "self": None,
        "query": query,
        "output": result,
        "k_cache": keys,
        "v_cache": keys[..., : q_nope.shape[2]],
        "req_to_token": req_to_token,
        "req_pool_indices": torch.arange(len(req_to_token), device=device),
        "seq_lens": kv_lens[kept],
        "scaling": float(sm_scale),
        "enable_gqa": q_nope.shape[1] != 1,
    }
    if qo_indptr is None:
        name = "_run_sdpa_forward_decode"
        arguments["causal"] = False
    else:
        name = "_run_sdpa_forward_extend"
        arguments["extend_prefix_lens"] = (kv_lens - q_lens)[kept]
        arguments["extend_seq_lens"] = q_lens[kept]
        arguments["causal"] = True
    attention = load_sglang(
        "srt/layers/attention/torch_native_backend.py",
        f"TorchNativeAttnBackend.{name}",
        scaled_dot_product_attention=torch.nn.functional.scaled_dot_product_attention,
    )
    attention(**arguments)
    output[rows] = result.to(output.dtype)
    return output, None
