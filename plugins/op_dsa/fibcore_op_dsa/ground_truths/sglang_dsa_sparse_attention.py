"""SGLang's torch-native attention as ground truth for sparse latent attention."""

from collections.abc import Callable
from typing import Any

import torch


def sglang_dsa_sparse_attention(
    load_sglang: Callable[..., Callable[..., Any]],
    q_nope: torch.Tensor,
    q_pe: torch.Tensor,
    ckv_cache: torch.Tensor,
    kpe_cache: torch.Tensor,
    sparse_indices: torch.Tensor,
    sm_scale: float | torch.Tensor,
) -> tuple[torch.Tensor, None]:
    """Attention as SGLang's torch-native backend runs it, every query a sequence of its keys.

    The loop of `TorchNativeAttnBackend._run_sdpa_forward_decode` stays as it is; it gets float32
    tensors, as its arithmetic follows the dtype of the inputs, one KV head, and V as a prefix of K.

    Returns:
        The output in the dtype of q_nope, 0 for queries without keys, and None: this
        implementation gives no log-sum-exp.
    """
    there = sparse_indices >= 0
    kept = there.any(-1)
    output = torch.zeros_like(q_nope)
    if not bool(kept.any()):
        return output, None
    order = torch.argsort((~there).byte(), dim=-1, stable=True)
    tokens = sparse_indices.gather(1, order)[kept].long()
    keys = torch.cat((ckv_cache, kpe_cache), -1).flatten(0, 1).unsqueeze(1).float()
    query = torch.cat((q_nope, q_pe), -1)[kept].float()
    result = torch.zeros((query.shape[0], *q_nope.shape[1:]), device=q_nope.device)
    attention = load_sglang(
        "srt/layers/attention/torch_native_backend.py",
        "TorchNativeAttnBackend._run_sdpa_forward_decode",
        scaled_dot_product_attention=torch.nn.functional.scaled_dot_product_attention,
    )
    attention(
        self=None,
        query=query,
        output=result,
        k_cache=keys,
        v_cache=keys[..., : q_nope.shape[2]],
        req_to_token=tokens,
        req_pool_indices=torch.arange(len(tokens), device=tokens.device),
        seq_lens=there.sum(-1)[kept],
        scaling=float(sm_scale),
        enable_gqa=q_nope.shape[1] != 1,
        causal=False,
    )
    output[kept] = result.to(output.dtype)
    return output, None


def sglang_dsa_sparse_attention_fp8_block_scale(
    load_sglang: Callable[..., Callable[..., Any]],
    q_nope: torch.Tensor,
    q_pe: torch.Tensor,
    kv_cache: torch.Tensor,
    sparse_indices: torch.Tensor,
    sm_scale: float | torch.Tensor,
) -> tuple[torch.Tensor, None]:
    """The output, and None: this implementation gives no log-sum-exp.

    What SGLang 0.5.9 holds its kernel against makes bfloat16 of the cache, as its prefill does for
    kernels that take no fp8.
    """
    dequantise = load_sglang(
        "srt/layers/attention/nsa/dequant_k_cache.py", "_dequantize_k_cache_ref"
    )
    width, rope = q_nope.shape[2], q_pe.shape[2]
    plain = dequantise(kv_cache[:, :, None].view(torch.float8_e4m3fn), width, 128, width + rope)
    plain = plain.view(*kv_cache.shape[:2], width + rope)
    return sglang_dsa_sparse_attention(
        load_sglang, q_nope, q_pe, plain[..., :width], plain[..., width:], sparse_indices, sm_scale
    )
