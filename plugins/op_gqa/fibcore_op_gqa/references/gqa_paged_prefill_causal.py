# only: full: """Prefill attention: ragged queries, grouped heads, a paged KV cache.
# only: mask: """Prefill attention with a mask of its own: ragged queries, grouped heads, a paged KV cache.
"""Causal prefill attention: ragged queries, grouped heads, a paged KV cache.  # only: causal

With query head h reading KV head g = h // (NUM_QO_HEADS // NUM_KV_HEADS), and the keys j that the
query sees,

    logit[j] = sm_scale * dot(q[h], k[j, g])  # except: cap
    logit[j] = LOGIT_CAP * tanh(sm_scale * dot(q[h], k[j, g]) / LOGIT_CAP)  # only: cap
    # except: sink: output[h] = sum_j softmax(logit)[j] * v[j, g]
    # except: sink: lse[h] = log2(sum_j exp(logit[j]))
    output[h] = sum_j exp(logit[j]) * v[j, g] / total  # only: sink
    total = exp(sinks[h]) + sum_j exp(logit[j])  # only: sink
    lse[h] = log2(total)  # only: sink

# only: fp8: The cache holds eight-bit numbers: k = k_scale * k_cache and v = v_scale * v_cache.
The keys of sequence b stand in the pages kv_indices[kv_indptr[b] : kv_indptr[b + 1]], in order;  # only: pages
all pages are full but the last, which holds kv_last_page_len[b] keys.  # only: pages
# except: pages: The keys of sequence b stand in the pages kv_indices[kv_indptr[b] : kv_indptr[b + 1]], in order,
# except: pages: one a page.
Query i of a sequence with n queries and m keys sees the keys j <= i + m - n.  # only: causal
# only: full: A query sees all keys of its sequence.
# only: mask: Query i of a sequence with n queries and m keys sees the keys j with mask[i * m + j], where the
# only: mask: mask of a sequence, n * m elements of custom_mask, follows that of the sequence before.
# only: placed: Of these it sees those alone that stand less than SLIDING_WINDOW before its own, j = i + m - n.
Of these it sees the last SLIDING_WINDOW alone, its own included.  # only: window
# only: chunk: Of these it sees those of its own key's chunk alone: keys go by ATTENTION_CHUNK, from the first.
# except: sink: A query that sees no key gives output 0 and lse -inf.
A query that sees no key gives output 0, and an lse of its sink alone.  # only: sink

All sums are float32. Products of bfloat16 or float16 numbers are exact in float32, so that tensor
cores, where there are any, multiply queries and keys without an error of their own.
"""

import math

import torch

NUM_QO_HEADS = 32
NUM_KV_HEADS = 8
HEAD_DIM = 128
# only: vo: VALUE_DIM = 128
PAGE_SIZE = 64
SLIDING_WINDOW = 4096  # only: window
# only: placed: SLIDING_WINDOW = 4096
# only: chunk: ATTENTION_CHUNK = 8192
LOGIT_CAP = 50.0  # only: cap
MAX_ELEMENTS = 2**20  # of one temporary tensor: bounds memory however long sequences grow
# only: full: CAUSAL = False  # whether a query sees no key behind its own
# Times as many on a GPU, which needs much to do at a time; a CPU takes what its caches hold.
ON_GPU = max(NUM_QO_HEADS, 24)
MAX_ROWS = 128  # queries that share one read of the keys
HIDDEN = -1e30  # stands for a logit of -inf: finite, so that differences are numbers
ALIGNED = 16  # kernels are at their best where rows of a matrix begin at multiples of 32 bytes
MIXED = hasattr(torch.ops.aten.baddbmm, "dtype_out")  # torch 2.8 and later


