"""The streams of hyper-connections behind a layer, from those before it and the layer's output."""

import torch

from fibcore_op_mhc.references.mhc_fused_post_pre import spread

HC = 4
HIDDEN_SIZE = 4096


@torch.no_grad()
def run(
    x: torch.Tensor,
    residual: torch.Tensor,
    post_layer_mix: torch.Tensor,
    comb_res_mix: torch.Tensor,
) -> torch.Tensor:
    """The streams [num_tokens, hc, hidden_size] behind the layer."""
    num_tokens = x.shape[0]
    assert x.shape == (num_tokens, HIDDEN_SIZE)
    assert residual.shape == (num_tokens, HC, HIDDEN_SIZE)
    assert post_layer_mix.shape == (num_tokens, HC)
    assert comb_res_mix.shape == (num_tokens, HC, HC)
    return spread(x, residual, post_layer_mix, comb_res_mix).to(residual.dtype)
