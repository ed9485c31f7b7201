"""Selective state space, one token: flashinfer.mamba.selective_state_update.

FlashInfer reads one number a head of A, D, dt and dt_bias: they have to be views of such.
"""

import torch

# Heads of a group for which FlashInfer has kernels besides the simple one.
RATIOS = (1, 8, 16)


def flashinfer_mamba_ssu(
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
    """The output and the cache, which FlashInfer updates in place."""
    from flashinfer.mamba import selective_state_update

    after = state.clone()
    output = selective_state_update(
        after,
        x,
        of_heads(dt, 1),
        of_heads(A, 2),
        B,
        C,
        of_heads(D, 1),
        dt_bias=of_heads(dt_bias, 1),
        dt_softplus=True,
        state_batch_indices=state_batch_indices,
        algorithm="auto" if x.shape[1] // B.shape[1] in RATIOS else "simple",
    )
    return output, after


def of_heads(x: torch.Tensor, more: int) -> torch.Tensor:
    """A view of the first number of each head, of the same shape; `more` axes are the same."""
    for axis in range(-more, 0):
        first = x.narrow(axis, 0, 1).expand_as(x)
        if not torch.equal(first, x):
            raise NotImplementedError("FlashInfer takes one number for each head")
        x = first
    return x
