"""Whole sequences of a selective state space (Mamba 2), chunk by chunk.

A head's state S [D, N] fades, takes in the token's x [D], and is read:

    step = softplus(dt + dt_bias),  S_t = exp(step_t A) S + step_t x_t B_t^T,  y_t = S_t C_t + D x_t

Within a chunk that begins with the state S_0, with G_t the sum of step A up to token t,

    y_t = exp(G_t) S_0 C_t + sum over j <= t of exp(G_t - G_j) (B_j . C_t) step_j x_j + D x_t

and what does not depend on S_0 is computed for many chunks at once. Heads share B and C in groups.
(Dao and Gu 2024, arXiv:2405.21060)
"""

import torch

NHEADS = 64
HEAD_DIM = 64
DSTATE = 128
NGROUPS = 8
# Tokens of a chunk.
CHUNK = 64
# Chunks of all sequences are taken together as long as none of their tensors has more elements.
BLOCK_ELEMENTS = 16777216


def chunked(x: torch.Tensor, tokens: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Rows of x [total, heads or groups, E] as [sequences, chunks, NHEADS, CHUNK, E] in float32.

    Places that are no token's are 0: such a token changes nothing.
    """
    rows = x[tokens].float().masked_fill_(~present[..., None, None], 0.0)
    return rows.transpose(2, 3).repeat_interleave(NHEADS // x.shape[1], dim=2)


def within(
    taken: torch.Tensor, log_decay: torch.Tensor, B: torch.Tensor, C: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """What chunks do to any state: see `run`."""
    # Sums and their differences in float64: the exponentials are as exact as float32 can say.
    since = log_decay.double().cumsum(dim=-2)
    later = torch.ones(CHUNK, CHUNK, dtype=torch.bool, device=B.device).triu_(1)
    between = since - since.transpose(-1, -2)
    decay = between.masked_fill_(later, -torch.inf).exp_().float()
    own = ((C @ B.transpose(-1, -2)) * decay) @ taken
    until_end = (since[..., -1:, :] - since).exp().float()
    added = (taken * until_end).transpose(-1, -2) @ B
    since_start = since.exp().float()
    return own, C * since_start, added, since_start[..., -1:, :]


@torch.no_grad()
def run(
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
    """The output [total_seq_len, NHEADS, HEAD_DIM] and the state behind each sequence."""
    total, num_seqs = x.shape[0], state.shape[0]
    assert x.shape == (total, NHEADS, HEAD_DIM)
    assert dt.shape == (total, NHEADS)
    assert A.shape == D.shape == dt_bias.shape == (NHEADS,)
    assert B.shape == C.shape == (total, NGROUPS, DSTATE)
    assert state.shape == (num_seqs, NHEADS, HEAD_DIM, DSTATE)
    assert cu_seqlens.shape == (num_seqs + 1,)
    assert total == cu_seqlens[-1].item()

    step = torch.nn.functional.softplus(dt.float() + dt_bias)[..., None]
    output, new_state = torch.empty_like(x), state.float()
    counts = (-(-cu_seqlens.diff() // CHUNK)).tolist()
    first = 0
    while first < max(counts, default=0):
        # Sequences that have such a chunk, and as many of their chunks as there is room for.
        active = [i for i, count in enumerate(counts) if count > first]
        chunk_elements = len(active) * NHEADS * CHUNK * max(HEAD_DIM, DSTATE)
        number = min(max(1, BLOCK_ELEMENTS // chunk_elements), max(counts) - first)
        rows = torch.tensor(active, device=x.device)
        span = torch.arange(first * CHUNK, (first + number) * CHUNK, device=x.device)
        tokens = cu_seqlens[rows, None] + span
        present = tokens < cu_seqlens[rows + 1, None]
        tokens = tokens.clamp_(max=total - 1).view(len(active), number, CHUNK)
        present = present.view(len(active), number, CHUNK)
        inputs, steps, keys, queries = (
            chunked(each, tokens, present) for each in (x, step, B, C)
        )
        own, queries, added, decay = within(
            steps * inputs, steps * A[:, None, None], keys, queries
        )
        carried = new_state[rows]
        for c in range(number):
            own[:, c] += queries[:, c] @ carried.transpose(-1, -2)
            carried = carried * decay[:, c] + added[:, c]
        own += inputs * D[:, None, None]
        output[tokens[present]] = own.to(output.dtype).transpose(2, 3)[present]
        new_state[rows] = carried
        first += number
    return output, new_state.to(state.dtype)
