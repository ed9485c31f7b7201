"""Embedding times a number by torch.nn.functional.embedding."""

import torch


def torch_scaled_embedding(
    input_ids: torch.Tensor, weight: torch.Tensor, embed_scale: float
) -> torch.Tensor:
    """The rows [num_tokens, hidden_size] of the tokens, scaled in float32 and rounded once."""
    rows = torch.nn.functional.embedding(input_ids, weight)
    return (rows.float() * embed_scale).to(weight.dtype)
