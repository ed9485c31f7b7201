"""One token a sequence of lightning attention, with states in a cache.

A head's state S [K, V] fades at the head's own rate, takes in the token, and is read by its query:

    S_new = exp(-slope) S + k v^T,  output = scale q S_new

(Qin et al. 2024, arXiv:2401.04658)
"""

import torch

NUM_HEADS = 8
HEAD_DIM = 128
# Sequences are taken in chunks whose states have about this many elements in all.
CHUNK_ELEMENTS = 33554432


@torch.no_grad()
def run(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    state: torch.Tensor,
    slope: torch.Tensor,
    state_batch_indices: torch.Tensor,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The output [batch_size, NUM_HEADS, HEAD_DIM] and the cache with the states behind."""
    batch_size = q.shape[0]
    assert q.shape == k.shape == v.shape == (batch_size, NUM_HEADS, HEAD_DIM)
    assert state.shape[1:] == (NUM_HEADS, HEAD_DIM, HEAD_DIM)
    assert slope.shape == (NUM_HEADS,)
    assert state_batch_indices.shape == (batch_size,)

    # A row without a place in the cache is padding: its output is 0.
    output, new_state = torch.zeros_like(q), state.clone()
    decay = torch.exp(-slope.float())[:, None, None]
    present = (state_batch_indices >= 0).nonzero()[:, 0]
    chunk = max(1, CHUNK_ELEMENTS // (NUM_HEADS * HEAD_DIM * HEAD_DIM))
    for rows in torch.split(present, chunk):
        places = state_batch_indices[rows].long()
        after = state[places].float() * decay
        after.addcmul_(k[rows].float()[..., None], v[rows].float()[..., None, :])
        read = q[rows].float()[..., None, :] @ after
        output[rows] = (scale * read[..., 0, :]).to(output.dtype)
        new_state[places] = after.to(new_state.dtype)
    return output, new_state
