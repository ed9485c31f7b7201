"""DeepSeek's FlashMLA as ground truth for attention to a window and to compressed keys."""

import torch

HEADS = 64


def flash_mla_sparse_mla_dsv4(
    query: torch.Tensor,
    swa_kv_cache: torch.Tensor,
    sparse_indices: torch.Tensor,
    swa_topk_lens: torch.Tensor,
    sinks: torch.Tensor,
    bmm1_scale: float | torch.Tensor,
    compressed_kv_cache: torch.Tensor | None = None,
    extra_sparse_indices: torch.Tensor | None = None,
    extra_sparse_topk_lens: torch.Tensor | None = None,
) -> torch.Tensor:
    """`flash_mla_with_kvcache`, with heads and lists filled up to multiples of 64.

    Its pages are padded to multiples of 576 bytes.
    """
    from flash_mla import flash_mla_with_kvcache, get_mla_metadata

    heads = query.shape[1]
    rows = -(-heads // HEADS) * HEADS
    padded = query.new_zeros(query.shape[0], rows, query.shape[2])
    padded[:, :heads] = query
    sink = sinks.new_zeros(rows)
    sink[:heads] = sinks
    more = {}
    if compressed_kv_cache is not None and extra_sparse_indices is not None:
        more = {
            "extra_k_cache": paged(compressed_kv_cache),
            "extra_indices_in_kvcache": filled(extra_sparse_indices),
            "extra_topk_length": extra_sparse_topk_lens,
        }
    output, _ = flash_mla_with_kvcache(
        q=padded[:, None],
        k_cache=paged(swa_kv_cache),
        block_table=None,
        cache_seqlens=None,
        head_dim_v=query.shape[2],
        tile_scheduler_metadata=get_mla_metadata()[0],
        softmax_scale=float(bmm1_scale),
        is_fp8_kvcache=True,
        indices=filled(sparse_indices),
        topk_length=swa_topk_lens,
        attn_sink=sink,
        **more,
    )
    result: torch.Tensor = output[:, 0, :heads]
    return result


def filled(indices: torch.Tensor) -> torch.Tensor:
    """Lists [n, 1, a multiple of 64], with -1 behind."""
    width = -(-indices.shape[1] // 64) * 64
    rest = indices.new_full((indices.shape[0], width - indices.shape[1]), -1)
    return torch.cat((indices, rest), 1)[:, None].contiguous()


def paged(cache: torch.Tensor) -> torch.Tensor:
    """The cache, of which each page begins at a multiple of 576 bytes."""
    pages = cache.view(torch.uint8).flatten(1)
    size = -(-pages.shape[1] // 576) * 576
    wide = pages.new_zeros(pages.shape[0], size)
    wide[:, : pages.shape[1]] = pages
    return wide[:, : pages.shape[1]].view(cache.shape)
