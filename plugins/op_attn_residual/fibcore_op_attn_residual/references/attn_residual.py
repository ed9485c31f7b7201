"""A token's residual streams, weighed by a softmax over scores.

score(x) = x . score_weight / sqrt(mean(x^2) + EPSILON) of each stream x that was kept, and of the
one of now; output = sum over streams of softmax(score) * x, in float32 until the end
"""

import torch

HIDDEN_SIZE = 7168
EPSILON = 1e-05
# Tokens are taken in chunks of about this many elements of their streams: the float32 copies stay
# small however many tokens there are.
CHUNK_ELEMENTS = 33554432


@torch.no_grad()
def run(
    prefix_sum: torch.Tensor, blocks: torch.Tensor, score_weight: torch.Tensor
) -> torch.Tensor:
    """Weigh the streams prefix_sum [n, HIDDEN_SIZE] and blocks [n, num_blocks, HIDDEN_SIZE]."""
    num_tokens, num_blocks, _ = blocks.shape
    assert prefix_sum.shape == (num_tokens, HIDDEN_SIZE)
    assert blocks.shape == (num_tokens, num_blocks, HIDDEN_SIZE)
    assert score_weight.shape == (HIDDEN_SIZE,)

    output = torch.empty_like(prefix_sum)
    chunk = max(1, CHUNK_ELEMENTS // (HIDDEN_SIZE * (num_blocks + 1)))
    for first in range(0, num_tokens, chunk):
        own = slice(first, first + chunk)
        streams = torch.cat((blocks[own], prefix_sum[own, None]), 1).to(torch.float32)
        root = torch.rsqrt(streams.square().mean(-1) + EPSILON)
        weights = torch.softmax(torch.matmul(streams, score_weight) * root, -1)
        output[own] = torch.bmm(weights[:, None], streams)[:, 0]
    return output
