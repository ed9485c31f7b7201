"""Rotary position embedding by SGLang's PyTorch method, RotaryEmbedding.forward_native."""

import types
from collections.abc import Callable
from typing import Any

import torch

IS_NEOX = True
# Of releases up to 0.5.9, and of later ones: where the method is, and the function that it calls.
PLACES = (
    ("srt/layers/rotary_embedding.py", "srt/layers/rotary_embedding.py", "_apply_rotary_emb"),
    (
        "srt/layers/rotary_embedding/base.py",
        "srt/layers/rotary_embedding/utils.py",
        "apply_rotary_emb",
    ),
)


def sglang_rope(
    load_sglang: Callable[..., Any],
    q: torch.Tensor,
    k: torch.Tensor,
    cos_sin_cache: torch.Tensor,
    positions: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The turned q and k [num_tokens, heads, head_size], in float32.

    The method rounds the table to the dtype of q, which no kernel of its does where it runs
    FlashInfer's: so it is given float32.
    """
    has = load_sglang.has  # type: ignore[attr-defined]
    method = "RotaryEmbedding.forward_native"
    places = [place for place in PLACES if has(place[0], method)]
    file, other, function = (places or PLACES)[0]
    turn = load_sglang(other, function)
    forward_native = load_sglang(file, method, **{function: turn})
    # What the method reads of its layer.
    layer = types.SimpleNamespace(
        head_size=q.shape[-1],
        rotary_dim=cos_sin_cache.shape[-1],
        cos_sin_cache=cos_sin_cache,
        is_neox_style=IS_NEOX,
        _apply_rotary_emb_wrapped=turn,
    )
    q_out, k_out = forward_native(layer, positions, q.float().flatten(1), k.float().flatten(1))
    return q_out.view(q.shape), k_out.view(k.shape)
