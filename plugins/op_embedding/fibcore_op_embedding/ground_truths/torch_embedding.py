"""Embedding by torch.nn.functional.embedding."""

import torch


def torch_embedding(input_ids: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The rows [num_tokens, hidden_size] of the tokens."""
    return torch.nn.functional.embedding(input_ids, weight)
