"""FlashInfer's BatchMLAPagedAttentionWrapper as ground truth for mla_paged."""

from typing import Any

import torch

# Rows of a tile of queries, a row being one head of one query. Where a tile ends within a query,
# the kernels may leave out the last key that it sees; FlashInfer 0.7 refuses, older ones do not.
TILE_ROWS = 128


def flashinfer_mla_paged_fa2(**inputs: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """The backend written for compute capability 8.0 and up."""
    return _flashinfer_mla_paged("fa2", **inputs)


def flashinfer_mla_paged_fa3(**inputs: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """The backend written for Hopper."""
    return _flashinfer_mla_paged("fa3", **inputs)


def _flashinfer_mla_paged(
    backend: str,
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
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output and base-2 log-sum-exp (`run` gives base 2 unless told otherwise).

    The kernel gets the sequences that have keys; older releases wrote nothing for the others,
    whose rows keep the values of the definition (0 and -inf). Unused memory of the cache is NaN
    in some tests and is cleared, because the kernel may weigh masked keys with 0. A cache of eight
    bits is converted for it, as SGLang does.
    """
    import flashinfer

    device = q_nope.device
    heads, ckv = q_nope.shape[1], q_nope.shape[2]
    if qo_indptr is not None and TILE_ROWS % heads:
        raise NotImplementedError(
            f"a causal mask needs a number of heads that divides {TILE_ROWS}, not {heads}"
        )
    page_size = ckv_cache.shape[1]
    pages = kv_indptr.diff()
    last = torch.full_like(pages, page_size) if kv_last_page_len is None else kv_last_page_len
    kv_lens = torch.where(pages > 0, (pages - 1) * page_size + last, 0).int()
    q_lens = torch.ones_like(pages) if qo_indptr is None else qo_indptr.diff()
    kept = (kv_lens > 0) & (q_lens > 0)
    rows = torch.repeat_interleave(kept, q_lens.long())
    output = torch.zeros_like(q_nope)
    lse = torch.full((q_nope.shape[0], heads), float("-inf"), device=device)
    if not bool(kept.any()):
        return output, lse

    ckv_cache, kpe_cache = (
        torch.nan_to_num(cache.to(q_nope.dtype)) for cache in (ckv_cache, kpe_cache)
    )

    def offsets(lengths: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.pad(lengths.cumsum(0), (1, 0)).int()

    workspace = torch.empty(128 * 1024 * 1024, dtype=torch.uint8, device=device)
    wrapper = flashinfer.mla.BatchMLAPagedAttentionWrapper(workspace, backend=backend)
    used_pages = torch.repeat_interleave(kept, pages.long())
    pages_of = {
        "qo_indptr": offsets(q_lens[kept]),
        "kv_indptr": offsets(pages[kept]),
        "kv_indices": kv_indices[used_pages].int(),
        "kv_len_arr": kv_lens[kept],
    }
    query, cache = (q_nope[rows], q_pe[rows]), (ckv_cache, kpe_cache)
    plan: dict[str, Any] = pages_of
    run: dict[str, Any] = dict(
        zip(("q_nope", "q_pe", "ckv_cache", "kpe_cache"), query + cache, strict=True)
    )
    if hasattr(flashinfer.mla, "MLAPlanMetadata"):  # FlashInfer 0.7 deprecates the form of 0.6
        plan = {"metadata": flashinfer.mla.MLAPlanMetadata.csr(**pages_of), "lse_mode": "base2"}
        plan |= {"query_layout": "split", "kv_cache_layout": "split"}
        run = {"query": query, "kv_cache": cache}
    wrapper.plan(
        **plan,
        num_heads=heads,
        head_dim_ckv=ckv,
        head_dim_kpe=q_pe.shape[2],
        page_size=page_size,
        causal=qo_indptr is not None,
        sm_scale=float(sm_scale) * float(kv_scale),
        q_data_type=q_nope.dtype,
        kv_data_type=ckv_cache.dtype,
    )
    output[rows], lse[rows] = wrapper.run(**run, return_lse=True)
    return output * float(kv_scale), lse
