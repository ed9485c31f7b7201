"""Rotary position embedding by FlashInfer: flashinfer.rope.apply_rope_with_cos_sin_cache."""

import torch

IS_NEOX = True


def flashinfer_rope(
    q: torch.Tensor, k: torch.Tensor, cos_sin_cache: torch.Tensor, positions: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The turned q and k [num_tokens, heads, head_size]; FlashInfer takes heads side by side."""
    from flashinfer.rope import apply_rope_with_cos_sin_cache

    q_out, k_out = apply_rope_with_cos_sin_cache(
        positions,
        q.flatten(1),
        k.flatten(1),
        q.shape[-1],
        cos_sin_cache,
        is_neox=IS_NEOX,
    )
    return q_out.view(q.shape), k_out.view(k.shape)
