"""Decode step of multi-head latent attention over a paged latent cache, absorbed form."""  # only: pages
# except: pages: """Decode step of multi-head latent attention over a latent cache of one-token pages."""

import math

import torch

NUM_QO_HEADS = 16
HEAD_DIM_CKV = 512
HEAD_DIM_KPE = 64
PAGE_SIZE = 64

# Bounds of the working memory: keys in a step, or more where few tiles have keys left, and
# elements that the tiles of one group may take together (2**25 in float32 are 128 MiB).
KEY_CHUNK = 512
GROUP_ELEMENTS = 1 << 25
# What hides a logit.
LOWEST = torch.finfo(torch.float32).min


def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Products of matrices [n, ., .], summed in float32; those of bfloat16 numbers are exact."""
    if a.dtype == torch.float32:
        return torch.bmm(a, b)
    return torch.bmm(a, b, out_dtype=torch.float32)


def mean(weights: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Float32 weights [n, rows, keys] @ values [n, keys, width], in float32."""
    if values.dtype == torch.float32:
        return product(weights, values)
    # Two parts in the values' dtype hold 16 bits of a weight: tensor cores multiply both in one go.
    n, rows, keys = weights.shape
    parts = values.new_empty((n, 2, rows, keys))
    parts[:, 0] = weights
    torch.sub(weights, parts[:, 0], out=parts[:, 1])
    products = product(parts.view(n, 2 * rows, keys), values)
    high, low = products.view(n, 2, rows, values.shape[2]).unbind(1)
    return high + low


