"""Causal prefill of multi-head latent attention with materialised keys and values."""

import math

import torch

NUM_QO_HEADS = 16
NUM_KV_HEADS = 16
QK_DIM = 192
VO_DIM = 128

# Bounds of the working memory: query tokens in a tile, keys in a step, and the float32 elements
# that the tiles of one group may take together (2**25 are 128 MiB).
QUERY_CHUNK = 64
KEY_CHUNK = 512
GROUP_ELEMENTS = 1 << 25
CONTIGUOUS = torch.contiguous_format


def attend(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    qo_indptr: torch.Tensor,
    kv_indptr: torch.Tensor,
    sm_scale: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention in float32 with a softmax that is carried on from one step of keys to the next.

    The queries are cut into tiles of one sequence each; tiles are worked on in groups, those that
    see the most keys first, so that tiles of about the same length share a group. Every query head
    has its own keys and values.

    Args:
        q: [total_q, heads, qk].
        k: [total_kv, heads, qk].
        v: [total_kv, heads, vo].
        qo_indptr: [batch + 1] int64, where the queries of each sequence begin.
        kv_indptr: [batch + 1] int64, where its keys begin.
        sm_scale: Factor of the logits.

    Returns:
        The output [total_q, heads, vo] in the dtype of q, and the base-2 log-sum-exp
        [total_q, heads] in float32.
    """
    device = q.device
    heads, qk, vo = q.shape[1], q.shape[2], v.shape[2]
    output = torch.zeros((q.shape[0], heads, vo), dtype=q.dtype, device=device)
    lse = torch.full(q.shape[:2], -math.inf, dtype=torch.float32, device=device)
    if q.shape[0] == 0:
        return output, lse

    q_lens, kv_lens = qo_indptr.diff(), kv_indptr.diff()
    tile = min(QUERY_CHUNK, int(q_lens.max()))
    tiles = (q_lens + tile - 1) // tile
    seq = torch.repeat_interleave(torch.arange(len(q_lens), device=device), tiles)
    start = (torch.arange(len(seq), device=device) - (tiles.cumsum(0) - tiles)[seq]) * tile
    # Causal: the last query of a sequence is aligned with its last key.
    shift = kv_lens - q_lens
    reach = torch.minimum(kv_lens[seq], shift[seq] + start + tile).clamp(min=0)
    order = torch.argsort(reach, descending=True)
    seq, start = seq[order], start[order]
    reaches = reach[order].tolist()

    step = max(1, min(KEY_CHUNK, reaches[0]))
    group = max(1, GROUP_ELEMENTS // (heads * (tile * step + (tile + 2 * step) * (qk + vo))))
    for first in range(0, len(reaches), group):
        if reaches[first] == 0:
            break
        s = seq[first : first + group, None]
        pos = start[first : first + group, None] + torch.arange(tile, device=device)
        real = pos < q_lens[s]
        rows = torch.where(real, qo_indptr[s] + pos, 0)
        last_key = pos + shift[s]
        # Logits times log2(e), so that powers of two and base-2 logarithms serve.
        queries = q[rows].transpose(1, 2).to(torch.float32, memory_format=CONTIGUOUS)
        queries = queries.mul_(sm_scale * math.log2(math.e)).view(len(s) * heads, tile, qk)
        top = torch.full((len(s) * heads, tile, 1), -math.inf, device=device)
        total = torch.zeros_like(top)
        mixed = torch.zeros((len(s) * heads, tile, vo), device=device)
        for begin in range(0, reaches[first], step):
            key = torch.arange(begin, min(begin + step, reaches[first]), device=device)
            held = key < kv_lens[s]
            slot = torch.where(held, kv_indptr[s] + key, 0)
            # Beyond a sequence stand the keys of another one: replace them, do not weigh them.
            beyond = ~held[:, :, None, None]
            keys = k[slot].masked_fill_(beyond, 0).transpose(1, 2)
            values = v[slot].masked_fill_(beyond, 0).transpose(1, 2)
            keys = keys.to(torch.float32, memory_format=CONTIGUOUS)
            values = values.to(torch.float32, memory_format=CONTIGUOUS)
            keys = keys.view(len(s) * heads, len(key), qk)
            values = values.view(len(s) * heads, len(key), vo)
            logits = torch.bmm(queries, keys.transpose(1, 2))
            hidden = key > last_key[:, :, None]
            logits.view(len(s), heads, tile, -1).masked_fill_(hidden[:, None], -math.inf)
            higher = torch.maximum(top, logits.amax(-1, keepdim=True))
            # A query that has seen no key yet has no maximum to subtract.
            base = torch.where(higher == -math.inf, 0, higher)
            weights = logits.sub_(base).exp2_()
            keep = torch.exp2(top - base)
            total = total * keep + weights.sum(-1, keepdim=True)
            mixed.mul_(keep).baddbmm_(weights, values)
            top = higher
        result = mixed.div_(torch.where(total == 0, 1, total)).view(len(s), heads, tile, vo)
        output[rows[real]] = result.transpose(1, 2)[real].to(output.dtype)
        sums = (top + torch.log2(total)).view(len(s), heads, tile)
        lse[rows[real]] = sums.transpose(1, 2)[real]
    return output, lse


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
    assert total_q == qo_indptr[-1].item()
    assert total_kv == kv_indptr[-1].item()
    return attend(q, k, v, qo_indptr.long(), kv_indptr.long(), float(sm_scale))
