"""The sigmoid's approximation of GELU by torch in float64."""

import torch


def torch_quick_gelu(input: torch.Tensor) -> torch.Tensor:
    """The activated rows [num_tokens, intermediate_size] in float64."""
    return torch.nn.functional.silu(1.702 * input.double()) / 1.702
