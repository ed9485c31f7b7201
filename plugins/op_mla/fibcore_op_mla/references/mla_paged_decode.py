"""Decode step of multi-head latent attention over a paged latent cache, absorbed form."""  # only: pages
# except: pages: """Decode step of multi-head latent attention over a latent cache of one-token pages."""

import math

import torch

from fibcore_op_mla.references.mla_paged_prefill_causal import exact_dtype, gather_keys, product

NUM_QO_HEADS = 16
HEAD_DIM_CKV = 512
HEAD_DIM_KPE = 64
PAGE_SIZE = 64

# Bound of the working memory: keys, of all sequences together, that are worked on at once. A GPU
# needs much to do at a time, a CPU what its caches hold.
GPU_KEY_CHUNK = 32768
CPU_KEY_CHUNK = 1024


def attend_step(
    q_nope: torch.Tensor,
    q_pe: torch.Tensor,
    ckv: torch.Tensor,
    kpe: torch.Tensor,
    beyond: torch.Tensor,
    sm_scale: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention of one query of n sequences to the keys of one step, the same for all heads.

    Args:
        q_nope: [n, heads, ckv].
        q_pe: [n, heads, kpe].
        ckv: [n, keys, ckv], a part of the keys and the values.
        kpe: [n, keys, kpe], the other part of the keys.
        beyond: [n, keys], which of the keys a sequence does not have; it has at least one.
        sm_scale: Factor of the logits.

    Returns:
        The mean [n, heads, ckv] of the values in float32, weighed by exp(logit), and the logarithm
        [n, heads, 1] of the sum of exp(logit).
    """
    logits = product(q_nope, ckv.mT).add_(product(q_pe, kpe.mT)).mul_(sm_scale)
    logits.masked_fill_(beyond[:, None], -math.inf)
    weights = torch.softmax(logits, -1)
    # The largest weight is 1 / sum(exp(logit - largest logit)).
    sums = logits.amax(-1, keepdim=True) - weights.amax(-1, keepdim=True).log_()
    return torch.bmm(weights, ckv.float()), sums


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
    # only: fp8: kv_scale: float | torch.Tensor,
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

    lengths = [starts[i + 1] - starts[i] for i in range(len(starts) - 1)]
    # The last page holds kv_last_page_len keys, the ones before it are full.  # only: pages
    in_last = kv_last_page_len.tolist()  # only: pages
    lengths = [  # only: pages
        (pages - 1) * PAGE_SIZE + last if pages else 0  # only: pages
        for pages, last in zip(lengths, in_last, strict=True)  # only: pages
    ]  # only: pages

    device, exact, scale = q_nope.device, exact_dtype(q_nope), float(sm_scale)
    # only: fp8: scale *= float(kv_scale)
    output = torch.zeros_like(q_nope)
    lse = torch.full(q_nope.shape[:2], -math.inf, dtype=torch.float32, device=device)
    # The longest sequences first, so that those of about the same length share a group.
    order = sorted((i for i in range(batch_size) if lengths[i]), key=lambda i: -lengths[i])
    table = torch.tensor([(i, lengths[i], starts[i]) for i in order], device=device)
    key_chunk = GPU_KEY_CHUNK if q_nope.is_cuda else CPU_KEY_CHUNK
    step = max(1, key_chunk // PAGE_SIZE) * PAGE_SIZE
    first = 0
    while first < len(order):
        longest = lengths[order[first]]
        whole_pages = -(-longest // PAGE_SIZE) * PAGE_SIZE
        group = table[first : first + max(1, key_chunk // whole_pages)]
        sequence, length, first_page = group[:, 0], group[:, 1:2], group[:, 2:]
        own_nope, own_pe = q_nope[sequence].to(exact), q_pe[sequence].to(exact)
        # Groups of several sequences take one step.
        for begin in range(0, longest, step):
            end = min(begin + step, longest)
            ckv, kpe, beyond = gather_keys(
                ckv_cache, kpe_cache, kv_indices, first_page, length, begin, end
            )
            means, sums = attend_step(
                own_nope, own_pe, ckv.to(exact), kpe.to(exact), beyond, scale
            )
            if begin == 0:
                mixed, total = means, sums
            else:
                mixed.lerp_(means, torch.sigmoid(sums - total))
                total = torch.logaddexp(total, sums)
        # only: fp8: mixed.mul_(float(kv_scale))
        output[sequence] = mixed.to(output.dtype)
        lse[sequence] = total[..., 0]
        first += len(group)
    return output, lse.mul_(math.log2(math.e))
