"""LayerNorm by torch in float64."""

import torch

EPSILON = 1e-06


def torch_layernorm(
    hidden_states: torch.Tensor,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """The normalised rows [batch_size, hidden_size] in float64."""
    return torch.nn.functional.layer_norm(
        hidden_states.double(),
        (hidden_states.shape[-1],),
        None if weight is None else weight.double(),
        None if bias is None else bias.double(),
        EPSILON,
    )
