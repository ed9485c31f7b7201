"""Causal prefill of multi-head latent attention with materialised keys and values."""

import math

import torch

NUM_QO_HEADS = 16
NUM_KV_HEADS = 16
QK_DIM = 192
VO_DIM = 128

# Bounds of the working memory: query tokens in a tile, keys in a step, or more where few tiles have
# keys left, and elements that the tiles of one group may take together (2**25 in float32 are 128 MiB).
QUERY_CHUNK = 128
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
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    tiles: list[tuple[int, int, int, int]],
    sm_scale: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention of tiles of queries over steps of keys, whose results are merged.

    A tile has consecutive queries of one sequence. Tiles are worked on in groups, those that see
    the most keys first, so that tiles of about the same length share a group. Every query head has
    its own keys and values.

    Args:
        q: [total_q, heads, qk].
        k: [total_kv, heads, qk].
        v: [total_kv, heads, vo].
        tiles: (keys that its last query sees, its first query, its number of queries, the first
            key of its sequence). Its other queries see a key less each, the first one at least one
            key.
        sm_scale: Factor of the logits.

    Returns:
        The output [total_q, heads, vo] in the dtype of q, and the base-2 log-sum-exp
        [total_q, heads] in float32: 0 and -inf for queries in no tile.
    """
    device = q.device
    heads, qk, vo = q.shape[1], q.shape[2], v.shape[2]
    output = torch.zeros((q.shape[0], heads, vo), dtype=q.dtype, device=device)
    lse = torch.full(q.shape[:2], -math.inf, dtype=torch.float32, device=device)
    if not tiles:
        return output, lse

    on_tensor_cores = q.is_cuda and "out_dtype" in (torch.bmm.__doc__ or "")
    exact = q.dtype if on_tensor_cores else torch.float32
    # Token t of head h is row t * heads + h: gathered so, the tokens of a head make a matrix.
    q_rows, k_rows, v_rows = q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1)
    head = torch.arange(heads, device=device)[:, None]
    tiles = sorted(tiles, reverse=True)
    reaches = [reach for reach, *_ in tiles]
    table = torch.tensor(tiles, device=device)
    tile = max(count for _, _, count, _ in tiles)
    step = min(KEY_CHUNK, reaches[0])
    group = heads * (tile * (4 * step + qk + 4 * vo) + 2 * step * (qk + vo))
    group = max(1, GROUP_ELEMENTS // group)
    for first in range(0, len(reaches), group):
        own = slice(first, first + group)
        reach, start, count, keys = table[own, :, None].unbind(1)
        # Tiles of fewer queries than others repeat their last one.
        offset = torch.minimum(torch.arange(tile, device=device), count - 1)
        rows = (start + offset)[:, None] * heads + head
        last_key = reach - count + offset
        queries = q_rows[rows].to(exact).flatten(0, 1)
        begin = 0
        while begin < reaches[first]:
            # Those of the group that have keys left: the fewer, the more keys in a step.
            active = sum(r > begin for r in reaches[own])
            end = min(begin + step * (group // active), reaches[first])
            key = torch.arange(begin, end, device=device)
            # Beyond a sequence stands another one, perhaps of NaN, and 0 * NaN is NaN: read the
            # tile's last key again there. It is hidden below.
            inside = torch.minimum(key, reach[:active] - 1)
            slot = (keys[:active] + inside)[:, None] * heads + head
            own_k = k_rows[slot].to(exact).flatten(0, 1)
            own_v = v_rows[slot].to(exact).flatten(0, 1)
            # Keys from this one on are hidden from some query.
            all_see = min(r - n + 1 for r, _, n, _ in tiles[own][:active])
            hidden = key[max(all_see - begin, 0) :] > last_key[:active, None, :, None]
            matrices = slice(active * heads)
            means, sums = attend_step(queries[matrices], own_k, own_v, hidden, sm_scale)
            if begin == 0:  # every query sees the first key
                mixed, total = means, sums
            else:
                share = torch.sigmoid(sums - total[matrices])
                mixed[matrices].lerp_(means, share)
                total[matrices] = torch.logaddexp(total[matrices], sums)
            begin = end
        output.view(-1, vo)[rows] = mixed.view(*rows.shape, vo).to(output.dtype)
        lse.view(-1)[rows] = total.view(rows.shape) * math.log2(math.e)
    return output, lse


def causal_tiles(
    queries: list[int], keys: list[int], kv_starts: list[int]
) -> list[tuple[int, int, int, int]]:
    """The tiles that `attend` takes; the last query of a sequence is aligned with its last key.

    Args:
        queries: [batch + 1], where the queries of each sequence begin.
        keys: [batch], the number of its keys.
        kv_starts: [batch], where they begin.
    """
    # No more queries than sequences have in the mean: padding at most doubles the work then.
    size = max(1, min(QUERY_CHUNK, -(-queries[-1] // max(1, len(keys)))))
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
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    qo_indptr: torch.Tensor,
    kv_indptr: torch.Tensor,
    sm_scale: float | torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output [total_q, heads, vo] and base-2 log-sum-exp [total_q, heads]."""
    total_q, total_kv = q.shape[0], k.shape[0]
    assert q.shape[1:] == (NUM_QO_HEADS, QK_DIM)
    assert k.shape[1:] == (NUM_KV_HEADS, QK_DIM)
    assert v.shape == (total_kv, NUM_KV_HEADS, VO_DIM)
    assert NUM_QO_HEADS == NUM_KV_HEADS
    assert qo_indptr.shape == kv_indptr.shape
    queries = qo_indptr.tolist()
    assert total_q == queries[-1]
    starts = kv_indptr.tolist()
    assert total_kv == starts[-1]
    lengths = kv_indptr.diff().tolist()
    tiles = causal_tiles(queries, lengths, starts[:-1])
    return attend(q, k, v, tiles, float(sm_scale))
