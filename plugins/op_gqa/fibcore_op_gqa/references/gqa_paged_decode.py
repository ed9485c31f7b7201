"""Decode attention: one query a sequence, grouped heads, a paged KV cache.

With query head h reading KV head g = h // (NUM_QO_HEADS // NUM_KV_HEADS), and the keys j that the
query sees,

    logit[j] = sm_scale * dot(q[h], k[j, g])  # except: cap
    logit[j] = LOGIT_CAP * tanh(sm_scale * dot(q[h], k[j, g]) / LOGIT_CAP)  # only: cap
    output[h] = sum_j softmax(logit)[j] * v[j, g]
    lse[h] = log2(sum_j exp(logit[j]))

The keys of sequence b stand in the pages kv_indices[kv_indptr[b] : kv_indptr[b + 1]], in order;  # only: pages
all pages are full but the last, which holds kv_last_page_len[b] keys.  # only: pages
# except: pages: The keys of sequence b stand in the pages kv_indices[kv_indptr[b] : kv_indptr[b + 1]], in order,
# except: pages: one a page.
The query sees the last SLIDING_WINDOW of them alone.  # only: window
A query that sees no key gives output 0 and lse -inf.
"""

import math

import torch

NUM_QO_HEADS = 32
NUM_KV_HEADS = 8
HEAD_DIM = 128
PAGE_SIZE = 64
SLIDING_WINDOW = 4096  # only: window
LOGIT_CAP = 50.0  # only: cap
MAX_ELEMENTS = 2**23  # of one temporary tensor: bounds memory however long sequences grow


