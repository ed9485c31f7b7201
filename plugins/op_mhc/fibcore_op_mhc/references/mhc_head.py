"""What the last norm is given: a weighted sum of the streams of hyper-connections.

Weights follow from all streams of a token: a projection of them, divided by their root mean square.
"""

import torch

from fibcore_op_mhc.references.mhc_fused_post_pre import gathered, projected

HC = 4
HIDDEN_SIZE = 4096
HC_HIDDEN_SIZE = 16384
SCALE_SIZE = 1
RMS_EPS = 1e-06
HC_PRE_EPS = 1e-06


@torch.no_grad()
def run(
    residual: torch.Tensor,
    fn: torch.Tensor,
    hc_scale: torch.Tensor,
    hc_base: torch.Tensor,
) -> torch.Tensor:
    """The rows [num_tokens, hidden_size] that are left of the streams."""
    num_tokens = residual.shape[0]
    assert residual.shape == (num_tokens, HC, HIDDEN_SIZE)
    assert fn.shape == (HC, HC_HIDDEN_SIZE)
    assert hc_scale.shape == (SCALE_SIZE,)
    assert hc_base.shape == (HC,)
    flat = residual.flatten(1)
    root = torch.linalg.vector_norm(flat, dim=-1, keepdim=True, dtype=torch.float32)
    mixes = projected(flat, fn) * torch.rsqrt(root.square() / HC_HIDDEN_SIZE + RMS_EPS)
    pre = torch.sigmoid(mixes * hc_scale + hc_base) + HC_PRE_EPS
    return gathered(residual, pre).to(residual.dtype)
