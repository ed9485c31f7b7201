# only: full: """Prefill attention: ragged queries, keys and values, grouped heads.
"""Causal prefill attention: ragged queries, keys and values, grouped heads.  # only: causal

With query head h reading KV head g = h // (NUM_QO_HEADS // NUM_KV_HEADS), and the keys j that the
query sees,

    logit[j] = sm_scale * dot(q[h], k[j, g])  # except: cap
    logit[j] = LOGIT_CAP * tanh(sm_scale * dot(q[h], k[j, g]) / LOGIT_CAP)  # only: cap
    # except: sink: output[h] = sum_j softmax(logit)[j] * v[j, g]
    # except: sink: lse[h] = log2(sum_j exp(logit[j]))
    output[h] = sum_j exp(logit[j]) * v[j, g] / total  # only: sink
    total = exp(sinks[h]) + sum_j exp(logit[j])  # only: sink
    lse[h] = log2(total)  # only: sink

The keys of sequence b are k[kv_indptr[b] : kv_indptr[b + 1]].
Query i of a sequence with n queries and m keys sees the keys j <= i + m - n.  # only: causal
# only: full: A query sees all keys of its sequence.
Of these it sees the last SLIDING_WINDOW alone, its own included.  # only: window
# only: chunk: Of these it sees those of its own key's chunk alone: keys go by ATTENTION_CHUNK, from the first.
# except: sink: A query that sees no key gives output 0 and lse -inf.
A query that sees no key gives output 0, and an lse of its sink alone.  # only: sink

All sums are float32. Products of bfloat16 or float16 numbers are exact in float32, so that tensor
cores, where there are any, multiply queries and keys without an error of their own.
"""

import math

import torch

from fibcore_op_gqa.references.gqa_paged_prefill_causal import (
    attend,
    attend_all,
    hide,
    prefill,
    product,
    weighted_sum,
)

NUM_QO_HEADS = 32
NUM_KV_HEADS = 8
HEAD_DIM = 128
# only: vo: VALUE_DIM = 128
SLIDING_WINDOW = 4096  # only: window
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

    begin [n]: the first key of each.
    """
    keys, values = cache
    token = begin[:, None] + position
    # Tokens become the rows of a matrix for each head: those of one sequence without a copy.
    k, v = (x.reshape(-1, NUM_KV_HEADS, HEAD_DIM)[token].transpose(1, 2) for x in (keys, values))  # except: vo
    # only: vo: k, v = (x[token].transpose(1, 2) for x in (keys, values))
    return k.flatten(0, 1), v.flatten(0, 1)


@torch.no_grad()
def run(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    qo_indptr: torch.Tensor,
    kv_indptr: torch.Tensor,
    sinks: torch.Tensor,  # only: sink
    sm_scale: float | torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    # only: vo: """Compute the output and lse [total_q, NUM_QO_HEADS] float32.
    """Compute the output, like q, and lse [total_q, NUM_QO_HEADS] float32.  # except: vo

    q is [total_q, NUM_QO_HEADS, HEAD_DIM], k and v [total_kv, NUM_KV_HEADS, HEAD_DIM];
    sm_scale is a number or a 0-d tensor.
    # only: vo: v and the output have VALUE_DIM in the place of HEAD_DIM.
    sinks is [NUM_QO_HEADS].  # only: sink
    """
    total_q, num_qo_heads, head_dim = q.shape
    total_kv = k.shape[0]
    assert (num_qo_heads, head_dim) == (NUM_QO_HEADS, HEAD_DIM)
    assert sinks.shape == (NUM_QO_HEADS,)  # only: sink
    assert k.shape[1:] == (NUM_KV_HEADS, HEAD_DIM)
    assert v.shape == k.shape  # except: vo
    # only: vo: assert v.shape == (*k.shape[:2], VALUE_DIM)
    assert qo_indptr.shape == kv_indptr.shape
    assert total_q == qo_indptr[-1].item()
    assert total_kv == kv_indptr[-1].item()
    # Lengths are needed where the work is planned: on the CPU.
    qo_indptr, kv_indptr = qo_indptr.cpu().long(), kv_indptr.cpu().long()
    kv_len = kv_indptr[1:] - kv_indptr[:-1]
    # except: sink: return prefill(q, qo_indptr, kv_len, kv_indptr[:-1], (k, v), sm_scale)
    return prefill(q, qo_indptr, kv_len, kv_indptr[:-1], (k, v), sm_scale, sinks)  # only: sink
