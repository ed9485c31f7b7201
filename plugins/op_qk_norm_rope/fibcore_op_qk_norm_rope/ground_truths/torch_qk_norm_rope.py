"""RMSNorm and rotary position embedding of queries and keys by torch, in float64."""

import torch

EPSILON = 1e-06


def torch_qk_norm_rope(
    k: torch.Tensor,
    q_weight: torch.Tensor,
    k_weight: torch.Tensor,
    cos_sin_cache: torch.Tensor,
    positions: torch.Tensor,
    q: torch.Tensor | None = None,
    q_gate: torch.Tensor | None = None,
    axis_map: torch.Tensor | None = None,
) -> tuple[torch.Tensor, ...]:
    """Queries and keys in float64, and the gates where there are some."""
    rows = cos_sin_cache.double()[positions]  # [tokens, rotary_dim], or [3, tokens, rotary_dim]
    cos, sin = rows.chunk(2, dim=-1)
    if axis_map is not None:
        pairs = list(enumerate(axis_map.tolist()))
        cos = torch.stack([cos[axis, :, pair] for pair, axis in pairs], dim=-1)
        sin = torch.stack([sin[axis, :, pair] for pair, axis in pairs], dim=-1)
    turn = torch.complex(cos, sin)[:, None]
    if q_gate is None:
        assert q is not None
        return turned(q, q_weight, turn), turned(k, k_weight, turn)
    queries, gate = q_gate.chunk(2, dim=-1)
    return turned(queries, q_weight, turn), turned(k, k_weight, turn), gate.double()


def turned(x: torch.Tensor, weight: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
    """Heads [tokens, heads, head_size], normalised, pairs multiplied by cos + i sin."""
    mean = x.double().square().mean(dim=-1, keepdim=True)
    normed = x.double() / torch.sqrt(mean + EPSILON) * (1 + weight.double())
    pairs = turn.shape[-1]
    first, second = normed[..., :pairs], normed[..., pairs : 2 * pairs]
    product = torch.complex(first, second) * turn
    return torch.cat((product.real, product.imag, normed[..., 2 * pairs :]), dim=-1)
