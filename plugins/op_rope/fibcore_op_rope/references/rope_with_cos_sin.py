"""Rotary position embedding of queries and keys, with the cosines and sines of every token.

The elements j and j + HEAD_SIZE / 2 of a head, a and b, are turned by an angle of their token:

    (a, b) -> (a cos_a - b sin_a, b cos_b + a sin_b)

Each element has a cosine and a sine of its own, which are the same for both of a pair where they
come from one angle. (Su et al. 2021, arXiv:2104.09864)
"""

import torch

HEAD_SIZE = 256
# Tokens are taken in chunks of about this many elements: the float32 products stay small however
# many tokens there are.
CHUNK_ELEMENTS = 33554432


@torch.no_grad()
def run(
    q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn q and k, [num_tokens, heads, HEAD_SIZE], by cos and sin, [num_tokens, HEAD_SIZE]."""
    num_tokens, num_qo_heads, head_size = q.shape
    num_kv_heads = k.shape[1]
    assert head_size == HEAD_SIZE
    assert k.shape == (num_tokens, num_kv_heads, HEAD_SIZE)
    assert cos.shape == sin.shape == (num_tokens, HEAD_SIZE)

    first, second = slice(0, HEAD_SIZE // 2), slice(HEAD_SIZE // 2, HEAD_SIZE)
    q_out, k_out = torch.empty_like(q), torch.empty_like(k)
    chunk = max(1, CHUNK_ELEMENTS // ((num_qo_heads + num_kv_heads) * HEAD_SIZE))
    for start in range(0, num_tokens, chunk):
        tokens = slice(start, start + chunk)
        c, s = cos[tokens, None], sin[tokens, None]
        for x, out in ((q[tokens], q_out[tokens]), (k[tokens], k_out[tokens])):
            a, b = x[..., first], x[..., second]
            # Products and sums are float32; what comes out is rounded once.
            torch.addcmul(a * c[..., first], b, s[..., first], value=-1, out=out[..., first])
            torch.addcmul(b * c[..., second], a, s[..., second], out=out[..., second])
    return q_out, k_out
