"""Embedding times a number by SGLang's class, Gemma3TextScaledWordEmbedding."""

from collections.abc import Callable
from typing import Any

import torch


class SglangScaledTable(torch.nn.Embedding):
    """A table that has the number, as the class in SGLang's file has."""

    embed_scale: float


def sglang_scaled_embedding(
    load_sglang: Callable[..., Any],
    input_ids: torch.Tensor,
    weight: torch.Tensor,
    embed_scale: float,
) -> torch.Tensor:
    """The rows [num_tokens, hidden_size] of the tokens, scaled."""
    table = SglangScaledTable(weight.shape[0], weight.shape[1], _weight=weight)
    table.embed_scale = embed_scale
    # Its method calls that of the base class, by `super()` of the class that it stands in.
    forward = load_sglang(
        "srt/models/gemma3_causal.py",
        "Gemma3TextScaledWordEmbedding.forward",
        super=lambda: super(SglangScaledTable, table),
    )
    output: torch.Tensor = forward(table, input_ids)
    return output
