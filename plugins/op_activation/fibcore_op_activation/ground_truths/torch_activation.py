"""Activations without a gate by torch in float64."""

import torch

FUNCTION = "gelu"
APPROXIMATE = ""


def torch_activation(input: torch.Tensor) -> torch.Tensor:
    """The activated rows [num_tokens, intermediate_size] in float64."""
    function = getattr(torch.nn.functional, FUNCTION)
    form = APPROXIMATE
    output: torch.Tensor = function(input.double(), **({"approximate": form} if form else {}))
    return output
