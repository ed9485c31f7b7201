"""SGLang's kernel for index queries, which is compiled on first use."""

import torch


def sglang_dsa_index_q(
    q: torch.Tensor,
    weights: torch.Tensor,
    weight_scale: float | torch.Tensor,
    cos_sin_cache: torch.Tensor,
    positions: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """`fused_q_indexer_rope_first_quant`, whose weights have a last dimension of one."""
    from sglang.kernels.ops.attention.dsa.indexer_q import fused_q_indexer_rope_first_quant

    q_fp8, out = fused_q_indexer_rope_first_quant(
        q, weights, float(weight_scale), cos_sin_cache, positions
    )
    return q_fp8, out.squeeze(-1)
