"""Norms; the weight is not there, since nothing runs this."""

from torch import nn


class RMSNorm(nn.Module):
    def __init__(self, hidden_size: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.variance_epsilon = eps

    def forward(self, x, residual=None):
        return x
