"""The gated delta rule over whole sequences, chunk by chunk.

A value head's state S [V, K] is a memory that is read by keys. A token lets it fade, corrects what
it answers to the token's key, and reads it with the token's query:

    S' = alpha S,  S_new = S' + u k^T with u = beta (v - S' k),  output = scale S_new q
    log alpha = -exp(A_log) softplus(a + dt_bias),  beta = sigmoid(b)  # except: bounded
    # only: bounded:     log alpha = LOWER_BOUND sigmoid(exp(A_log) (a + dt_bias)),  beta = sigmoid(b)

(Yang et al. 2024, arXiv:2412.06464)  # except: channel
Each column of S has an alpha of its own here, and queries and keys are brought to  # only: channel
length 1 first. (Kimi Linear, arXiv:2510.26692)  # only: channel

Within a chunk that begins with the state S_0, with G_t the sum of log alpha up to token t and
D(t, j) = exp(G_t - G_j), which is at most 1,

    S_t = exp(G_t) S_0 + sum over j <= t of D(t, j) u_j k_j^T

so that the updates u solve a unit lower triangular system, one for all tokens of the chunk:

    u_t + beta_t sum over j < t of D(t, j) (k_j . k_t) u_j = beta_t (v_t - exp(G_t) S_0 k_t)

What does not depend on S_0 is computed for many chunks at once.
"""

import torch

from fibcore_op_gdn.references.decode import gates

NUM_Q_HEADS = 16
NUM_K_HEADS = 16
NUM_V_HEADS = 32
HEAD_SIZE = 128
EPSILON = 1e-06  # only: channel
LOWER_BOUND = -5.0  # only: bounded
# Tokens of a chunk.
CHUNK = 64  # except: channel
# only: channel: CHUNK = 16
# Chunks of all sequences are taken together as long as none of their tensors has more elements.
BLOCK_ELEMENTS = 16777216


def chunked(x: torch.Tensor, tokens: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Rows of x [total, heads, D] as [sequences, chunks, NUM_V_HEADS, CHUNK, D] in float32.

    Places that are no token's are 0: such a token changes nothing.
    """
    rows = x[tokens].float().masked_fill_(~present[..., None, None], 0.0)
    return rows.transpose(2, 3).repeat_interleave(NUM_V_HEADS // x.shape[1], dim=2)


def solved(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    log_alpha: torch.Tensor,
    beta: torch.Tensor,
) -> tuple[torch.Tensor, ...]:
    """What chunks do to any state: see `through`."""
    # only: channel: q = q * torch.rsqrt((q * q).sum(dim=-1, keepdim=True) + EPSILON)
    # only: channel: k = k * torch.rsqrt((k * k).sum(dim=-1, keepdim=True) + EPSILON)
    # Sums and their differences in float64: the exponentials are as exact as float32 can say.
    log_decay = log_alpha.double().cumsum(dim=-2)
    later = torch.ones(CHUNK, CHUNK, dtype=torch.bool, device=q.device).triu_(1)
    # except: channel: between = log_decay - log_decay.transpose(-1, -2)
    # except: channel: decay = between.masked_fill_(later, -torch.inf).exp_().float()
    # except: channel: among_keys = (k @ k.transpose(-1, -2)) * decay
    # except: channel: read = (q @ k.transpose(-1, -2)) * decay
    between = log_decay[..., None, :] - log_decay[..., None, :, :]  # only: channel
    decay = between.masked_fill_(later[..., None], -torch.inf).exp_().float()  # only: channel
    decayed = decay.mul_(k[..., None, :, :])  # only: channel
    among_keys = (decayed @ k[..., None]).squeeze(-1)  # only: channel
    read = (decayed @ q[..., None]).squeeze(-1)  # only: channel
    since_start = log_decay.exp().float()
    until_end = (log_decay[..., -1:, :] - log_decay).exp().float()
    right = beta * torch.cat((v, k * since_start), dim=-1)
    updates = torch.linalg.solve_triangular(
        beta * among_keys, right, upper=False, unitriangular=True
    )
    own, erased = updates.split(HEAD_SIZE, dim=-1)
    return q * since_start, read, own, erased, k * until_end, since_start[..., -1:, :]


def through(
    state: torch.Tensor,
    queries: torch.Tensor,
    read: torch.Tensor,
    own: torch.Tensor,
    erased: torch.Tensor,
    keys: torch.Tensor,
    decay: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What one chunk of each sequence reads [sequences, heads, CHUNK, V], and the states behind."""
    update = own - erased @ state.transpose(-1, -2)
    output = queries @ state.transpose(-1, -2) + read @ update
    return output, state * decay + update.transpose(-1, -2) @ keys


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
    cu_seqlens: torch.Tensor,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The output [total_seq_len, NUM_V_HEADS, HEAD_SIZE] and the state behind each sequence."""
    total, num_seqs = q.shape[0], state.shape[0]
    gate = (NUM_V_HEADS,)  # except: channel
    # only: channel: gate = (NUM_V_HEADS, HEAD_SIZE)
    assert q.shape == (total, NUM_Q_HEADS, HEAD_SIZE)
    assert k.shape == (total, NUM_K_HEADS, HEAD_SIZE)
    assert v.shape == (total, NUM_V_HEADS, HEAD_SIZE)
    assert state.shape == (num_seqs, NUM_V_HEADS, HEAD_SIZE, HEAD_SIZE)
    assert a.shape == (total, *gate)
    assert b.shape == (total, NUM_V_HEADS)
    assert A_log.shape == (NUM_V_HEADS,)
    assert dt_bias.shape == gate
    assert cu_seqlens.shape == (num_seqs + 1,)
    assert total == cu_seqlens[-1].item()

    log_alpha, beta = gates(A_log, a, dt_bias, b)
    output, new_state = torch.empty_like(v), state.clone()
    counts = (-(-cu_seqlens.diff() // CHUNK)).tolist()
    first = 0
    while first < max(counts, default=0):
        # Sequences that have such a chunk, and as many of their chunks as there is room for.
        active = [i for i, count in enumerate(counts) if count > first]
        chunk_elements = len(active) * NUM_V_HEADS * CHUNK * HEAD_SIZE  # except: channel
        # only: channel: chunk_elements = len(active) * NUM_V_HEADS * CHUNK * CHUNK * HEAD_SIZE
        number = min(max(1, BLOCK_ELEMENTS // chunk_elements), max(counts) - first)
        rows = torch.tensor(active, device=q.device)
        within = torch.arange(first * CHUNK, (first + number) * CHUNK, device=q.device)
        tokens = cu_seqlens[rows, None] + within
        present = tokens < cu_seqlens[rows + 1, None]
        tokens = tokens.clamp_(max=total - 1).view(len(active), number, CHUNK)
        present = present.view(len(active), number, CHUNK)
        parts = [chunked(x, tokens, present) for x in (q, k, v, log_alpha, beta)]
        block, carried, reads = solved(*parts), new_state[rows], []
        for c in range(number):
            read, carried = through(carried, *(x[:, c] for x in block))
            reads.append((scale * read).to(output.dtype).transpose(1, 2))
        output[tokens[present]] = torch.stack(reads, dim=1)[present]
        new_state[rows] = carried
        first += number
    return output, new_state
