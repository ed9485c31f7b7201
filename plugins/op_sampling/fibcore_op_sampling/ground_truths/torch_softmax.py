"""Softmax by torch in float64."""

import torch


def torch_softmax(logits: torch.Tensor, temperature: torch.Tensor) -> torch.Tensor:
    """Probabilities [batch_size, vocab_size]."""
    return torch.softmax(logits.double() / temperature.double()[:, None], dim=-1).float()
