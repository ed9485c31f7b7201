"""One token a sequence of a selective state space (Mamba 2), with states in a cache.

A head's state S [D, N] fades, takes in the token's x [D], and is read:

    step = softplus(dt + dt_bias),  S_new = exp(step A) S + step x B^T,  output = S_new C + D x

Heads share B and C in groups. (Gu and Dao 2023, arXiv:2312.00752; Dao and Gu 2024,
arXiv:2405.21060)
"""

import torch

NHEADS = 64
HEAD_DIM = 64
DSTATE = 128
NGROUPS = 8
# Sequences are taken in chunks whose states have about this many elements in all.
CHUNK_ELEMENTS = 33554432


@torch.no_grad()
def run(
    state: torch.Tensor,
    x: torch.Tensor,
    dt: torch.Tensor,
    A: torch.Tensor,
    B: torch.Tensor,
    C: torch.Tensor,
    D: torch.Tensor,
    dt_bias: torch.Tensor,
    state_batch_indices: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The output [batch_size, NHEADS, HEAD_DIM] and the cache with the states behind the token."""
    batch_size = x.shape[0]
    assert state.shape[1:] == (NHEADS, HEAD_DIM, DSTATE)
    assert x.shape == dt.shape == (batch_size, NHEADS, HEAD_DIM)
    assert A.shape == (NHEADS, HEAD_DIM, DSTATE)
    assert B.shape == C.shape == (batch_size, NGROUPS, DSTATE)
    assert D.shape == dt_bias.shape == (NHEADS, HEAD_DIM)
    assert state_batch_indices.shape == (batch_size,)

    output, new_state = torch.empty_like(x), state.clone()
    chunk = max(1, CHUNK_ELEMENTS // (NHEADS * HEAD_DIM * DSTATE))
    for first in range(0, batch_size, chunk):
        rows = slice(first, first + chunk)
        places = state_batch_indices[rows]
        taken = x[rows].float()
        step = torch.nn.functional.softplus(dt[rows].float() + dt_bias)
        # A row without a place is padding: it begins with nothing, and is kept nowhere.
        before = state[places].masked_fill_((places < 0)[:, None, None, None], 0.0)
        after = (step[..., None] * A).exp_().mul_(before)
        inputs, outputs = (
            g[rows].float().repeat_interleave(NHEADS // NGROUPS, dim=1) for g in (B, C)
        )
        after.addcmul_((step * taken)[..., None], inputs[:, :, None, :])
        read = (after @ outputs[..., None]).squeeze(-1)
        output[rows] = read + taken * D
        kept = places >= 0
        new_state[places[kept]] = after[kept].to(new_state.dtype)
    return output, new_state
