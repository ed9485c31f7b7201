"""LayerNorm by FlashInfer's CUDA kernel, flashinfer.norm.layernorm."""

import torch

EPSILON = 1e-06


def flashinfer_layernorm(
    hidden_states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    """The normalised rows [batch_size, hidden_size]; it takes float32 parameters alone."""
    from flashinfer.norm import layernorm

    output: torch.Tensor = layernorm(
        hidden_states, weight.to(torch.float32), bias.to(torch.float32), EPSILON
    )
    return output
