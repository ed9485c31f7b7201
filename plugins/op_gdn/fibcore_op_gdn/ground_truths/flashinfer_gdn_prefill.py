"""Gated delta rule over sequences: flashinfer.gdn_prefill.chunk_gated_delta_rule."""

import torch


def flashinfer_gdn_prefill(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    state: torch.Tensor,
    A_log: torch.Tensor,
    a: torch.Tensor,
    dt_bias: torch.Tensor,
    b: torch.Tensor,
    cu_seqlens: torch.Tensor,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The output and the states behind the sequences; FlashInfer is given alpha and beta."""
    from flashinfer.gdn_prefill import chunk_gated_delta_rule

    softplus = torch.nn.functional.softplus(a.float() + dt_bias)
    output, new_state = chunk_gated_delta_rule(
        q,
        k,
        v,
        g=torch.exp(-A_log.exp() * softplus),
        beta=torch.sigmoid(b.float()),
        scale=float(scale),
        initial_state=state,
        output_final_state=True,
        cu_seqlens=cu_seqlens,
    )
    return output, new_state
