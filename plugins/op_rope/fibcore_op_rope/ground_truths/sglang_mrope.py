"""Rotary position embedding of several positions a token, by SGLang's MRotaryEmbedding."""

import types
from typing import Any

import torch

IS_NEOX = True
SECTIONS = (16, 24, 24)
INTERLEAVED = False
# Of releases up to 0.5.9, and of later ones: where the method is, and the function that it calls.
SGLANG_MROPE_PLACES = (
    ("srt/layers/rotary_embedding.py", "srt/layers/rotary_embedding.py", "_apply_rotary_emb"),
    (
        "srt/layers/rotary_embedding/mrope.py",
        "srt/layers/rotary_embedding/utils.py",
        "apply_rotary_emb",
    ),
)


def sglang_mrope(
    load_sglang: Any,
    q: torch.Tensor,
    k: torch.Tensor,
    cos_sin_cache: torch.Tensor,
    positions: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The turned q and k [num_tokens, heads, head_size], in float32."""
    method = "MRotaryEmbedding.forward_native"
    places = [place for place in SGLANG_MROPE_PLACES if load_sglang.has(place[0], method)]
    file, other, function = (places or SGLANG_MROPE_PLACES)[0]
    turn = load_sglang(other, function)
    interleave = "apply_interleaved_rope"
    names = {function: turn, interleave: load_sglang(file, interleave)}
    forward_native = load_sglang(file, method, **names)
    # What the method reads of its layer; where it rounds the table, it is given float32.
    layer = types.SimpleNamespace(
        head_size=q.shape[-1],
        rotary_dim=cos_sin_cache.shape[-1],
        cos_sin_cache=cos_sin_cache,
        is_neox_style=IS_NEOX,
        mrope_section=list(SECTIONS),
        mrope_interleaved=INTERLEAVED,
        _match_cos_sin_cache_dtype=lambda _: None,
        _apply_rotary_emb_wrapped=turn,
    )
    q_out, k_out = forward_native(layer, positions, q.float().flatten(1), k.float().flatten(1))
    return q_out.view(q.shape), k_out.view(k.shape)
