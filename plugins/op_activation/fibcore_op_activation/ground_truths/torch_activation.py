"""Activations without a gate by torch in float64."""

import torch

TORCH_ACTIVATION_FUNCTION = "gelu"
TORCH_ACTIVATION_APPROXIMATE = ""


def torch_activation(input: torch.Tensor) -> torch.Tensor:
    """The activated rows [num_tokens, intermediate_size] in float64."""
    function = getattr(torch.nn.functional, TORCH_ACTIVATION_FUNCTION)
    form = TORCH_ACTIVATION_APPROXIMATE
    output: torch.Tensor = function(input.double(), **({"approximate": form} if form else {}))
    return output
