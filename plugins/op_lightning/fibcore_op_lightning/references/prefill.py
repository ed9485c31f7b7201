"""Whole sequences of lightning attention, chunk by chunk.

A head's state S [K, V] fades at the head's own rate, takes in a token, and is read by its query:

    S_t = exp(-slope) S + k_t v_t^T,  o_t = scale q_t S_t

Within a chunk that begins with the state S_0, for its tokens t = 1, 2, ...,

    o_t / scale = exp(-slope t) q_t S_0 + sum over j <= t of exp(-slope (t - j)) (q_t . k_j) v_j

and what does not depend on S_0 is computed for many chunks at once. (Qin et al. 2024,
arXiv:2401.04658)
"""

import torch

NUM_HEADS = 8
HEAD_DIM = 128
# Tokens of a chunk.
CHUNK = 64
# Chunks of all sequences are taken together as long as none of their tensors has more elements.
BLOCK_ELEMENTS = 16777216


def chunked(x: torch.Tensor, tokens: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Rows of x [total, NUM_HEADS, D] as [sequences, chunks, NUM_HEADS, CHUNK, D] in float32.

    Places that are no token's are 0: such a token changes nothing.
    """
    rows = x[tokens].float().masked_fill_(~present[..., None, None], 0.0)
    return rows.transpose(2, 3)


def within(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, slope: torch.Tensor, present: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """What chunks do to any state: see `run`."""
    # In float64: the exponentials are as exact as float32 can say.
    rate = -slope.double()[:, None, None]
    count = present.sum(dim=-1)[..., None, None, None]
    order = torch.arange(1, CHUNK + 1, device=q.device)[:, None]
    later = order < order.transpose(0, 1)
    between = (rate * (order - order.transpose(0, 1))).masked_fill_(later, -torch.inf)
    own = ((q @ k.transpose(-1, -2)) * between.exp_().float()) @ v
    # Behind the last token of a sequence there is nothing to add up.
    until_end = (rate * (count - order).clamp_(min=0)).exp_().float()
    added = (k * until_end).transpose(-1, -2) @ v
    return own, q * (rate * order).exp().float(), added, (rate * count).exp_().float()


@torch.no_grad()
def run(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    state: torch.Tensor,
    slope: torch.Tensor,
    cu_seqlens: torch.Tensor,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The output [total_seq_len, NUM_HEADS, HEAD_DIM] and the state behind each sequence."""
    total, num_seqs = q.shape[0], state.shape[0]
    assert q.shape == k.shape == v.shape == (total, NUM_HEADS, HEAD_DIM)
    assert state.shape == (num_seqs, NUM_HEADS, HEAD_DIM, HEAD_DIM)
    assert slope.shape == (NUM_HEADS,)
    assert cu_seqlens.shape == (num_seqs + 1,)
    assert total == cu_seqlens[-1].item()

    output, new_state = torch.empty_like(q), state.float().clone()
    counts = (-(-cu_seqlens.diff() // CHUNK)).tolist()
    first = 0
    while first < max(counts, default=0):
        # Sequences that have such a chunk, and as many of their chunks as there is room for.
        active = [i for i, count in enumerate(counts) if count > first]
        chunk_elements = len(active) * NUM_HEADS * CHUNK * max(HEAD_DIM, CHUNK)
        number = min(max(1, BLOCK_ELEMENTS // chunk_elements), max(counts) - first)
        rows = torch.tensor(active, device=q.device)
        span = torch.arange(first * CHUNK, (first + number) * CHUNK, device=q.device)
        tokens = cu_seqlens[rows, None] + span
        present = tokens < cu_seqlens[rows + 1, None]
        tokens = tokens.clamp_(max=total - 1).view(len(active), number, CHUNK)
        present = present.view(len(active), number, CHUNK)
        parts = [chunked(x, tokens, present) for x in (q, k, v)]
        own, queries, added, decay = within(parts[0], parts[1], parts[2], slope, present)
        carried = new_state[rows]
        for c in range(number):
            own[:, c] += queries[:, c] @ carried
            carried = carried * decay[:, c] + added[:, c]
        output[tokens[present]] = (scale * own).to(output.dtype).transpose(2, 3)[present]
        new_state[rows] = carried
        first += number
    return output, new_state.to(state.dtype)
