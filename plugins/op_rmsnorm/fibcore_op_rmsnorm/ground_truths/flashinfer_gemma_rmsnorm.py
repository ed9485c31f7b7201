"""Gemma's RMSNorm by FlashInfer: flashinfer.norm.gemma_rmsnorm and gemma_fused_add_rmsnorm."""

import torch

FLASHINFER_GEMMA_RMSNORM_EPSILON = 1e-06


def flashinfer_gemma_rmsnorm(
    hidden_states: torch.Tensor, weight: torch.Tensor, residual: torch.Tensor | None = None
) -> torch.Tensor:
    """The normalised rows [batch_size, hidden_size]; with a residual, those of the sum."""
    from flashinfer.norm import gemma_fused_add_rmsnorm, gemma_rmsnorm

    eps = FLASHINFER_GEMMA_RMSNORM_EPSILON
    if residual is None:
        output: torch.Tensor = gemma_rmsnorm(hidden_states, weight, eps=eps)
        return output
    # It writes the output over its first argument and the sum over its second.
    output = hidden_states.clone()
    gemma_fused_add_rmsnorm(output, residual.clone(), weight, eps=eps)
    return output
