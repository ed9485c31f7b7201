"""Kimi Delta Attention, one token: flashinfer.kda_decode.recurrent_kda.

FlashInfer keeps states in bfloat16, so that what it gives for the state behind the token is none
of float32. It computes in float32 from a state that bfloat16 can hold, which is a case's to have.
"""

import torch

LOWER_BOUND = 0.0  # of log alpha; 0 for gates without one


def flashinfer_kda_decode(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    state: torch.Tensor,
    A_log: torch.Tensor,
    a: torch.Tensor,
    dt_bias: torch.Tensor,
    b: torch.Tensor,
    scale: float,
) -> tuple[torch.Tensor, None]:
    """The output; no states."""
    from flashinfer.kda_decode import recurrent_kda

    kept = state.to(torch.bfloat16)
    if not torch.equal(kept.float(), state):
        raise NotImplementedError("FlashInfer's states are bfloat16, and this one is not")
    output, _ = recurrent_kda(
        q,
        k,
        v,
        a,
        torch.sigmoid(b.float()).to(torch.bfloat16),
        A_log=A_log,
        dt_bias=dt_bias.flatten(),
        scale=float(scale),
        initial_state=kept,
        output_final_state=True,
        use_qk_l2norm_in_kernel=True,
        use_gate_in_kernel=True,
        lower_bound=LOWER_BOUND or None,
    )
    return output, None
