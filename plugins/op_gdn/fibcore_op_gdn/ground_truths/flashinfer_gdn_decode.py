"""Gated delta rule, one token: flashinfer.gdn_decode.gated_delta_rule_decode_pretranspose."""

import torch


def flashinfer_gdn_decode(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    state: torch.Tensor,
    A_log: torch.Tensor,
    a: torch.Tensor,
    dt_bias: torch.Tensor,
    b: torch.Tensor,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The output and the states, which FlashInfer updates in place."""
    from flashinfer.gdn_decode import gated_delta_rule_decode_pretranspose

    state = state.clone()
    output, new_state = gated_delta_rule_decode_pretranspose(
        q, k, v, state, A_log, a, dt_bias, b, scale=float(scale), use_qk_l2norm=False
    )
    return output, new_state
