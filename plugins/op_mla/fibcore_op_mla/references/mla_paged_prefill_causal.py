"""Causal prefill of multi-head latent attention over a paged latent cache, absorbed form."""  # only: pages
# except: pages: """Causal prefill of multi-head latent attention over a latent cache of one-token pages."""

import math

import torch

NUM_QO_HEADS = 16
HEAD_DIM_CKV = 512
HEAD_DIM_KPE = 64
PAGE_SIZE = 64

# Bounds of the working memory: query tokens in a tile, keys in a step, and bytes that the tiles of
# one group may take together. A GPU needs much to do at a time, a CPU what its caches hold.
GPU_BOUNDS = (64, 2048, min(NUM_QO_HEADS, 64) * (7 << 20))
CPU_BOUNDS = (64, 512, 8 << 20)
# What hides a logit.
LOWEST = torch.finfo(torch.float32).min


def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Products of matrices [n, ., .], summed in float32; those of bfloat16 numbers are exact."""
    if a.dtype == torch.float32:
        return torch.bmm(a, b)
    return torch.bmm(a, b, out_dtype=torch.float32)


def exact_dtype(q: torch.Tensor) -> torch.dtype:
    """What `product` takes: the dtype of q where tensor cores multiply it into float32."""
    on_tensor_cores = q.is_cuda and "out_dtype" in (torch.bmm.__doc__ or "")
    return q.dtype if on_tensor_cores else torch.float32


def gather_keys(
    ckv_cache: torch.Tensor,
    kpe_cache: torch.Tensor,
    kv_indices: torch.Tensor,
    first_page: torch.Tensor,
    length: torch.Tensor,
    begin: int,
    end: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The keys from `begin` to `end` of n sequences, and on to the end of a page.

    Args:
        ckv_cache: [num_pages, page_size, ckv].
        kpe_cache: [num_pages, page_size, kpe].
        kv_indices: [num_kv_indices] page numbers.
        first_page: [n, 1], where those of each sequence begin in kv_indices.
        length: [n, 1] number of keys.
        begin: First key, the first one of a page.
        end: The key after the last one.

    Returns:
        ckv [n, keys, ckv], 0 beyond a sequence; kpe [n, keys, kpe]; which keys lie beyond a
        sequence [n, keys].
    """
    page = torch.arange(begin // PAGE_SIZE, -(-end // PAGE_SIZE), device=length.device)
    # Sequences that have fewer pages read their last one again.
    page = torch.minimum(page, (length - 1) // PAGE_SIZE)
    page = kv_indices[first_page + page]
    ckv, kpe = ckv_cache[page].flatten(1, 2), kpe_cache[page].flatten(1, 2)
    # only: fp8: # Exact: a bfloat16 number has all bits that one of eight bits has.
    # only: fp8: ckv, kpe = ckv.to(torch.bfloat16), kpe.to(torch.bfloat16)
    beyond = torch.arange(begin, begin + ckv.shape[1], device=length.device) >= length
    # Memory there may hold anything, NaN too, and 0 * NaN is NaN.
    return ckv.masked_fill_(beyond[..., None], 0), kpe, beyond


def weighted_sum(weights: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Float32 weights [n, rows, keys], overwritten, @ values [n, keys, width], in float32."""
    if values.dtype == torch.float32:
        return product(weights, values)
    # Two parts in the values' dtype hold 16 bits of a weight: tensor cores multiply both.
    part = weights.to(values.dtype)
    result = product(part, values)
    part.copy_(weights.sub_(part))
    return torch.baddbmm(result, part, values, out_dtype=torch.float32, out=result)


def attend_step(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    hidden: torch.Tensor,
    sm_scale: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention of n tiles to the keys of one step, the same for all heads.

    Args:
        q: [n, queries * heads, dim].
        k: [n, keys, dim].
        v: [n, keys, width].
        hidden: [n, queries, some], for the last ones of the keys.
        sm_scale: Factor of the logits.

    Returns:
        The mean [n, queries * heads, width] of the values in float32, weighed by exp(logit), and
        the logarithm [n, queries * heads, 1] of the sum of exp(logit).
    """
    logits = product(q, k.mT).mul_(sm_scale)
    n, queries, some = hidden.shape
    keys = k.shape[1]
    by_query = logits.view(n, queries, -1, keys)
    # Not -inf: where all keys of a step are hidden from a query, the weights would be NaN. The
    # share of such a step in the result is 0.
    by_query[..., keys - some :].masked_fill_(hidden[:, :, None], LOWEST)
    largest = logits.amax(-1, keepdim=True)
    weights = logits.sub_(largest).exp_()
    sums = weights.sum(-1, keepdim=True)
    return weighted_sum(weights, v).div_(sums), largest + sums.log()


def attend(
    q_nope: torch.Tensor,
    q_pe: torch.Tensor,
    ckv_cache: torch.Tensor,
    kpe_cache: torch.Tensor,
    kv_indices: torch.Tensor,
    tiles: list[tuple[int, int, int, int]],
    key_chunk: int,
    group_bytes: int,
    sm_scale: float,
    # only: fp8: kv_scale: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention of tiles of queries over steps of keys, whose results are merged.

    A tile has consecutive queries of one sequence. Tiles are worked on in groups, those that see
    the most keys first, so that tiles of about the same length share a group.

    Args:
        q_nope: [total_q, heads, ckv].
        q_pe: [total_q, heads, kpe].
        ckv_cache: [num_pages, page_size, ckv].
        kpe_cache: [num_pages, page_size, kpe].
        kv_indices: [num_kv_indices] page numbers.
        tiles: (keys that its last query sees, its first query, its number of queries, where the
            pages of its sequence begin in kv_indices). Its other queries see a key less each, the
            first one at least one key.
        key_chunk: Keys in a step.
        group_bytes: What the tiles of a group may take together.
        sm_scale: Factor of the logits.
        # only: fp8: kv_scale: Factor of the output.

    Returns:
        The output in the dtype of q_nope, and the base-2 log-sum-exp [total_q, heads] in float32:
        0 and -inf for queries in no tile.
    """
    device, exact = q_nope.device, exact_dtype(q_nope)
    heads, ckv = q_nope.shape[1:]
    dim = ckv + q_pe.shape[2]
    output = torch.zeros_like(q_nope)
    lse = torch.full(q_nope.shape[:2], -math.inf, dtype=torch.float32, device=device)
    if not tiles:
        return output, lse

    tiles = sorted(tiles, reverse=True)
    reach, start, count, first_page = torch.tensor(tiles, device=device)[..., None].unbind(1)
    size = max(count for _, _, count, _ in tiles)
    # Tiles of fewer queries than others repeat their last one.
    offset = torch.minimum(torch.arange(size, device=device), count - 1)
    queries = start + offset
    last_key = reach - count + offset
    step = max(1, key_chunk // PAGE_SIZE) * PAGE_SIZE
    first = 0
    while first < len(tiles):
        longest = tiles[first][0]
        # Weights in float32 and in bfloat16, results, queries; keys, and their two parts.
        keys = min(-(-longest // PAGE_SIZE) * PAGE_SIZE, step)
        need = size * heads * (6 * keys + 4 * ckv + 2 * dim) + 4 * keys * dim
        own = slice(first, first + max(1, group_bytes // need))
        rows = queries[own]
        q = torch.cat((q_nope[rows], q_pe[rows]), -1).to(exact).flatten(1, 2)
        # Keys from this one on are hidden from some query.
        all_see = min(seen - n + 1 for seen, _, n, _ in tiles[own])
        for begin in range(0, longest, step):
            latent, rope, _ = gather_keys(
                *(ckv_cache, kpe_cache, kv_indices, first_page[own], reach[own]),
                *(begin, min(begin + step, longest)),
            )
            k = torch.cat((latent, rope), -1).to(exact)
            del latent, rope
            end = begin + k.shape[1]
            key = torch.arange(min(max(begin, all_see), end), end, device=device)
            hidden = key > last_key[own, :, None]
            means, sums = attend_step(q, k, k[..., :ckv], hidden, sm_scale)
            if begin == 0:  # every query sees the first key
                mixed, total = means, sums
            else:
                mixed.lerp_(means, torch.sigmoid(sums - total))
                total = torch.logaddexp(total, sums)
        # only: fp8: mixed.mul_(kv_scale)
        output[rows] = mixed.view(*rows.shape, heads, ckv).to(output.dtype)
        lse[rows] = total.view(*rows.shape, heads)
        first += len(rows)
    return output, lse.mul_(math.log2(math.e))


def causal_tiles(
    queries: list[int], keys: list[int], kv_starts: list[int], query_chunk: int
) -> list[tuple[int, int, int, int]]:
    """The tiles that `attend` takes; the last query of a sequence is aligned with its last key.

    Args:
        queries: [batch + 1], where the queries of each sequence begin.
        keys: [batch], the number of its keys.
        kv_starts: [batch], where they begin.
        query_chunk: The most queries of a tile.
    """
    # No more queries than sequences have in the mean: padding at most doubles the work then.
    size = max(1, min(query_chunk, -(-queries[-1] // max(1, len(keys)))))
    return [
        (length - end + min(first + size, end), first, min(size, end - first), kv_start)
        for begin, end, length, kv_start in zip(
            queries[:-1], queries[1:], keys, kv_starts, strict=True
        )
        # The queries before the first key see none.
        for first in range(max(begin, end - length), end, size)
    ]


@torch.no_grad()
def run(
    q_nope: torch.Tensor,
    q_pe: torch.Tensor,
    ckv_cache: torch.Tensor,
    kpe_cache: torch.Tensor,
    qo_indptr: torch.Tensor,
    kv_indptr: torch.Tensor,
    kv_indices: torch.Tensor,
    kv_last_page_len: torch.Tensor,  # only: pages
    sm_scale: float | torch.Tensor,
    # only: fp8: kv_scale: float | torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output [total_q, heads, ckv] and base-2 log-sum-exp [total_q, heads]."""
    total_q = q_nope.shape[0]
    batch_size = kv_last_page_len.shape[0]  # only: pages
    assert q_nope.shape[1:] == (NUM_QO_HEADS, HEAD_DIM_CKV)
    assert q_pe.shape == (total_q, NUM_QO_HEADS, HEAD_DIM_KPE)
    assert ckv_cache.shape[1:] == (PAGE_SIZE, HEAD_DIM_CKV)
    assert kpe_cache.shape == (ckv_cache.shape[0], PAGE_SIZE, HEAD_DIM_KPE)
    assert qo_indptr.shape == kv_indptr.shape == (batch_size + 1,)  # only: pages
    # except: pages: assert qo_indptr.shape == kv_indptr.shape
    queries = qo_indptr.tolist()
    assert total_q == queries[-1]
    starts = kv_indptr.tolist()
    assert kv_indices.shape[0] == starts[-1]

    lengths = [starts[i + 1] - starts[i] for i in range(len(starts) - 1)]
    # The last page holds kv_last_page_len keys, the ones before it are full.  # only: pages
    in_last = kv_last_page_len.tolist()  # only: pages
    lengths = [  # only: pages
        (pages - 1) * PAGE_SIZE + last if pages else 0  # only: pages
        for pages, last in zip(lengths, in_last, strict=True)  # only: pages
    ]  # only: pages
    bounds = GPU_BOUNDS if q_nope.is_cuda else CPU_BOUNDS
    query_chunk, key_chunk, group_bytes = bounds
    tiles = causal_tiles(queries, lengths, starts[:-1], query_chunk)
    return attend(
        *(q_nope, q_pe, ckv_cache, kpe_cache, kv_indices, tiles),
        *(key_chunk, group_bytes, float(sm_scale)),  # except: fp8
        # only: fp8: *(key_chunk, group_bytes, float(sm_scale) * float(kv_scale), float(kv_scale)),
    )
