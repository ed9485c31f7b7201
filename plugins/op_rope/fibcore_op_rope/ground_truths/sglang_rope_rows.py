"""Rotary position embedding by SGLang's function, apply_rotary_pos_emb_native."""

from collections.abc import Callable
from typing import Any

import torch

# Of releases up to 0.5.9, and of later ones, which compile the second.
FUNCTIONS = (
    ("srt/layers/rotary_embedding.py", "apply_rotary_pos_emb_native"),
    ("srt/layers/rotary_embedding/utils.py", "apply_rotary_pos_emb_native_eager"),
    ("srt/layers/rotary_embedding/utils.py", "apply_rotary_pos_emb_native"),
)


def sglang_rope_rows(
    load_sglang: Callable[..., Any],
    q: torch.Tensor,
    k: torch.Tensor,
    cos: torch.Tensor,
    sin: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The turned q and k [num_tokens, heads, head_size]."""
    has = load_sglang.has  # type: ignore[attr-defined]
    file, name = next((f for f in FUNCTIONS if has(*f)), FUNCTIONS[-1])
    rotate_half = load_sglang(file, "rotate_half")
    turned: tuple[torch.Tensor, torch.Tensor] = load_sglang(file, name, rotate_half=rotate_half)(
        q, k, cos, sin
    )
    return turned
