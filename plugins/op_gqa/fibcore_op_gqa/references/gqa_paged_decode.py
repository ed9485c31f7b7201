"""Decode attention: one query a sequence, grouped heads, a paged KV cache.

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
The query sees the last SLIDING_WINDOW of them alone.  # only: window
# only: chunk: The query sees those of the last one's chunk alone: keys go by ATTENTION_CHUNK, from the first.
# except: sink: A query that sees no key gives output 0 and lse -inf.
A query that sees no key gives output 0, and an lse of its sink alone.  # only: sink

All sums are float32. Products of bfloat16 or float16 numbers are exact in float32, so that tensor
cores, where there are any, multiply queries and keys without an error of their own.
"""

import math

import torch

from fibcore_op_gqa.references.gqa_paged_prefill_causal import attend, attend_all, gather, hide

NUM_QO_HEADS = 32
NUM_KV_HEADS = 8
HEAD_DIM = 128
# only: vo: VALUE_DIM = 128
PAGE_SIZE = 64
SLIDING_WINDOW = 4096  # only: window
# only: chunk: ATTENTION_CHUNK = 8192
LOGIT_CAP = 50.0  # only: cap
MAX_ELEMENTS = 2**20  # of one temporary tensor: bounds memory however long sequences grow
ON_GPU = 32  # times as many: a GPU takes large tensors, a CPU those that its caches hold
HIDDEN = -1e30  # stands for a logit of -inf: finite, so that differences are numbers
ALIGNED = 16  # kernels are at their best where rows of a matrix begin at multiples of 32 bytes
MIXED = hasattr(torch.ops.aten.baddbmm, "dtype_out")  # torch 2.8 and later


def product(a: torch.Tensor, b: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
    """`scale` times the matrix products of a [n, i, j] and b [n, j, k], of one dtype, in float32."""
    shape = (a.shape[0], a.shape[1], b.shape[2])
    made = torch.empty(shape, dtype=torch.float32, device=a.device)
    if MIXED and a.is_cuda and a.dtype != torch.float32:
        return torch.baddbmm(made, a, b, torch.float32, beta=0, alpha=scale, out=made)
    return torch.baddbmm(made, a.float(), b.float(), beta=0, alpha=scale, out=made)


def weighted_sum(weights: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    # only: vo: """Float32 weights [n, rows, c] times v [n, c, VALUE_DIM], in float32."""
    """Float32 weights [n, rows, c] times v [n, c, HEAD_DIM], in float32."""  # except: vo
    if not (MIXED and v.is_cuda and v.dtype == torch.bfloat16):
        return product(weights, v.float())
    # The sum of two bfloat16 numbers holds 16 bits of a weight, and tensor cores multiply both.
    n, rows, c = weights.shape
    halves = v.new_empty((n, 2, rows, c))
    halves[:, 0] = weights
    torch.sub(weights, halves[:, 0], out=halves[:, 1])
    return product(halves.flatten(1, 2), v).view(n, 2, rows, HEAD_DIM).sum(dim=1)  # except: vo
    # only: vo: return product(halves.flatten(1, 2), v).view(n, 2, rows, VALUE_DIM).sum(dim=1)


@torch.no_grad()
def run(
    q: torch.Tensor,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
    kv_indptr: torch.Tensor,
    kv_indices: torch.Tensor,
    kv_last_page_len: torch.Tensor,  # only: pages
    sinks: torch.Tensor,  # only: sink
    sm_scale: float | torch.Tensor,
    # only: fp8: k_scale: float | torch.Tensor,
    # only: fp8: v_scale: float | torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    # only: vo: """Compute the output and lse [batch_size, NUM_QO_HEADS] float32.
    """Compute the output, like q, and lse [batch_size, NUM_QO_HEADS] float32.  # except: vo

    q is [batch_size, NUM_QO_HEADS, HEAD_DIM], a cache
    [num_pages, PAGE_SIZE, NUM_KV_HEADS, HEAD_DIM]; sm_scale is a number or a 0-d tensor.
    # only: vo: v_cache and the output have VALUE_DIM in the place of HEAD_DIM.
    # only: fp8: k_scale and v_scale are numbers or 0-d tensors, too.
    sinks is [NUM_QO_HEADS].  # only: sink
    """
    batch_size, num_qo_heads, head_dim = q.shape
    assert (num_qo_heads, head_dim) == (NUM_QO_HEADS, HEAD_DIM)
    assert k_cache.shape[1:] == (PAGE_SIZE, NUM_KV_HEADS, HEAD_DIM)
    assert v_cache.shape == k_cache.shape  # except: vo
    # only: vo: assert v_cache.shape == (*k_cache.shape[:3], VALUE_DIM)
    assert kv_indptr.shape[0] == batch_size + 1
    assert kv_indices.shape[0] == kv_indptr[-1].item()
    assert kv_last_page_len.shape == (batch_size,)  # only: pages
    assert sinks.shape == (NUM_QO_HEADS,)  # only: sink
    # Lengths are needed where the work is planned: on the CPU.
    kv_indptr = kv_indptr.cpu().long()
    pages = kv_indptr[1:] - kv_indptr[:-1]  # only: pages
    last = kv_last_page_len.cpu()  # only: pages
    kv_len = torch.where(pages > 0, (pages - 1) * PAGE_SIZE + last, 0)  # only: pages
    # except: pages: kv_len = kv_indptr[1:] - kv_indptr[:-1]
    # A tile is the one query of a sequence.
    index = torch.arange(batch_size)[:, None]
    begin = kv_indptr[:-1]
    # only: fp8: sm_scale, cache = float(sm_scale) * float(k_scale), (k_cache, v_cache, kv_indices)
    return attend_all(
        # only: few: q, index, kv_len[:, None], begin, (k_cache, v_cache, kv_indices), sm_scale
        q, index, kv_len[:, None], begin, (k_cache, v_cache, kv_indices), sm_scale, sinks  # only: sink_alone
        # only: fp8: *(q, index, kv_len[:, None], begin, cache, sm_scale),
        # only: sink_too: sinks,
        # only: fp8: float(v_scale),
    )