def gather(
    keys: torch.Tensor,
    values: torch.Tensor,
    tables: tuple[torch.Tensor, ...],
    sequence: torch.Tensor,
    position: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values [n, c, NUM_KV_HEADS, HEAD_DIM] at positions [n, c] of the sequences [n]."""
    kv_indptr, kv_indices = tables
    page = kv_indices[kv_indptr[sequence, None] + position // PAGE_SIZE].long()
    slot = position % PAGE_SIZE
    return keys[page, slot], values[page, slot]


def attend(
    q: torch.Tensor,
    visible: torch.Tensor,
    sequence: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    tables: tuple[torch.Tensor, ...],
    sm_scale: float | torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Softmax attention of many query tiles at once, with a running maximum over chunks of keys.

    q [tiles, rows, NUM_QO_HEADS, HEAD_DIM]; visible [tiles, rows]: how many of its sequence's keys,
    counted from the first, a row sees; the tiles come in descending order of the most that one of
    their rows sees. sequence [tiles]: the sequence of a tile, whose keys and values `gather` finds.
    Returns the output [tiles, rows, NUM_QO_HEADS, HEAD_DIM] and the base-2 log-sum-exp
    [tiles, rows, NUM_QO_HEADS], both float32.
    """
    tiles, rows = visible.shape
    group = NUM_QO_HEADS // NUM_KV_HEADS
    # Query head h reads KV head h // group: the heads of a group become rows of one matrix.
    q = q.float().view(tiles, rows, NUM_KV_HEADS, group, HEAD_DIM).permute(0, 2, 3, 1, 4)
    q = q.reshape(tiles, NUM_KV_HEADS, group * rows, HEAD_DIM)
    # exp(x) = 2 ** (x * log2(e)), so all logits are kept in base 2.
    q = q * (float(sm_scale) * math.log2(math.e))
    top = q.new_full((tiles, NUM_KV_HEADS, group * rows), -math.inf)
    total = torch.zeros_like(top)
    weighted = torch.zeros_like(q)
    limit = visible.amax(dim=1)
    start, end = 0, int(limit[0])
    # No row of a tile sees a key before its `first`, from which chunks count.  # only: window
    fewest = torch.where(visible > 0, visible, limit[:, None]).amin(dim=1)  # only: window
    first = (fewest - SLIDING_WINDOW).clamp(min=0)  # only: window
    end = int((limit - first).amax())  # only: window
    while start < end:
        active = int((limit > start).sum())  # a prefix, thanks to the order of the tiles
        width = max(NUM_KV_HEADS * HEAD_DIM, NUM_QO_HEADS * rows)
        stop = min(end, start + max(1, MAX_ELEMENTS // (active * width)))
        position = torch.arange(start, stop, device=q.device)
        position = first[:active, None] + position  # only: window
        # Beyond the last visible key the cache may hold anything, NaN too, and 0 * NaN is NaN:
        # read that last key again instead (its logit there is hidden below).
        inside = torch.minimum(position, limit[:active, None] - 1)
        k, v = (
            x.permute(0, 2, 1, 3).to(torch.float32, memory_format=torch.contiguous_format)
            for x in gather(keys, values, tables, sequence[:active], inside)
        )
        logits = q[:active] @ k.transpose(2, 3)
        bound = LOGIT_CAP * math.log2(math.e)  # only: cap
        logits = logits.div_(bound).tanh_().mul_(bound)  # only: cap
        hidden = position >= visible[:active, :, None]  # except: window
        seen = visible[:active, :, None]  # only: window
        hidden = position[:, None] >= seen  # only: window
        hidden |= position[:, None] < seen - SLIDING_WINDOW  # only: window
        by_row = logits.view(active, NUM_KV_HEADS, group, rows, stop - start)
        by_row.masked_fill_(hidden[:, None, None], -math.inf)
        new_top = torch.maximum(top[:active], logits.amax(dim=3))
        # A row that has seen no key yet has a maximum of -inf; -inf - -inf would be NaN.
        base = new_top.masked_fill(new_top == -math.inf, 0.0)
        weights = logits.sub_(base[..., None]).exp2_()
        keep = torch.exp2(top[:active] - base)
        total[:active] = total[:active] * keep + weights.sum(dim=3)
        weighted[:active] = weighted[:active] * keep[..., None] + weights @ v
        top[:active] = new_top
        start = stop
    # A row without keys has the sum 0: its output is 0 and its log-sum-exp -inf.
    output = weighted / total.masked_fill(total == 0, 1.0)[..., None]
    lse = top + torch.log2(total)
    output = output.view(tiles, NUM_KV_HEADS, group, rows, HEAD_DIM).permute(0, 3, 1, 2, 4)
    lse = lse.view(tiles, NUM_KV_HEADS, group, rows).permute(0, 3, 1, 2)
    return output.flatten(2, 3), lse.flatten(2, 3)


@torch.no_grad()
def run(
    q: torch.Tensor,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
    kv_indptr: torch.Tensor,
    kv_indices: torch.Tensor,
    kv_last_page_len: torch.Tensor,  # only: pages
    sm_scale: float | torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the output, like q, and lse [batch_size, NUM_QO_HEADS] float32.

    q is [batch_size, NUM_QO_HEADS, HEAD_DIM], a cache
    [num_pages, PAGE_SIZE, NUM_KV_HEADS, HEAD_DIM]; sm_scale is a number or a 0-d tensor.
    """
    batch_size, num_qo_heads, head_dim = q.shape
    assert (num_qo_heads, head_dim) == (NUM_QO_HEADS, HEAD_DIM)
    assert k_cache.shape[1:] == (PAGE_SIZE, NUM_KV_HEADS, HEAD_DIM)
    assert v_cache.shape == k_cache.shape
    assert kv_indptr.shape[0] == batch_size + 1
    assert kv_indices.shape[0] == kv_indptr[-1].item()
    assert kv_last_page_len.shape == (batch_size,)  # only: pages
    kv_indptr = kv_indptr.long()
    pages = kv_indptr[1:] - kv_indptr[:-1]  # only: pages
    kv_len = torch.where(pages > 0, (pages - 1) * PAGE_SIZE + kv_last_page_len, 0)  # only: pages
    # except: pages: kv_len = kv_indptr[1:] - kv_indptr[:-1]
    tables = (kv_indptr, kv_indices)
    output = torch.empty_like(q)
    lse = torch.empty((batch_size, NUM_QO_HEADS), dtype=torch.float32, device=q.device)
    order = kv_len.argsort(descending=True)
    at_once = max(1, MAX_ELEMENTS // (NUM_QO_HEADS * HEAD_DIM))
    for sequence in torch.split(order, at_once):
        if sequence.numel() == 0:  # an empty batch still splits into one empty part
            break
        visible = kv_len[sequence, None]
        part, part_lse = attend(
            q[sequence, None], visible, sequence, k_cache, v_cache, tables, sm_scale
        )
        output[sequence] = part[:, 0].to(q.dtype)
        lse[sequence] = part_lse[:, 0]
    return output, lse
