"""The streams behind a layer in float64."""

import torch


def torch_mhc_post(
    x: torch.Tensor,
    residual: torch.Tensor,
    post_layer_mix: torch.Tensor,
    comb_res_mix: torch.Tensor,
) -> torch.Tensor:
    """A sum over streams, by einsum."""
    own = torch.einsum("nj,nd->njd", post_layer_mix.double(), x.double())
    mixed = torch.einsum("nij,nid->njd", comb_res_mix.double(), residual.double())
    return (own + mixed).to(residual.dtype)
