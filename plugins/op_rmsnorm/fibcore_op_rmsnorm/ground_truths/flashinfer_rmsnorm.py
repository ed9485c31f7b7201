"""RMSNorm by FlashInfer's CUDA kernels: flashinfer.norm.rmsnorm and fused_add_rmsnorm."""

import torch

FLASHINFER_RMSNORM_EPSILON = 1e-06


def flashinfer_rmsnorm(
    hidden_states: torch.Tensor, weight: torch.Tensor, residual: torch.Tensor | None = None
) -> torch.Tensor:
    """The normalised rows [batch_size, hidden_size]; with a residual, those of the sum."""
    from flashinfer.norm import fused_add_rmsnorm, rmsnorm

    if residual is None:
        output: torch.Tensor = rmsnorm(hidden_states, weight, eps=FLASHINFER_RMSNORM_EPSILON)
        return output
    # It writes the output over its first argument and the sum over its second.
    output = hidden_states.clone()
    fused_add_rmsnorm(output, residual.clone(), weight, eps=FLASHINFER_RMSNORM_EPSILON)
    return output
