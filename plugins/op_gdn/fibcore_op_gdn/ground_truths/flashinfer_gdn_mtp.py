"""Gated delta rule, tokens that are verified: flashinfer.gdn_decode.gated_delta_rule_mtp."""

import torch


def flashinfer_gdn_mtp(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    initial_state: torch.Tensor,
    initial_state_indices: torch.Tensor,
    A_log: torch.Tensor,
    a: torch.Tensor,
    dt_bias: torch.Tensor,
    b: torch.Tensor,
    scale: float,
    intermediate_states_buffer: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The output and the pool, which FlashInfer updates in place."""
    from flashinfer.gdn_decode import gated_delta_rule_mtp

    pool = initial_state.clone()
    output, final_state = gated_delta_rule_mtp(
        q,
        k,
        v,
        pool,
        initial_state_indices,
        A_log,
        a,
        dt_bias,
        b,
        scale=float(scale),
        intermediate_states_buffer=intermediate_states_buffer.clone(),
        disable_state_update=False,
        use_qk_l2norm=False,
    )
    return output, final_state
