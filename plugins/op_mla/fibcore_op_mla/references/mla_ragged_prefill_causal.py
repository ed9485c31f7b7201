"""Causal prefill of multi-head latent attention with materialised keys and values."""

import math

import torch

from fibcore_op_mla.references.mla_paged_prefill_causal import causal_tiles, exact_dtype, product

NUM_QO_HEADS = 16
NUM_KV_HEADS = 16
QK_DIM = 192
VO_DIM = 128

# Bounds of the working memory: query tokens in a tile, keys in a step, and bytes that the tiles of
# one group may take together. A GPU needs much to do at a time, a CPU what its caches hold.
GPU_BOUNDS = (256, 2048, min(NUM_QO_HEADS, 64) * (10 << 20))
CPU_BOUNDS = (64, 512, 8 << 20)
# What hides a logit.
LOWEST = torch.finfo(torch.float32).min


def attend_step(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    hidden: torch.Tensor,
    sm_scale: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention of n tiles to the keys of one step.

    Args:
        q: [n * heads, queries, qk].
        k: [n * heads, keys, qk].
        v: [n * heads, keys, vo], in float32.
        hidden: [n, queries, some], for the last ones of the keys.
        sm_scale: Factor of the logits.

    Returns:
        The mean [n * heads, queries, vo] of the values, weighed by exp(logit), and the logarithm
        [n * heads, queries, 1] of the sum of exp(logit).
    """
    logits = product(q, k.mT).mul_(sm_scale)
    n, queries, some = hidden.shape
    keys = k.shape[1]
    by_head = logits.view(n, -1, queries, keys)
    # Not -inf: where all keys of a step are hidden from a query, the weights would be NaN. The
    # share of such a step in the result is 0.
    by_head[..., keys - some :].masked_fill_(hidden[:, None], LOWEST)
    largest = logits.amax(-1, keepdim=True)
    weights = logits.sub_(largest).exp_()
    sums = weights.sum(-1, keepdim=True)
    return product(weights, v).div_(sums), largest + sums.log()


def attend(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    tiles: list[tuple[int, int, int, int]],
    key_chunk: int,
    group_bytes: int,
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
        key_chunk: Keys in a step.
        group_bytes: What the tiles of a group may take together.
        sm_scale: Factor of the logits.

    Returns:
        The output [total_q, heads, vo] in the dtype of q, and the base-2 log-sum-exp
        [total_q, heads] in float32: 0 and -inf for queries in no tile.
    """
    device, exact = q.device, exact_dtype(q)
    heads, qk, vo = q.shape[1], q.shape[2], v.shape[2]
    output = torch.zeros((q.shape[0], heads, vo), dtype=q.dtype, device=device)
    lse = torch.full(q.shape[:2], -math.inf, dtype=torch.float32, device=device)
    if not tiles:
        return output, lse

    # Token t of head h is row t * heads + h: gathered so, the tokens of a head make a matrix.
    q_rows, k_rows, v_rows = q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1)
    head = torch.arange(heads, device=device)[:, None]
    tiles = sorted(tiles, reverse=True)
    reach, start, count, first_key = torch.tensor(tiles, device=device)[..., None].unbind(1)
    size = max(count for _, _, count, _ in tiles)
    # Tiles of fewer queries than others repeat their last one.
    offset = torch.minimum(torch.arange(size, device=device), count - 1)
    rows = (start + offset)[:, None] * heads + head
    first_row = first_key[:, None] * heads + head
    last_key = reach - count + offset
    first = 0
    while first < len(tiles):
        longest = tiles[first][0]
        # Weights, results and queries; row numbers, keys, values as they are and in float32.
        keys = min(longest, key_chunk)
        need = heads * (size * (4 * keys + 4 * vo + 2 * qk) + keys * (8 + 2 * qk + 6 * vo))
        own = slice(first, first + max(1, group_bytes // need))
        own_q = q_rows[rows[own]].to(exact).flatten(0, 1)
        # Keys from this one on are hidden from some query.
        all_see = min(seen - n + 1 for seen, _, n, _ in tiles[own])
        for begin in range(0, longest, key_chunk):
            end = min(begin + key_chunk, longest)
            # Beyond a sequence stands another one, perhaps of NaN, and 0 * NaN is NaN: read the
            # tile's last key again there. It is hidden below.
            key = torch.arange(begin, end, device=device)
            key = torch.minimum(key, last_key[own, -1:])
            key_rows = first_row[own] + key[:, None] * heads
            own_k = k_rows[key_rows].to(exact).flatten(0, 1)
            own_v = v_rows[key_rows].float().flatten(0, 1)
            key = torch.arange(min(max(begin, all_see), end), end, device=device)
            hidden = key > last_key[own, :, None]
            means, sums = attend_step(own_q, own_k, own_v, hidden, sm_scale)
            if begin == 0:  # every query sees the first key
                mixed, total = means, sums
            else:
                mixed.lerp_(means, torch.sigmoid(sums - total))
                total = torch.logaddexp(total, sums)
        shape = rows[own].shape
        output.view(-1, vo)[rows[own]] = mixed.view(*shape, vo).to(output.dtype)
        lse.view(-1)[rows[own]] = total.view(shape)
        first += shape[0]
    return output, lse.mul_(math.log2(math.e))


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
    lengths = [starts[i + 1] - starts[i] for i in range(len(starts) - 1)]
    bounds = GPU_BOUNDS if q.is_cuda else CPU_BOUNDS
    query_chunk, key_chunk, group_bytes = bounds
    tiles = causal_tiles(queries, lengths, starts[:-1], query_chunk)
    return attend(q, k, v, tiles, key_chunk, group_bytes, float(sm_scale))
