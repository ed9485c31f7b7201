"""The streams of hyper-connections behind a layer, and what the next layer is given of them.

Coefficients follow from all streams of a token: a projection of them, divided by their root mean
square. The matrix that mixes streams comes close to a doubly stochastic one (Sinkhorn-Knopp). They
are those of the streams as they are rounded.
"""

import torch

HC = 4
HIDDEN_SIZE = 4096
MHC_MIX = 24
HC_HIDDEN_SIZE = 16384
SCALE_SIZE = 3
RMS_EPS = 1e-06
HC_PRE_EPS = 1e-06
HC_SINKHORN_EPS = 1e-06
HC_POST_MULT_VALUE = 2.0
SINKHORN_REPEAT = 20
NORM_EPS = 1e-06


def spread(
    x: torch.Tensor, residual: torch.Tensor, post: torch.Tensor, comb: torch.Tensor
) -> torch.Tensor:
    """The streams [n, hc, hidden] in float32: post[j] * x + sum over i of comb[i, j] * stream i."""
    own = post[..., None] * x.float()[:, None]
    return torch.baddbmm(own, comb.mT, residual.float())


def projected(flat: torch.Tensor, fn: torch.Tensor) -> torch.Tensor:
    """Flat [n, k] @ fn [mix, k].T in float32.

    Tensor cores multiply bfloat16 numbers exactly; three of them add up to one float32 number.
    """
    if not (flat.is_cuda and "out_dtype" in (torch.mm.__doc__ or "")):
        return flat.float() @ fn.T
    high = fn.to(flat.dtype)
    middle = (fn - high.float()).to(flat.dtype)
    low = (fn - high.float() - middle.float()).to(flat.dtype)
    sums = torch.mm(flat, torch.cat((low, middle, high)).T, out_dtype=torch.float32)
    return sums.view(-1, 3, fn.shape[0]).sum(1)


def coefficients(
    residual: torch.Tensor, fn: torch.Tensor, scale: torch.Tensor, base: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Weights of the streams [n, hc], of the layer's output [n, hc], and the matrix [n, hc, hc]."""
    flat = residual.flatten(1)
    root = torch.linalg.vector_norm(flat, dim=-1, keepdim=True, dtype=torch.float32)
    mixes = projected(flat, fn) * torch.rsqrt(root.square() / HC_HIDDEN_SIZE + RMS_EPS)
    pre = mixes[:, :HC] * scale[0] + base[:HC]
    post = mixes[:, HC : 2 * HC] * scale[1] + base[HC : 2 * HC]
    comb = mixes[:, 2 * HC :] * scale[2] + base[2 * HC :]
    matrix = torch.softmax(comb.view(-1, HC, HC), -1) + HC_SINKHORN_EPS
    for step in range(SINKHORN_REPEAT):
        if step > 0:
            matrix = matrix / (matrix.sum(-1, keepdim=True) + HC_SINKHORN_EPS)
        matrix = matrix / (matrix.sum(-2, keepdim=True) + HC_SINKHORN_EPS)
    return torch.sigmoid(pre) + HC_PRE_EPS, torch.sigmoid(post) * HC_POST_MULT_VALUE, matrix


def gathered(residual: torch.Tensor, pre: torch.Tensor) -> torch.Tensor:
    """The weighted sum of the streams [n, hidden], in float32."""
    return torch.bmm(pre[:, None], residual.float())[:, 0]


def normalised(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:  # only: norm
    """RMSNorm of rows of float32 numbers."""  # only: norm
    mean = x.square().mean(-1, keepdim=True)  # only: norm
    return x * torch.rsqrt(mean + NORM_EPS) * weight.float()  # only: norm


@torch.no_grad()
def run(
    x: torch.Tensor,
    residual: torch.Tensor,
    post_layer_mix: torch.Tensor,
    comb_res_mix: torch.Tensor,
    fn: torch.Tensor,
    hc_scale: torch.Tensor,
    hc_base: torch.Tensor,
    norm_weight: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The streams, the weights and the matrix behind the next layer, and that layer's input."""
    num_tokens = x.shape[0]
    assert x.shape == (num_tokens, HIDDEN_SIZE)
    assert residual.shape == (num_tokens, HC, HIDDEN_SIZE)
    assert post_layer_mix.shape == (num_tokens, HC)
    assert comb_res_mix.shape == (num_tokens, HC, HC)
    assert fn.shape == (MHC_MIX, HC_HIDDEN_SIZE)
    assert hc_scale.shape == (SCALE_SIZE,)
    assert hc_base.shape == (MHC_MIX,)
    assert norm_weight.shape == (HIDDEN_SIZE,)
    streams = spread(x, residual, post_layer_mix, comb_res_mix).to(residual.dtype)
    pre, post, comb = coefficients(streams, fn, hc_scale, hc_base)
    layer_input = normalised(gathered(streams, pre), norm_weight)
    return streams, post, comb, layer_input.to(residual.dtype)
