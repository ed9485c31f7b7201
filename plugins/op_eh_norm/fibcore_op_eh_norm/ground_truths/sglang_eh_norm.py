"""SGLang's kernel, which is compiled on first use."""

import torch

EPSILON = 1e-06


def sglang_eh_norm(
    inputs_embeds: torch.Tensor,
    previous_hidden: torch.Tensor,
    enorm_weight: torch.Tensor,
    hnorm_weight: torch.Tensor,
) -> torch.Tensor:
    """`fused_eh_norm`."""
    from sglang.kernels.ops.layernorm.fused_eh_norm import fused_eh_norm

    output: torch.Tensor = fused_eh_norm(
        inputs_embeds, previous_hidden, enorm_weight, hnorm_weight, EPSILON
    )
    return output
