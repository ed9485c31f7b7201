"""What is left of the streams behind the last layer, in float64."""

import torch

RMS_EPS = 1e-06
HC_PRE_EPS = 1e-06


def torch_mhc_head(
    residual: torch.Tensor, fn: torch.Tensor, hc_scale: torch.Tensor, hc_base: torch.Tensor
) -> torch.Tensor:
    """Weights and their sum, written out."""
    n, hc, hidden = residual.shape
    every = residual.double().reshape(n, hc * hidden)
    every = every / (every.pow(2).mean(1, keepdim=True) + RMS_EPS).sqrt()
    mixes = torch.einsum("nk,mk->nm", every, fn.double()) * hc_scale.double() + hc_base.double()
    pre = 1 / (1 + torch.exp(-mixes)) + HC_PRE_EPS
    return torch.einsum("nj,njd->nd", pre, residual.double()).to(residual.dtype)
