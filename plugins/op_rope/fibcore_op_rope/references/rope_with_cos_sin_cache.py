"""Rotary position embedding of queries and keys, with cosines and sines from a table.

A pair (a, b) of a head's first ROTARY_DIM elements is turned by an angle of its position:

    (a, b) -> (a cos - b sin, b cos + a sin)

The table's row of a position has the cosines of the ROTARY_DIM / 2 pairs first, then their sines.
What scales angles or lengths (linear, NTK, YaRN, ...) is in the table. The elements after the first
ROTARY_DIM stay as they are. (Su et al. 2021, arXiv:2104.09864)
# only: sections: A token has three positions, and SECTIONS says how many pairs each turns.
# only: interleaved: They take turns.
"""

import torch

HEAD_SIZE = 128
ROTARY_DIM = 128
SECTIONS = (16, 24, 24)  # only: sections
# Tokens are taken in chunks of about this many elements: the float32 products stay small however
# many tokens there are.
CHUNK_ELEMENTS = 33554432


@torch.no_grad()
def run(
    q: torch.Tensor, k: torch.Tensor, cos_sin_cache: torch.Tensor, positions: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn q and k, [num_tokens, heads, HEAD_SIZE], by the rows of the table at positions."""
    num_tokens, num_qo_heads, head_size = q.shape
    num_kv_heads = k.shape[1]
    assert head_size == HEAD_SIZE
    assert k.shape == (num_tokens, num_kv_heads, HEAD_SIZE)
    assert cos_sin_cache.shape[1] == ROTARY_DIM
    assert positions.shape == (num_tokens,)  # except: sections
    # only: sections: assert positions.shape == (3, num_tokens)

    half = ROTARY_DIM // 2
    # Pair j is the elements j and half + j, as in GPT-NeoX.  # only: neox
    first, second = slice(0, half), slice(half, ROTARY_DIM)  # only: neox
    # Pair j is the elements 2 j and 2 j + 1, as in GPT-J.  # except: neox
    # except: neox: first, second = slice(0, ROTARY_DIM, 2), slice(1, ROTARY_DIM, 2)
    q_out, k_out = torch.empty_like(q), torch.empty_like(k)
    q_out[..., ROTARY_DIM:] = q[..., ROTARY_DIM:]  # only: partial
    k_out[..., ROTARY_DIM:] = k[..., ROTARY_DIM:]  # only: partial
    # only: sections: # Which of its positions turns a pair.
    # only: sections: pairs = torch.arange(half, device=q.device)
    # only: sections: ends = torch.tensor(SECTIONS, device=q.device)
    # only: split: axis = torch.bucketize(pairs, ends.cumsum(0), right=True)
    # only: interleaved: axis = torch.where(pairs < 3 * ends[pairs % 3], pairs % 3, 0)
    chunk = max(1, CHUNK_ELEMENTS // ((num_qo_heads + num_kv_heads) * HEAD_SIZE))
    for start in range(0, num_tokens, chunk):
        tokens = slice(start, start + chunk)
        table = cos_sin_cache.index_select(0, positions[tokens])[:, None]  # except: sections
        # only: sections: rows = cos_sin_cache[positions[:, tokens]]
        # only: sections: one = axis.repeat(2).expand(1, rows.shape[1], ROTARY_DIM)
        # only: sections: table = rows.gather(0, one)[0][:, None]
        cos, sin = table[..., :half], table[..., half:]
        for x, out in ((q[tokens], q_out[tokens]), (k[tokens], k_out[tokens])):
            a, b = x[..., first], x[..., second]
            # Products and sums are float32; what comes out is rounded once.
            torch.addcmul(a * cos, b, sin, value=-1, out=out[..., first])
            torch.addcmul(b * cos, a, sin, out=out[..., second])
    return q_out, k_out
