"""Embedding in a rank's part of a table by torch.nn.functional.embedding."""

import torch


def torch_vocab_parallel_embedding(
    input_ids: torch.Tensor, weight: torch.Tensor, vocab_start_index: int
) -> torch.Tensor:
    """The rows [num_tokens, hidden_size] of the tokens, zeros for those of other ranks."""
    rows = input_ids - vocab_start_index
    nearest = rows.clamp(0, weight.shape[0] - 1)
    found = torch.nn.functional.embedding(nearest, weight)
    return torch.where((rows == nearest)[:, None], found, torch.zeros_like(found))
