"""The gated delta rule token by token, in float64, as a linear map of the state.

A token takes a state S [V, K] to S diag(alpha) (I - beta k k^T) + beta v k^T.
"""

import torch

# One gate for each channel of a head, and queries and keys that are brought to length 1.
CHANNELS = False
LOWER_BOUND = 0.0  # of log alpha; 0 for gates without one
EPSILON = 1e-6


def torch_decode(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    state: torch.Tensor,
    A_log: torch.Tensor,
    a: torch.Tensor,
    dt_bias: torch.Tensor,
    b: torch.Tensor,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The output [batch, 1, heads, V] and the states [batch, heads, V, K], in float64."""
    parts = prepared(q, k, v, A_log, a, dt_bias, b)
    output, after = recurrence(state.double(), *(x[:, 0] for x in parts))
    return scale * output[:, None], after


def torch_mtp(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    initial_state: torch.Tensor,
    initial_state_indices: torch.Tensor,
    A_log: torch.Tensor,
    a: torch.Tensor,
    dt_bias: torch.Tensor,
    b: torch.Tensor,
    scale: float,
    intermediate_states_buffer: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The output [batch, tokens, heads, V] and the pool of states, in float64."""
    del intermediate_states_buffer  # where kernels keep states on the way
    parts = prepared(q, k, v, A_log, a, dt_bias, b)
    pool, output = initial_state.double(), torch.zeros_like(v, dtype=torch.float64)
    for row, place in enumerate(initial_state_indices.tolist()):
        for t in range(q.shape[1]) if place >= 0 else ():
            output[row, t], pool[place] = recurrence(pool[place], *(x[row, t] for x in parts))
    return scale * output, pool


def torch_prefill(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    state: torch.Tensor,
    A_log: torch.Tensor,
    a: torch.Tensor,
    dt_bias: torch.Tensor,
    b: torch.Tensor,
    cu_seqlens: torch.Tensor,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The output [tokens, heads, V] and the state behind each sequence, in float64."""
    parts = prepared(q, k, v, A_log, a, dt_bias, b)
    states, output = state.double(), torch.zeros_like(v, dtype=torch.float64)
    starts = cu_seqlens.tolist()
    for sequence in range(len(starts) - 1):
        after = states[sequence]
        for t in range(starts[sequence], starts[sequence + 1]):
            output[t], after = recurrence(after, *(x[t] for x in parts))
        states[sequence] = after
    return scale * output, states


def prepared(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    A_log: torch.Tensor,
    a: torch.Tensor,
    dt_bias: torch.Tensor,
    b: torch.Tensor,
) -> tuple[torch.Tensor, ...]:
    """Queries, keys and values of each value head, alpha [..., K or 1] and beta [..., 1]."""
    shared = v.shape[-2] // q.shape[-2]
    queries, keys = (x.double().repeat_interleave(shared, dim=-2) for x in (q, k))
    rate, x = A_log.double().exp(), a.double() + dt_bias.double()
    if CHANNELS:
        queries, keys = (
            x / (x.square().sum(dim=-1, keepdim=True) + EPSILON).sqrt() for x in (queries, keys)
        )
        rate = rate[:, None]
    else:
        rate, x = rate[:, None], x[..., None]
    # softplus without a threshold.
    softplus = torch.logaddexp(x, torch.zeros_like(x))
    log_alpha = LOWER_BOUND / (1 + (-rate * x).exp()) if LOWER_BOUND else -rate * softplus
    return queries, keys, v.double(), log_alpha.exp(), torch.sigmoid(b.double())[..., None]


def recurrence(
    state: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    alpha: torch.Tensor,
    beta: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What a token reads [..., heads, V], and the state [..., heads, V, K] behind it."""
    identity = torch.eye(k.shape[-1], dtype=k.dtype, device=k.device)
    erasing = identity - (beta * k)[..., :, None] * k[..., None, :]
    written = (beta * v)[..., :, None] * k[..., None, :]
    after = (state * alpha[..., None, :]) @ erasing + written
    return (after @ q[..., None])[..., 0], after