def attend_step(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    hidden: torch.Tensor,
    sm_scale: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention to the keys of one step.

    Args:
        q: [n, rows, dim]; the rows of all n are [tiles, heads, queries].
        k: [n, keys, dim].
        v: [n, keys, width].
        hidden: [tiles, 1, queries, some], for the last ones of the keys.
        sm_scale: Factor of the logits.

    Returns:
        The mean [n, rows, width] of the values, weighed by exp(logit), and the logarithm
        [n, rows, 1] of the sum of exp(logit).
    """
    logits = product(q, k.transpose(1, 2)).mul_(sm_scale)
    tiles, _, queries, some = hidden.shape
    by_query = logits.view(tiles, -1, queries, k.shape[1])
    # Not -inf: where all keys of a step are hidden from a query, a softmax would be NaN. The share
    # of such a step in the result is 0.
    by_query[..., k.shape[1] - some :].masked_fill_(hidden, LOWEST)
    weights = torch.softmax(logits, -1)
    # The largest weight is 1 / sum(exp(logit - largest logit)).
    sums = logits.amax(-1, keepdim=True) - weights.amax(-1, keepdim=True).log_()
    return mean(weights, v), sums


def attend(
    q_nope: torch.Tensor,
    q_pe: torch.Tensor,
    ckv_cache: torch.Tensor,
    kpe_cache: torch.Tensor,
    kv_indices: torch.Tensor,
    tiles: list[tuple[int, int, int, int]],
    sm_scale: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention of tiles of queries over steps of keys, whose results are merged.

    A tile has consecutive queries of one sequence. Tiles are worked on in groups, those that see
    the most keys first, so that tiles of about the same length share a group. All heads use the
    same keys: (ckv, kpe) for the logits, ckv as values.

    Args:
        q_nope: [total_q, heads, ckv].
        q_pe: [total_q, heads, kpe].
        ckv_cache: [num_pages, page_size, ckv].
        kpe_cache: [num_pages, page_size, kpe].
        kv_indices: [num_kv_indices] page numbers.
        tiles: (keys that its last query sees, its first query, its number of queries, where the
            pages of its sequence begin in kv_indices). Its other queries see a key less each, the
            first one at least one key.
        sm_scale: Factor of the logits.

    Returns:
        The output in the dtype of q_nope, and the base-2 log-sum-exp [total_q, heads] in float32:
        0 and -inf for queries in no tile.
    """
    device = q_nope.device
    heads, ckv = q_nope.shape[1], q_nope.shape[2]
    dim = ckv + q_pe.shape[2]
    output = torch.zeros(q_nope.shape, dtype=q_nope.dtype, device=device)
    lse = torch.full(q_nope.shape[:2], -math.inf, dtype=torch.float32, device=device)
    if not tiles:
        return output, lse

    on_tensor_cores = q_nope.is_cuda and "out_dtype" in (torch.bmm.__doc__ or "")
    exact = q_nope.dtype if on_tensor_cores else torch.float32
    # Query i of head h is row i * heads + h, a key of the cache row page * PAGE_SIZE + place in it.
    nope_rows, pe_rows = q_nope.flatten(0, 1), q_pe.flatten(0, 1)
    head = torch.arange(heads, device=device)[:, None]
    ckv_rows, kpe_rows = ckv_cache.flatten(0, 1), kpe_cache.flatten(0, 1)
    tiles = sorted(tiles, reverse=True)
    reaches = [reach for reach, *_ in tiles]
    table = torch.tensor(tiles, device=device)
    tile = max(count for _, _, count, _ in tiles)
    step = min(KEY_CHUNK, reaches[0])
    group = tile * heads * (4 * step + dim + 4 * ckv) + 2 * step * dim
    group = max(1, GROUP_ELEMENTS // group)
    for first in range(0, len(reaches), group):
        own = slice(first, first + group)
        reach, start, count, pages = table[own, :, None].unbind(1)
        # Tiles of fewer queries than others repeat their last one.
        offset = torch.minimum(torch.arange(tile, device=device), count - 1)
        rows = (start + offset)[:, None] * heads + head
        last_key = reach - count + offset
        q = torch.cat((nope_rows[rows], pe_rows[rows]), -1).to(exact).flatten(1, 2)
        begin = 0
        while begin < reaches[first]:
            # Those of the group that have keys left: the fewer, the more keys in a step.
            active = sum(r > begin for r in reaches[own])
            end = min(begin + step * (group // active), reaches[first])
            key = torch.arange(begin, end, device=device)
            # What lies beyond a sequence may be anything, NaN too, and 0 * NaN is NaN: read the
            # tile's last key again there. It is hidden below.
            inside = torch.minimum(key, reach[:active] - 1)
            page = kv_indices[pages[:active] + inside // PAGE_SIZE].long()
            slot = page * PAGE_SIZE + inside % PAGE_SIZE
            k = torch.cat((ckv_rows[slot], kpe_rows[slot]), -1).to(exact)
            # Keys from this one on are hidden from some query.
            all_see = min(r - n + 1 for r, _, n, _ in tiles[own][:active])
            hidden = key[max(all_see - begin, 0) :] > last_key[:active, None, :, None]
            means, sums = attend_step(q[:active], k, k[:, :, :ckv], hidden, sm_scale)
            if begin == 0:  # every query sees the first key
                mixed, total = means, sums
            else:
                share = torch.sigmoid(sums - total[:active])
                mixed[:active].lerp_(means, share)
                total[:active] = torch.logaddexp(total[:active], sums)
            begin = end
        output.view(-1, ckv)[rows] = mixed.view(*rows.shape, ckv).to(output.dtype)
        lse.view(-1)[rows] = total.view(rows.shape) * math.log2(math.e)
    return output, lse


@torch.no_grad()
def run(
    q_nope: torch.Tensor,
    q_pe: torch.Tensor,
    ckv_cache: torch.Tensor,
    kpe_cache: torch.Tensor,
    kv_indptr: torch.Tensor,
    kv_indices: torch.Tensor,
    kv_last_page_len: torch.Tensor,  # only: pages
    sm_scale: float | torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output [batch_size, heads, ckv] and base-2 log-sum-exp [batch_size, heads]."""
    batch_size = q_nope.shape[0]
    assert q_nope.shape[1:] == (NUM_QO_HEADS, HEAD_DIM_CKV)
    assert q_pe.shape == (batch_size, NUM_QO_HEADS, HEAD_DIM_KPE)
    assert ckv_cache.shape[1:] == (PAGE_SIZE, HEAD_DIM_CKV)
    assert kpe_cache.shape == (ckv_cache.shape[0], PAGE_SIZE, HEAD_DIM_KPE)
    assert kv_indptr.shape == (batch_size + 1,)
    assert kv_last_page_len.shape == (batch_size,)  # only: pages
    starts = kv_indptr.tolist()
    assert kv_indices.shape[0] == starts[-1]

    lengths = kv_indptr.diff().tolist()
    # The last page holds kv_last_page_len keys, the ones before it are full.  # only: pages
    in_last = kv_last_page_len.tolist()  # only: pages
    lengths = [  # only: pages
        (pages - 1) * PAGE_SIZE + last if pages else 0  # only: pages
        for pages, last in zip(lengths, in_last, strict=True)  # only: pages
    ]  # only: pages
    # A tile a sequence, of one query, which sees all keys.
    tiles = [(length, i, 1, starts[i]) for i, length in enumerate(lengths) if length]
    return attend(q_nope, q_pe, ckv_cache, kpe_cache, kv_indices, tiles, float(sm_scale))
