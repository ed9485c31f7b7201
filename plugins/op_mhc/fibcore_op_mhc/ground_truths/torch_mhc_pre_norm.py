"""What a layer is given of its streams, normalised, in float64."""

import torch

RMS_EPS = 1e-06
HC_PRE_EPS = 1e-06
HC_SINKHORN_EPS = 1e-06
HC_POST_MULT_VALUE = 2.0
SINKHORN_REPEAT = 20
NORM_EPS = 1e-06


def torch_mhc_pre_norm(
    residual: torch.Tensor,
    fn: torch.Tensor,
    hc_scale: torch.Tensor,
    hc_base: torch.Tensor,
    norm_weight: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Coefficients and sums, written out."""
    n, hc, hidden = residual.shape
    every = residual.double().reshape(n, hc * hidden)
    every = every / (every.pow(2).mean(1, keepdim=True) + RMS_EPS).sqrt()
    mixes = torch.einsum("nk,mk->nm", every, fn.double())
    scales = [hc_scale[0]] * hc + [hc_scale[1]] * hc + [hc_scale[2]] * (hc * hc)
    mixes = mixes * torch.stack(scales).double() + hc_base.double()
    pre = 1 / (1 + torch.exp(-mixes[:, :hc])) + HC_PRE_EPS
    post = HC_POST_MULT_VALUE / (1 + torch.exp(-mixes[:, hc : 2 * hc]))
    comb = torch.exp(mixes[:, 2 * hc :].reshape(n, hc, hc))
    comb = comb / comb.sum(2, keepdim=True) + HC_SINKHORN_EPS
    comb = comb / (comb.sum(1, keepdim=True) + HC_SINKHORN_EPS)
    for _ in range(SINKHORN_REPEAT - 1):
        comb = comb / (comb.sum(2, keepdim=True) + HC_SINKHORN_EPS)
        comb = comb / (comb.sum(1, keepdim=True) + HC_SINKHORN_EPS)
    layer_input = torch.einsum("nj,njd->nd", pre, residual.double())
    mean = layer_input.pow(2).mean(1, keepdim=True)
    layer_input = layer_input / (mean + NORM_EPS).sqrt() * norm_weight.double()
    return post.float(), comb.float(), layer_input.to(residual.dtype)