def gather(
    cache: tuple[torch.Tensor, ...],
    begin: torch.Tensor,
    position: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    # only: vo: """Keys [n * NUM_KV_HEADS, c, HEAD_DIM] and values at positions [n, c] of n sequences.
    """Keys and values [n * NUM_KV_HEADS, c, HEAD_DIM] at positions [n, c] of n sequences.  # except: vo

    begin [n]: where the pages of each begin in kv_indices.
    """
    keys, values, kv_indices = cache
    page = kv_indices[begin[:, None] + position // PAGE_SIZE].long()
    token = page * PAGE_SIZE + position % PAGE_SIZE
    # Tokens become the rows of a matrix for each head: those of one sequence without a copy.
    k, v = (x.reshape(-1, NUM_KV_HEADS, HEAD_DIM)[token].transpose(1, 2) for x in (keys, values))  # except: vo
    # only: vo: k, v = (x.reshape(-1, *x.shape[2:])[token].transpose(1, 2) for x in (keys, values))
    # only: fp8: # Exact: a bfloat16 number has all bits that one of eight bits has.
    # only: fp8: k, v = (x.to(torch.bfloat16, memory_format=torch.contiguous_format) for x in (k, v))
    return k.flatten(0, 1), v.flatten(0, 1)


def product(a: torch.Tensor, b: torch.Tensor, scale: float) -> torch.Tensor:
    """`scale` times the matrix products of a [n, i, j] and b [n, j, k], of one dtype, in float32."""
    shape = (a.shape[0], a.shape[1], b.shape[2])
    made = torch.empty(shape, dtype=torch.float32, device=a.device)
    if MIXED and a.is_cuda and a.dtype != torch.float32:
        return torch.baddbmm(made, a, b, torch.float32, beta=0, alpha=scale, out=made)
    return torch.baddbmm(made, a.float(), b.float(), beta=0, alpha=scale, out=made)


def weighted_sum(weights: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    # only: vo: """Float32 weights [n, rows, c] times v [n, c, VALUE_DIM], in float32."""
    """Float32 weights [n, rows, c] times v [n, c, HEAD_DIM], in float32."""  # except: vo
    # To split that many weights into bfloat16 numbers takes longer than this product.
    return torch.bmm(weights, v.float())


def hide(
    logits: torch.Tensor,
    position: torch.Tensor,
    visible: torch.Tensor,
    shared: slice,
    # only: mask: custom_mask: torch.Tensor,
    # only: mask: offset: torch.Tensor,
) -> None:
    """Set those logits to HIDDEN whose key a row does not see.

    logits [tiles * NUM_KV_HEADS, group * rows, c], position [c] and visible [tiles, rows].  # except: local
    logits [tiles * NUM_KV_HEADS, group * rows, c], position [tiles, c], visible [tiles, rows].  # only: local
    All rows see the keys of the columns `shared`, which need no comparison.  # except: mask
    # only: mask: All rows have a sequence as long as the columns `shared`, which need no comparison.
    # only: unplaced: offset [tiles, rows]: where in custom_mask the keys of a row begin.
    # only: placed: offset [tiles, rows, 2]: where in custom_mask the keys of a row begin, and the first key that
    # only: placed: its window has.
    """
    tiles, rows = visible.shape
    by_row = logits.view(tiles, NUM_KV_HEADS, -1, rows, logits.shape[2])
    visible = visible[:, :, None]
    late = slice(shared.stop, None)
    hidden = position[late] >= visible  # except: local
    hidden = position[:, None, late] >= visible  # only: local
    hidden |= position[:, None, late] < visible - SLIDING_WINDOW  # only: window
    # only: chunk: begun = (visible - 1) // ATTENTION_CHUNK * ATTENTION_CHUNK
    # only: chunk: hidden |= position[:, None, late] < begun
    by_row[..., late].masked_fill_(hidden[:, None, None], HIDDEN)
    early = slice(0, shared.start)  # only: local
    hidden = position[:, None, early] < visible - SLIDING_WINDOW  # only: window
    # only: chunk: hidden = position[:, None, early] < begun
    by_row[..., early].masked_fill_(hidden[:, None, None], HIDDEN)  # only: local
    # only: mask: column = torch.minimum(position, visible - 1)
    # only: unplaced: seen = custom_mask[offset[:, :, None] + column]
    # only: placed: seen = custom_mask[offset[:, :, None, 0] + column] & (position >= offset[:, :, None, 1])
    # only: mask: by_row.masked_fill_(~seen[:, None, None], HIDDEN)


def attend(
    q: torch.Tensor,
    visible: torch.Tensor,
    begin: torch.Tensor,
    cache: tuple[torch.Tensor, ...],
    sm_scale: float,
    fewest: int,
    most: int,
    chunk: int,
    # only: mask: custom_mask: torch.Tensor,
    # only: mask: offset: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Softmax attention of query tiles, over `chunk` keys at a time.

    q [tiles, rows, NUM_QO_HEADS, HEAD_DIM]; visible [tiles, rows]: how many of its sequence's
    keys, counted from the first, a row sees, no fewer than the row before it.
    `gather` finds the keys of a tile's sequence in the cache by begin [tiles].
    The tiles span `most` keys, of which no row sees fewer than the first `fewest`.  # except: local
    Tiles count keys from the first that a row of theirs sees: they span `most`, of which no first  # only: local
    row sees fewer than `fewest`.  # only: local
    # only: mask: `hide` tells of custom_mask and offset.
    Returns the output like q and the base-2 log-sum-exp [tiles, rows, NUM_QO_HEADS], both float32.  # except: vo
    # only: vo: Returns the output [tiles, rows, NUM_QO_HEADS, VALUE_DIM] and the base-2 log-sum-exp without
    # only: vo: the last axis, both float32.
    """
    tiles, rows = visible.shape
    group = NUM_QO_HEADS // NUM_KV_HEADS
    # Query head h reads KV head h // group: the heads of a group become rows of one matrix.
    q = q.view(tiles, rows, NUM_KV_HEADS, group, HEAD_DIM).permute(0, 2, 3, 1, 4)
    q = q.reshape(tiles * NUM_KV_HEADS, group * rows, HEAD_DIM)
    passed = max(0, most - SLIDING_WINDOW)  # only: window
    first = (visible[:, :1] - SLIDING_WINDOW).clamp(min=0)  # only: window
    # only: chunk: passed = (most - 1) // ATTENTION_CHUNK * ATTENTION_CHUNK
    # only: chunk: first = ((visible[:, :1] - 1) // ATTENTION_CHUNK * ATTENTION_CHUNK).clamp(min=0)
    for start in range(0, most, chunk):
        stop = start + min(chunk, most - start + (start - most) % ALIGNED)
        position = torch.arange(start, stop, device=q.device)
        position = first + position  # only: local
        # Beyond the last visible key the cache may hold anything, NaN too, and 0 * NaN is NaN:
        # read that last key again instead (its logit there is hidden below).
        k, v = gather(cache, begin, torch.minimum(position, visible[:, -1:] - 1))
        logits = product(q, k.transpose(1, 2), sm_scale)  # except: cap
        logits = product(q, k.transpose(1, 2), sm_scale / LOGIT_CAP)  # only: cap
        logits = logits.tanh_().mul_(LOGIT_CAP)  # only: cap
        # All rows see these columns.
        shared = slice(0, max(0, fewest - start))  # except: local
        shared = slice(max(0, passed - start), max(0, fewest - start))  # only: local
        hide(logits, position, visible, shared)  # except: mask
        # only: mask: hide(logits, position, visible, shared, custom_mask, offset)
        weights = torch.softmax(logits, dim=2)
        top, place = logits.max(dim=2, keepdim=True)
        # The weight there is exp(0) / sum_j exp(logit[j] - top).
        part_lse = top * math.log2(math.e) - weights.gather(2, place).log2_()
        del logits  # before more memory is needed
        part = weighted_sum(weights, v)
        if start == 0:
            output, lse = part, part_lse
        else:
            total = torch.logaddexp2(lse, part_lse)
            output.mul_(torch.exp2(lse - total)).add_(part.mul_(torch.exp2(part_lse - total)))
            lse = total
    output = output.view(tiles, NUM_KV_HEADS, group, rows, HEAD_DIM).permute(0, 3, 1, 2, 4)  # except: vo
    # only: vo: output = output.view(tiles, NUM_KV_HEADS, group, rows, VALUE_DIM).permute(0, 3, 1, 2, 4)
    lse = lse.view(tiles, NUM_KV_HEADS, group, rows).permute(0, 3, 1, 2)
    return output.flatten(2, 3), lse.flatten(2, 3)


def attend_all(
    q: torch.Tensor,
    index: torch.Tensor,
    visible: torch.Tensor,
    begin: torch.Tensor,
    cache: tuple[torch.Tensor, ...],
    sm_scale: float | torch.Tensor,
    sinks: torch.Tensor,  # only: sink
    # only: fp8: v_scale: float,
    # only: mask: custom_mask: torch.Tensor,
    # only: mask: offset: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Softmax attention of any number of query tiles, as many at once as MAX_ELEMENTS allows.

    q [total_q, NUM_QO_HEADS, HEAD_DIM]; index [tiles, rows]: the queries of a tile. `attend` tells
    of the others; index, visible and begin are on the CPU.  # except: mask
    # only: mask: of the others; index, visible, begin and offset are on the CPU.
    # only: fp8: The output is multiplied by v_scale.
    Returns output, like q, and lse [total_q, NUM_QO_HEADS] float32.  # except: vo
    # only: vo: Returns output [total_q, NUM_QO_HEADS, VALUE_DIM] and lse [total_q, NUM_QO_HEADS] float32.
    """
    rows, scale = index.shape[1], float(sm_scale)
    output = torch.zeros_like(q)  # except: vo
    # only: vo: output = q.new_zeros((*q.shape[:2], VALUE_DIM))
    # except: sink: lse = torch.full(q.shape[:2], -math.inf, dtype=torch.float32, device=q.device)
    sink = sinks * math.log2(math.e)  # only: sink
    lse = sink.repeat(q.shape[0], 1)  # only: sink
    # Elements per key of the larger of logits, and of keys.
    width = max(NUM_QO_HEADS * rows, NUM_KV_HEADS * HEAD_DIM)
    at_once = MAX_ELEMENTS * (ON_GPU if q.is_cuda else 1) // width
    # The keys that the last row and the first row of a tile see.
    last, first = visible[:, -1], visible[:, 0]
    last = last - (first - SLIDING_WINDOW).clamp(min=0)  # only: window
    first = first.clamp(max=SLIDING_WINDOW)  # only: window
    # only: chunk: before = ((first - 1) // ATTENTION_CHUNK * ATTENTION_CHUNK).clamp(min=0)
    # only: chunk: last, first = last - before, first - before
    # Tiles of about the same number of keys go together: each counts as many as the longest.
    order = last.argsort(descending=True)
    order = order[last[order] > 0]
    most, fewest = last[order].tolist(), first[order].tolist()
    # All that the loop reads goes to the device before it: a copy in the loop would wait for it.
    index, visible, begin = (x[order].to(q.device) for x in (index, visible, begin))  # except: mask
    # only: mask: index, visible, begin, offset = (x[order].to(q.device) for x in (index, visible, begin, offset))
    start = 0
    while start < len(most):
        longest = most[start] + -most[start] % ALIGNED
        stop = start + max(1, at_once // max(longest, HEAD_DIM))
        chosen = slice(start, min(stop, len(most)))
        chunk = max(1, at_once // (chosen.stop - start))
        chunk -= chunk % ALIGNED if chunk > ALIGNED else 0
        queries = index[chosen]
        tiles = q[queries], visible[chosen], begin[chosen]
        limits = min(fewest[chosen]), most[start], chunk
        part, part_lse = attend(*tiles, cache, scale, *limits)  # except: mask
        # only: mask: part, part_lse = attend(*tiles, cache, scale, *limits, custom_mask, offset[chosen])
        # only: fp8: part = part * v_scale
        # The sink takes its share of the weights.  # only: sink
        part = part * torch.sigmoid((part_lse - sink) * math.log(2))[..., None]  # only: sink
        part_lse = torch.logaddexp2(part_lse, sink)  # only: sink
        output[queries] = part.to(q.dtype)
        lse[queries] = part_lse
        start = chosen.stop
    # All logits of a row that sees no key are hidden, if it is in one of these tiles at all.  # except: sink
    # except: sink: blind = lse <= HIDDEN
    # except: sink: return output.masked_fill_(blind[..., None], 0.0), lse.masked_fill_(blind, -math.inf)
    return output, lse  # only: sink


def prefill(
    q: torch.Tensor,
    qo_indptr: torch.Tensor,
    kv_len: torch.Tensor,
    begin: torch.Tensor,
    cache: tuple[torch.Tensor, ...],
    sm_scale: float | torch.Tensor,
    sinks: torch.Tensor,  # only: sink
    # only: fp8: v_scale: float,
    # only: mask: custom_mask: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    # only: mask: """Attention of ragged queries, in tiles of consecutive queries of one sequence.
    # only: full: """Attention of ragged queries, in tiles of consecutive queries of one sequence.
    """Causal attention of ragged queries, in tiles of consecutive queries of one sequence.  # only: causal

    q [total_q, NUM_QO_HEADS, HEAD_DIM]; on the CPU, int64: qo_indptr [batch + 1], kv_len [batch]
    and begin [batch], by which `gather` finds the keys of a sequence. The last query of a sequence  # only: causal
    is aligned with its last key.  # only: causal
    # only: full: and begin [batch], by which `gather` finds the keys of a sequence.
    # only: mask: and begin [batch], by which `gather` finds the keys of a sequence. custom_mask: see above.
    """
    q_len = qo_indptr[1:] - qo_indptr[:-1]
    # No more rows than the mean length: then padding at most doubles the work.
    rows = max(1, min(MAX_ROWS, -(-q.shape[0] // max(1, q_len.shape[0]))))
    tiles = (q_len + rows - 1) // rows
    owner = torch.repeat_interleave(tiles)
    number = torch.arange(owner.shape[0]) - (tiles.cumsum(0) - tiles)[owner]  # in its sequence
    # The last tile of a sequence repeats the last query where it has fewer than `rows`.
    row = torch.minimum(number[:, None] * rows + torch.arange(rows), q_len[owner, None] - 1)
    visible = ((kv_len - q_len)[owner, None] + row + 1).clamp(min=0)  # only: causal
    # only: full: visible = kv_len[owner, None] - CAUSAL * (q_len[owner, None] - 1 - row)
    # only: mask: visible = kv_len[owner, None].expand_as(row)
    # only: mask: pairs = q_len * kv_len
    # only: mask: offset = (pairs.cumsum(0) - pairs)[owner, None] + row * kv_len[owner, None]
    # only: placed: first = (kv_len - q_len)[owner, None] + row + 1 - SLIDING_WINDOW
    # only: placed: offset = torch.stack((offset, first), dim=2)
    index = qo_indptr[owner, None] + row
    # only: few: return attend_all(q, index, visible, begin[owner], cache, sm_scale)
    return attend_all(q, index, visible, begin[owner], cache, sm_scale, sinks)  # only: sink_alone
    # only: more: return attend_all(
    # only: more:     *(q, index, visible, begin[owner], cache, sm_scale),
    # only: sink_too:     sinks,
    # only: fp8:     v_scale,
    # only: mask:     custom_mask,
    # only: mask:     offset,
    # only: more: )


@torch.no_grad()
def run(
    q: torch.Tensor,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
    qo_indptr: torch.Tensor,
    kv_indptr: torch.Tensor,
    kv_indices: torch.Tensor,
    kv_last_page_len: torch.Tensor,  # only: pages
    # only: mask: custom_mask: torch.Tensor,
    sinks: torch.Tensor,  # only: sink
    sm_scale: float | torch.Tensor,
    # only: fp8: k_scale: float | torch.Tensor,
    # only: fp8: v_scale: float | torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    # only: vo: """Compute the output and lse [total_q, NUM_QO_HEADS] float32.
    """Compute the output, like q, and lse [total_q, NUM_QO_HEADS] float32.  # except: vo

    q is [total_q, NUM_QO_HEADS, HEAD_DIM], a cache
    [num_pages, PAGE_SIZE, NUM_KV_HEADS, HEAD_DIM]; sm_scale is a number or a 0-d tensor.
    # only: vo: v_cache and the output have VALUE_DIM in the place of HEAD_DIM.
    # only: fp8: k_scale and v_scale are numbers or 0-d tensors, too.
    # only: mask: custom_mask is bool, as many as there are pairs of a query and a key of its sequence.
    sinks is [NUM_QO_HEADS].  # only: sink
    """
    total_q, num_qo_heads, head_dim = q.shape
    assert (num_qo_heads, head_dim) == (NUM_QO_HEADS, HEAD_DIM)
    assert sinks.shape == (NUM_QO_HEADS,)  # only: sink
    assert k_cache.shape[1:] == (PAGE_SIZE, NUM_KV_HEADS, HEAD_DIM)
    assert v_cache.shape == k_cache.shape  # except: vo
    # only: vo: assert v_cache.shape == (*k_cache.shape[:3], VALUE_DIM)
    assert qo_indptr.shape == kv_indptr.shape
    assert total_q == qo_indptr[-1].item()
    assert kv_indices.shape[0] == kv_indptr[-1].item()
    assert kv_indptr.shape[0] == kv_last_page_len.shape[0] + 1  # only: pages
    # Lengths are needed where the work is planned: on the CPU.
    kv_indptr = kv_indptr.cpu().long()
    pages = kv_indptr[1:] - kv_indptr[:-1]  # only: pages
    last = kv_last_page_len.cpu()  # only: pages
    kv_len = torch.where(pages > 0, (pages - 1) * PAGE_SIZE + last, 0)  # only: pages
    # except: pages: kv_len = kv_indptr[1:] - kv_indptr[:-1]
    qo_indptr, begin = qo_indptr.cpu().long(), kv_indptr[:-1]
    cache = k_cache, v_cache, kv_indices  # only: sink_alone
    # only: few: return prefill(q, qo_indptr, kv_len, begin, (k_cache, v_cache, kv_indices), sm_scale)
    return prefill(q, qo_indptr, kv_len, begin, cache, sm_scale, sinks)  # only: sink_alone
    # only: mask: assert custom_mask.shape == (((qo_indptr[1:] - qo_indptr[:-1]) * kv_len).sum().item(),)
    # only: fp8: sm_scale = float(sm_scale) * float(k_scale)
    # only: more: cache = k_cache, v_cache, kv_indices
    # only: more: return prefill(
    # only: more:     *(q, qo_indptr, kv_len, begin, cache, sm_scale),
    # only: sink_too:     sinks,
    # only: fp8:     float(v_scale),
    # only: mask:     custom_mask,
    # only: more: )
