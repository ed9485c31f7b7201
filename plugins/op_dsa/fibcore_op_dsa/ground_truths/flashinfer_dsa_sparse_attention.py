"""FlashInfer's BatchMLAPagedAttentionWrapper as ground truth for sparse latent attention.

With pages of one token, the page table of a query is the list of the keys that were chosen for it.
"""

from typing import Any

import torch


def flashinfer_dsa_sparse_attention_fa2(**inputs: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """The backend written for compute capability 8.0 and up."""
    return _flashinfer_dsa_sparse_attention("fa2", **inputs)


def flashinfer_dsa_sparse_attention_fa3(**inputs: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """The backend written for Hopper."""
    return _flashinfer_dsa_sparse_attention("fa3", **inputs)


def _flashinfer_dsa_sparse_attention(
    backend: str,
    q_nope: torch.Tensor,
    q_pe: torch.Tensor,
    ckv_cache: torch.Tensor,
    kpe_cache: torch.Tensor,
    sparse_indices: torch.Tensor,
    sm_scale: float | torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output and base-2 log-sum-exp (`run` gives base 2 unless told otherwise).

    Each query is a sequence of its own. The kernel gets those that have keys; the rows of the
    others keep the values of the definition (0 and -inf). Unused memory of the cache is NaN in some
    tests and is cleared, because the kernel may weigh masked keys with 0.
    """
    import flashinfer

    device = q_nope.device
    heads, ckv = q_nope.shape[1], q_nope.shape[2]
    there = sparse_indices >= 0
    lengths = there.sum(-1)
    kept = lengths > 0
    output = torch.zeros_like(q_nope)
    lse = torch.full((q_nope.shape[0], heads), float("-inf"), device=device)
    if not bool(kept.any()):
        return output, lse

    lengths = lengths[kept]
    workspace = torch.empty(128 * 1024 * 1024, dtype=torch.uint8, device=device)
    wrapper = flashinfer.mla.BatchMLAPagedAttentionWrapper(workspace, backend=backend)
    tokens_of = {
        "qo_indptr": torch.arange(len(lengths) + 1, dtype=torch.int32, device=device),
        "kv_indptr": torch.nn.functional.pad(lengths.cumsum(0), (1, 0)).int(),
        "kv_indices": sparse_indices[there].int(),
        "kv_len_arr": lengths.int(),
    }
    query = (q_nope[kept], q_pe[kept])
    cache = tuple(torch.nan_to_num(c).flatten(0, 1)[:, None] for c in (ckv_cache, kpe_cache))
    plan: dict[str, Any] = tokens_of
    run: dict[str, Any] = dict(
        zip(("q_nope", "q_pe", "ckv_cache", "kpe_cache"), query + cache, strict=True)
    )
    if hasattr(flashinfer.mla, "MLAPlanMetadata"):  # FlashInfer 0.7 deprecates the form of 0.6
        plan = {"metadata": flashinfer.mla.MLAPlanMetadata.csr(**tokens_of), "lse_mode": "base2"}
        plan |= {"query_layout": "split", "kv_cache_layout": "split"}
        run = {"query": query, "kv_cache": cache}
    wrapper.plan(
        **plan,
        num_heads=heads,
        head_dim_ckv=ckv,
        head_dim_kpe=q_pe.shape[2],
        page_size=1,
        causal=False,  # one query sees all that its table names
        sm_scale=float(sm_scale),
        q_data_type=q_nope.dtype,
        kv_data_type=ckv_cache.dtype,
    )
    output[kept], lse[kept] = wrapper.run(**run, return_lse=True)
    return output, lse


def flashinfer_dsa_sparse_attention_fp8_block_scale(
    q_nope: torch.Tensor,
    q_pe: torch.Tensor,
    kv_cache: torch.Tensor,
    sparse_indices: torch.Tensor,
    sm_scale: float | torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output and base-2 log-sum-exp; keys are rounded to bfloat16, as FlashMLA's kernel does."""
    width = q_nope.shape[2]
    middle = width + width // 128 * 4
    latent = kv_cache[..., :width].contiguous().view(torch.float8_e4m3fn).float()
    scales = kv_cache[..., width:middle].contiguous().view(torch.float32)
    latent = (latent.view(*scales.shape, 128) * scales[..., None]).flatten(-2)
    rope = kv_cache[..., middle:].contiguous().view(torch.bfloat16)
    return _flashinfer_dsa_sparse_attention(
        "fa3", q_nope, q_pe, latent.to(q_nope.dtype), rope, sparse_indices, sm_scale
    )
