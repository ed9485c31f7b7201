"""Softmax of logits with a temperature for each row.

output[i, j] = exp(logits[i, j] / temperature[i]) / sum over v of exp(logits[i, v] / temperature[i])
"""

import torch

VOCAB_SIZE = 128256


@torch.no_grad()
def run(logits: torch.Tensor, temperature: torch.Tensor) -> torch.Tensor:
    """Probabilities [batch_size, VOCAB_SIZE] of logits of that shape; temperature [batch_size]."""
    batch_size, vocab_size = logits.shape
    assert vocab_size == VOCAB_SIZE
    assert temperature.shape == (batch_size,)
    return torch.softmax(logits / temperature[:, None], dim=-1)
