"""Lightning attention token by token, in float64."""

import torch


def torch_decode(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    state: torch.Tensor,
    slope: torch.Tensor,
    state_batch_indices: torch.Tensor,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The output [batch, heads, D] and the cache of states, in float64."""
    cache, output = state.double(), torch.zeros_like(q, dtype=torch.float64)
    for row, place in enumerate(state_batch_indices.tolist()):
        if place >= 0:
            output[row], cache[place] = token(cache[place], q[row], k[row], v[row], slope)
    return scale * output, cache


def torch_prefill(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    state: torch.Tensor,
    slope: torch.Tensor,
    cu_seqlens: torch.Tensor,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The output [tokens, heads, D] and the state behind each sequence, in float64."""
    states, output = state.double(), torch.zeros_like(q, dtype=torch.float64)
    starts = cu_seqlens.tolist()
    for sequence in range(len(starts) - 1):
        for t in range(starts[sequence], starts[sequence + 1]):
            output[t], states[sequence] = token(states[sequence], q[t], k[t], v[t], slope)
    return scale * output, states


def token(
    state: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, slope: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """What one token reads [heads, D], and the state [heads, D, D] behind it."""
    faded = torch.exp(-slope.double())[:, None, None] * state
    after = faded + torch.einsum("hk,hv->hkv", k.double(), v.double())
    return torch.einsum("hk,hkv->hv", q.double(), after), after
