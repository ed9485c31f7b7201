"""Hyper-connections at the boundary of two layers in float64."""

import torch

RMS_EPS = 1e-06
HC_PRE_EPS = 1e-06
HC_SINKHORN_EPS = 1e-06
HC_POST_MULT_VALUE = 2.0
SINKHORN_REPEAT = 20
NORM_EPS = 1e-06


def torch_mhc_fused_post_pre(
    x: torch.Tensor,
    residual: torch.Tensor,
    post_layer_mix: torch.Tensor,
    comb_res_mix: torch.Tensor,
    fn: torch.Tensor,
    hc_scale: torch.Tensor,
    hc_base: torch.Tensor,
    norm_weight: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Coefficients and sums, written out."""
    own = torch.einsum("nj,nd->njd", post_layer_mix.double(), x.double())
    mixed = torch.einsum("nij,nid->njd", comb_res_mix.double(), residual.double())
    streams = (own + mixed).to(residual.dtype)
    n, hc, hidden = streams.shape
    every = streams.double().reshape(n, hc * hidden)
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
    layer_input = torch.einsum("nj,njd->nd", pre, streams.double())
    mean = layer_input.pow(2).mean(1, keepdim=True)
    layer_input = layer_input / (mean + NORM_EPS).sqrt() * norm_weight.double()
    return streams, post.float(), comb.float(), layer_input.to(residual.dtype)
