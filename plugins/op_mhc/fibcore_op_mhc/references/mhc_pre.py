"""What a layer is given of the streams of hyper-connections, and the coefficients behind it.

Coefficients follow from all streams of a token: a projection of them, divided by their root mean
square. The matrix that mixes streams comes close to a doubly stochastic one (Sinkhorn-Knopp).
"""

import torch

from fibcore_op_mhc.references.mhc_fused_post_pre import (
    coefficients,
    gathered,
    normalised,
    projected,
)

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
NORM_EPS = 1e-06  # only: norm


@torch.no_grad()
def run(
    residual: torch.Tensor,
    fn: torch.Tensor,
    hc_scale: torch.Tensor,
    hc_base: torch.Tensor,
    norm_weight: torch.Tensor,  # only: norm
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Weights behind the layer [num_tokens, hc], the matrix [.., hc, hc], the layer's input."""
    num_tokens = residual.shape[0]
    assert residual.shape == (num_tokens, HC, HIDDEN_SIZE)
    assert fn.shape == (MHC_MIX, HC_HIDDEN_SIZE)
    assert hc_scale.shape == (SCALE_SIZE,)
    assert hc_base.shape == (MHC_MIX,)
    assert norm_weight.shape == (HIDDEN_SIZE,)  # only: norm
    pre, post, comb = coefficients(residual, fn, hc_scale, hc_base)
    layer_input = gathered(residual, pre)
    layer_input = normalised(layer_input, norm_weight)  # only: norm
    return post, comb, layer_input.to(residual.dtype)
