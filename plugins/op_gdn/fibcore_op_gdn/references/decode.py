"""The gated delta rule, one token a sequence.

A value head's state S [V, K] is a memory that is read by keys. A token lets it fade, corrects what
it answers to the token's key, and reads it with the token's query:

    S' = alpha S,  S_new = S' + beta (v - S' k) k^T,  output = scale S_new q
    log alpha = -exp(A_log) softplus(a + dt_bias),  beta = sigmoid(b)  # except: bounded
    # only: bounded:     log alpha = LOWER_BOUND sigmoid(exp(A_log) (a + dt_bias)),  beta = sigmoid(b)

(Yang et al. 2024, arXiv:2412.06464)  # except: channel
Each column of S has an alpha of its own here, and queries and keys are brought to  # only: channel
length 1 first. (Kimi Linear, arXiv:2510.26692)  # only: channel
"""

import torch

NUM_Q_HEADS = 16
NUM_K_HEADS = 16
NUM_V_HEADS = 32
HEAD_SIZE = 128
SEQ_LEN = 1
EPSILON = 1e-06  # only: channel
LOWER_BOUND = -5.0  # only: bounded


def gates(
    A_log: torch.Tensor, a: torch.Tensor, dt_bias: torch.Tensor, b: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log alpha [..., heads, 1] and beta [..., heads, 1], in float32."""  # except: channel
    # only: channel: """Log alpha [..., heads, K] and beta [..., heads, 1], in float32."""
    rate, x = A_log.exp(), a + dt_bias  # except: channel
    # only: channel: rate, x = A_log.exp()[:, None], a + dt_bias
    # only: bounded: log_alpha = LOWER_BOUND * torch.sigmoid(rate * x)
    log_alpha = -rate * torch.nn.functional.softplus(x)  # except: bounded
    return log_alpha[..., None], torch.sigmoid(b.float())[..., None]  # except: channel
    # only: channel: return log_alpha, torch.sigmoid(b.float())[..., None]


def expanded(x: torch.Tensor) -> torch.Tensor:
    """Queries or keys [..., heads, K] for each value head, in float32."""  # except: channel
    # only: channel: """Queries or keys [..., heads, K] for each value head, of length 1."""
    x = x.float()
    # only: channel: x = x * torch.rsqrt((x * x).sum(dim=-1, keepdim=True) + EPSILON)
    return x.repeat_interleave(NUM_V_HEADS // x.shape[-2], dim=-2)


def step(
    state: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    log_alpha: torch.Tensor,
    beta: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What a token reads [batch, heads, V], and the state [batch, heads, V, K] behind it."""
    faded = state * log_alpha.exp()[..., None, :]
    # One pass over the state for both products.
    answers = faded @ torch.stack((k, q), dim=-1)
    update = beta * (v - answers[..., 0])
    output = answers[..., 1] + update * (k * q).sum(dim=-1, keepdim=True)
    written = update.reshape(-1, HEAD_SIZE, 1), k.reshape(-1, 1, HEAD_SIZE)
    new_state = torch.baddbmm(faded.flatten(0, 1), *written)
    return output, new_state.view(state.shape)


@torch.no_grad()
def run(
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
    """The output [batch_size, 1, NUM_V_HEADS, HEAD_SIZE] and the states behind the token."""
    batch_size, seq_len = q.shape[:2]
    gate = (NUM_V_HEADS,)  # except: channel
    # only: channel: gate = (NUM_V_HEADS, HEAD_SIZE)
    assert seq_len == SEQ_LEN
    assert q.shape == (batch_size, SEQ_LEN, NUM_Q_HEADS, HEAD_SIZE)
    assert k.shape == (batch_size, SEQ_LEN, NUM_K_HEADS, HEAD_SIZE)
    assert v.shape == (batch_size, SEQ_LEN, NUM_V_HEADS, HEAD_SIZE)
    assert state.shape == (batch_size, NUM_V_HEADS, HEAD_SIZE, HEAD_SIZE)
    assert a.shape == (batch_size, SEQ_LEN, *gate)
    assert b.shape == (batch_size, SEQ_LEN, NUM_V_HEADS)
    assert A_log.shape == (NUM_V_HEADS,)
    assert dt_bias.shape == gate

    log_alpha, beta = gates(A_log, a[:, 0], dt_bias, b[:, 0])
    queries, keys = expanded(q[:, 0]), expanded(k[:, 0])
    output, new_state = step(state, queries, keys, v[:, 0], log_alpha, beta)
    return (scale * output).to(q.dtype)[:, None], new_state
