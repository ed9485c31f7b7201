"""Selective state spaces token by token, in float64."""

import torch


def torch_decode(
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
    """The output [batch, heads, D] and the cache of states, in float64."""
    cache, output = state.double(), torch.zeros_like(x, dtype=torch.float64)
    for row, place in enumerate(state_batch_indices.tolist()):
        before = cache[place] if place >= 0 else torch.zeros_like(cache[0])
        output[row], after = token(before, x[row], dt[row], A, B[row], C[row], D, dt_bias)
        if place >= 0:
            cache[place] = after
    return output, cache


def torch_prefill(
    x: torch.Tensor,
    dt: torch.Tensor,
    A: torch.Tensor,
    B: torch.Tensor,
    C: torch.Tensor,
    D: torch.Tensor,
    dt_bias: torch.Tensor,
    state: torch.Tensor,
    cu_seqlens: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The output [tokens, heads, D] and the state behind each sequence, in float64."""
    states, output = state.double(), torch.zeros_like(x, dtype=torch.float64)
    starts, rates = cu_seqlens.tolist(), A[:, None, None]
    for sequence in range(len(starts) - 1):
        for t in range(starts[sequence], starts[sequence + 1]):
            step = dt[t, :, None], D[:, None], dt_bias[:, None]
            output[t], states[sequence] = token(
                states[sequence], x[t], step[0], rates, B[t], C[t], *step[1:]
            )
    return output, states


def token(
    state: torch.Tensor,
    x: torch.Tensor,
    dt: torch.Tensor,
    A: torch.Tensor,
    B: torch.Tensor,
    C: torch.Tensor,
    D: torch.Tensor,
    dt_bias: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What one token reads [heads, D], and the state [heads, D, N] behind it."""
    biased = dt.double() + dt_bias.double()
    step = torch.logaddexp(biased, torch.zeros_like(biased))  # softplus without a threshold
    shared = state.shape[0] // B.shape[0]
    keys, queries = (g.double().repeat_interleave(shared, dim=0) for g in (B, C))
    taken = torch.einsum("hd,hn->hdn", step * x.double(), keys)
    after = torch.exp(step[..., None] * A.double()) * state + taken
    return torch.einsum("hdn,hn->hd", after, queries) + D.double() * x.double(), after
