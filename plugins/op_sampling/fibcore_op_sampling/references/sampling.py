"""Filters of rows of probabilities.

A token of each row is drawn out of those that are kept.  # only: draw
What is kept of each row is scaled to the sum 1; all else is 0.  # only: renorm

All tokens are kept.  # only: plain
The top_k most probable tokens are kept; all where top_k is no number from 1 to VOCAB_SIZE.  # only: top_k
Of these, from the most probable on, those before which less than top_p of their sum stands.  # only: first
And, from the most probable on, only those before which less than top_p of the row stands.  # only: joint
From the most probable on, tokens are kept before which less than top_p of the row stands.  # only: alone
Tokens are kept that have at least min_p times the probability of the most probable one.  # only: min_p
At least the most probable one is kept; equally probable ones are kept, or left out, together.  # only: filtered
"""

import torch

VOCAB_SIZE = 128256
# Rows are taken in chunks of about this many elements, which bounds the memory of float64 sums.
CHUNK_ELEMENTS = 16777216


@torch.no_grad()
def run(
    probs: torch.Tensor,
    top_k: torch.Tensor,  # only: top_k
    top_p: torch.Tensor,  # only: top_p
    min_p: torch.Tensor,  # only: min_p
) -> torch.Tensor:
    """Take rows of probs [batch_size, VOCAB_SIZE] and a parameter of each [batch_size]."""  # only: filtered
    # except: filtered: """Take rows of probs [batch_size, VOCAB_SIZE]."""
    batch_size, vocab_size = probs.shape
    assert vocab_size == VOCAB_SIZE
    assert top_k.shape == (batch_size,)  # only: top_k
    assert top_p.shape == (batch_size,)  # only: top_p
    assert min_p.shape == (batch_size,)  # only: min_p

    samples = torch.empty(batch_size, dtype=torch.int64, device=probs.device)  # only: int64
    samples = torch.empty(batch_size, dtype=torch.int32, device=probs.device)  # only: int32
    renormalized = torch.empty_like(probs)  # only: renorm
    chunk = max(1, CHUNK_ELEMENTS // VOCAB_SIZE)
    for first in range(0, batch_size, chunk):
        rows = slice(first, first + chunk)
        kept = probs[rows]
        ordered = kept.sort(dim=-1, descending=True).values  # only: ordered
        last = top_k[rows].where(top_k[rows] > 0, VOCAB_SIZE).clamp(max=VOCAB_SIZE) - 1  # only: top_k
        least = ordered.gather(-1, last[:, None].long())  # only: top_k
        ordered = ordered.where(ordered >= least, 0.0)  # only: first
        reached = ordered.cumsum(dim=-1, dtype=torch.float64)  # only: top_p
        needed = reached - ordered < top_p[rows, None] * reached[:, -1:]  # only: top_p
        fewest = needed.sum(dim=-1, keepdim=True).clamp(min=1)  # only: top_p
        least = ordered.gather(-1, fewest - 1)  # only: alone
        least = least.maximum(ordered.gather(-1, fewest - 1))  # only: both
        least = kept.amax(dim=-1, keepdim=True) * min_p[rows, None].clamp(max=1.0)  # only: min_p
        kept = kept.where(kept >= least, 0.0)  # only: filtered
        # The place in the running sums of a number below the whole sum. In float64: numbers of 24  # only: draw
        # bits would be too few for the probabilities of a large vocabulary.  # only: draw
        sums = kept.cumsum(dim=-1, dtype=torch.float64)  # only: draw
        point = torch.rand(len(kept), 1, dtype=torch.float64, device=probs.device) * sums[:, -1:]  # only: draw
        samples[rows] = torch.searchsorted(sums, point, right=True)[:, 0]  # only: draw
        renormalized[rows] = kept / kept.sum(dim=-1, keepdim=True, dtype=torch.float64)  # only: renorm
    return samples  # only: draw
    # only: renorm: return renormalized
