"""Decode step of multi-head latent attention over a paged latent cache, absorbed form."""  # only: pages
# except: pages: """Decode step of multi-head latent attention over a latent cache of one-token pages."""

import math

import torch

NUM_QO_HEADS = 16
HEAD_DIM_CKV = 512
HEAD_DIM_KPE = 64
PAGE_SIZE = 64

# Bounds of the working memory: query tokens in a tile, keys in a step, and the float32 elements
# that the tiles of one group may take together (2**25 are 128 MiB).
QUERY_CHUNK = 64
KEY_CHUNK = 512
GROUP_ELEMENTS = 1 << 25


def attend(
    q_nope: torch.Tensor,
    q_pe: torch.Tensor,
    ckv_cache: torch.Tensor,
    kpe_cache: torch.Tensor,
    qo_indptr: torch.Tensor,
    kv_indptr: torch.Tensor,
    kv_indices: torch.Tensor,
    kv_lens: torch.Tensor,
    sm_scale: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention in float32 with a softmax that is carried on from one step of keys to the next.

    The queries are cut into tiles of one sequence each; tiles are worked on in groups, those that
    see the most keys first, so that tiles of about the same length share a group. All heads use
    the same keys: (ckv, kpe) for the logits, ckv as values.

    Args:
        q_nope: [total_q, heads, ckv].
        q_pe: [total_q, heads, kpe].
        ckv_cache: [num_pages, page_size, ckv].
        kpe_cache: [num_pages, page_size, kpe].
        qo_indptr: [batch + 1] int64, where the queries of each sequence begin.
        kv_indptr: [batch + 1] int64, where its pages begin in kv_indices.
        kv_indices: [num_kv_indices] page numbers.
        kv_lens: [batch] int64, keys of each sequence.
        sm_scale: Factor of the logits.

    Returns:
        The output in the dtype of q_nope, and the base-2 log-sum-exp [total_q, heads] in float32.
    """
    device = q_nope.device
    heads, ckv = q_nope.shape[1], q_nope.shape[2]
    dim = ckv + q_pe.shape[2]
    output = torch.zeros_like(q_nope)
    lse = torch.full(q_nope.shape[:2], -math.inf, dtype=torch.float32, device=device)
    if q_nope.shape[0] == 0:
        return output, lse

    q_lens = qo_indptr.diff()
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
    group = max(1, GROUP_ELEMENTS // (tile * heads * (step + dim + ckv) + step * dim))
    for first in range(0, len(reaches), group):
        if reaches[first] == 0:
            break
        s = seq[first : first + group, None]
        pos = start[first : first + group, None] + torch.arange(tile, device=device)
        real = pos < q_lens[s]
        rows = torch.where(real, qo_indptr[s] + pos, 0)
        last_key = pos + shift[s]
        q = torch.cat((q_nope[rows], q_pe[rows]), -1).float()
        # Logits times log2(e), so that powers of two and base-2 logarithms serve.
        q = q.mul_(sm_scale * math.log2(math.e)).view(len(s), tile * heads, dim)
        top = torch.full((len(s), tile * heads, 1), -math.inf, device=device)
        total = torch.zeros_like(top)
        mixed = torch.zeros((len(s), tile * heads, ckv), device=device)
        for begin in range(0, reaches[first], step):
            key = torch.arange(begin, min(begin + step, reaches[first]), device=device)
            held = key < kv_lens[s]
            page = kv_indices[torch.where(held, kv_indptr[s] + key // PAGE_SIZE, 0)].long()
            slot = key % PAGE_SIZE
            k = torch.cat((ckv_cache[page, slot], kpe_cache[page, slot]), -1)
            # What lies beyond a sequence may be anything, NaN too: replace it, do not weigh it.
            k = k.masked_fill_(~held[:, :, None], 0).float()
            logits = torch.bmm(q, k.transpose(1, 2))
            hidden = key > last_key[:, :, None]
            logits.view(len(s), tile, heads, -1).masked_fill_(hidden[:, :, None], -math.inf)
            higher = torch.maximum(top, logits.amax(-1, keepdim=True))
            # A query that has seen no key yet has no maximum to subtract.
            base = torch.where(higher == -math.inf, 0, higher)
            weights = logits.sub_(base).exp2_()
            keep = torch.exp2(top - base)
            total = total * keep + weights.sum(-1, keepdim=True)
            mixed.mul_(keep).baddbmm_(weights, k[:, :, :ckv])
            top = higher
        result = mixed.div_(torch.where(total == 0, 1, total)).view(len(s), tile, heads, ckv)
        output[rows[real]] = result[real].to(output.dtype)
        lse[rows[real]] = (top + torch.log2(total)).view(len(s), tile, heads)[real]
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
    assert kv_indices.shape[0] == kv_indptr[-1].item()

    pages = kv_indptr.long().diff()  # only: pages
    # The last page holds kv_last_page_len keys, the ones before it are full.  # only: pages
    kv_lens = torch.where(pages > 0, (pages - 1) * PAGE_SIZE + kv_last_page_len.long(), 0)  # only: pages
    return attend(
        q_nope,
        q_pe,
        ckv_cache,
        kpe_cache,
        torch.arange(batch_size + 1, device=q_nope.device),  # one query a sequence
        kv_indptr.long(),
        kv_indices,
        kv_lens,  # only: pages
        # except: pages: kv_indptr.long().diff(),
        float(sm_scale),
    )
