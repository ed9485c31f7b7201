"""Sums of squares by torch, in float64."""

import torch


def torch_sums(q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    """The sums [2, tokens], in float64."""
    return torch.stack([torch.linalg.vecdot(x.double(), x.double()) for x in (q, k)])
