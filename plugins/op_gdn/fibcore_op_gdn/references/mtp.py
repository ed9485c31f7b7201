"""The gated delta rule over a few tokens of each sequence, as drafts are verified.

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

from fibcore_op_gdn.references.decode import expanded, gates, step

NUM_Q_HEADS = 16
NUM_K_HEADS = 16
NUM_V_HEADS = 32
HEAD_SIZE = 128
EPSILON = 1e-06  # only: channel
LOWER_BOUND = -5.0  # only: bounded


@torch.no_grad()
def run(
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
    """The output [batch_size, seq_len, NUM_V_HEADS, HEAD_SIZE] and the pool of states behind.

    A kernel keeps the states between tokens in intermediate_states_buffer; here it is left alone.
    """
    batch_size, seq_len = q.shape[:2]
    pool_size = initial_state.shape[0]
    gate = (NUM_V_HEADS,)  # except: channel
    # only: channel: gate = (NUM_V_HEADS, HEAD_SIZE)
    pool = (NUM_V_HEADS, HEAD_SIZE, HEAD_SIZE)
    assert seq_len > 1
    assert q.shape == (batch_size, seq_len, NUM_Q_HEADS, HEAD_SIZE)
    assert k.shape == (batch_size, seq_len, NUM_K_HEADS, HEAD_SIZE)
    assert v.shape == (batch_size, seq_len, NUM_V_HEADS, HEAD_SIZE)
    assert initial_state.shape == (pool_size, *pool)
    assert initial_state_indices.shape == (batch_size,)
    assert a.shape == (batch_size, seq_len, *gate)
    assert b.shape == (batch_size, seq_len, NUM_V_HEADS)
    assert A_log.shape == (NUM_V_HEADS,)
    assert dt_bias.shape == gate
    assert intermediate_states_buffer.shape == (pool_size, seq_len, *pool)

    # A row without a place in the pool is padding: its output is 0.
    rows = (initial_state_indices >= 0).nonzero()[:, 0]
    places = initial_state_indices[rows].long()
    log_alpha, beta = gates(A_log, a[rows], dt_bias, b[rows])
    queries, keys, values = expanded(q[rows]), expanded(k[rows]), v[rows]
    output, final_state = torch.zeros_like(v), initial_state.clone()
    state = initial_state[places]
    for t in range(seq_len):
        read, state = step(
            state, queries[:, t], keys[:, t], values[:, t], log_alpha[:, t], beta[:, t]
        )
        output[rows, t] = (scale * read).to(output.dtype)
    final_state[places] = state
    return output, final_state
