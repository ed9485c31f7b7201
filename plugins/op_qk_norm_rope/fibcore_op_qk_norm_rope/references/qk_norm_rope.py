"""RMSNorm of query and key heads, then rotary position embedding, in one kernel.

    x = head / sqrt(mean(head^2) + EPSILON) * (1 + weight)
    (a, b) -> (a cos - b sin, b cos + a sin)  for elements a = x[j], b = x[j + ROTARY_DIM / 2]

The table's row of a position has the cosines of the ROTARY_DIM / 2 pairs first, then their sines.
Each pair is turned by one of the token's three positions: axis_map says which.  # only: mrope
Behind each query head stands a gate, which comes out as it is.  # only: gate
(Zhang and Sennrich 2019, arXiv:1910.07467; Su et al. 2021, arXiv:2104.09864)
"""

import torch
from torch.nn.functional import rms_norm

HEAD_SIZE = 256
GATED_SIZE = 512  # only: gate
ROTARY_DIM = 64
EPSILON = 1e-06
# Tokens are taken in chunks of about this many elements: the float32 copies stay small however
# many tokens there are.
CHUNK_ELEMENTS = 33554432


def normed_and_turned(
    heads: torch.Tensor, weight: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor
) -> torch.Tensor:
    """Heads [tokens, heads, HEAD_SIZE] with a factor and angles, in float32."""
    x = rms_norm(heads.to(torch.float32), (HEAD_SIZE,), 1.0 + weight.to(torch.float32), EPSILON)
    a, b = x[..., : ROTARY_DIM // 2], x[..., ROTARY_DIM // 2 : ROTARY_DIM]
    turned = (a * cos - b * sin, b * cos + a * sin)
    # except: partial: return torch.cat(turned, dim=-1)
    return torch.cat((*turned, x[..., ROTARY_DIM:]), dim=-1)  # only: partial


@torch.no_grad()
def run(
    q_gate: torch.Tensor,  # only: gate
    # except: gate: q: torch.Tensor,
    k: torch.Tensor,
    q_weight: torch.Tensor,
    k_weight: torch.Tensor,
    cos_sin_cache: torch.Tensor,
    positions: torch.Tensor,
    axis_map: torch.Tensor,  # only: mrope
) -> tuple[torch.Tensor, ...]:
    """Normalise heads [num_tokens, heads, HEAD_SIZE], then turn them by the table's rows."""
    q, gate = q_gate[..., :HEAD_SIZE], q_gate[..., HEAD_SIZE:]  # only: gate
    num_tokens, num_kv_heads = k.shape[:2]
    num_qo_heads = q.shape[1]
    assert q_gate.shape == (num_tokens, num_qo_heads, GATED_SIZE)  # only: gate
    # except: gate: assert q.shape == (num_tokens, num_qo_heads, HEAD_SIZE)
    assert k.shape == (num_tokens, num_kv_heads, HEAD_SIZE)
    assert q_weight.shape == k_weight.shape == (HEAD_SIZE,)
    assert cos_sin_cache.shape[1] == ROTARY_DIM
    assert axis_map.shape == (ROTARY_DIM // 2,)  # only: mrope
    assert positions.shape == (3, num_tokens)  # only: mrope
    # except: mrope: assert positions.shape == (num_tokens,)

    pairs = torch.arange(ROTARY_DIM // 2, device=k.device)
    q_out, k_out = torch.empty(q.shape, dtype=q.dtype, device=q.device), torch.empty_like(k)
    chunk = max(1, CHUNK_ELEMENTS // ((num_qo_heads + num_kv_heads) * HEAD_SIZE))
    for first in range(0, num_tokens, chunk):
        tokens = slice(first, first + chunk)
        rows = positions[axis_map.long(), tokens].t()  # only: mrope
        # except: mrope: rows = positions[tokens, None]
        cos = cos_sin_cache[rows, pairs][:, None]
        sin = cos_sin_cache[rows, pairs + ROTARY_DIM // 2][:, None]
        q_out[tokens] = normed_and_turned(q[tokens], q_weight, cos, sin)
        k_out[tokens] = normed_and_turned(k[tokens], k_weight, cos, sin)
    # except: gate: return q_out, k_out
    return q_out, k_out, gate.clone()  # only: gate
