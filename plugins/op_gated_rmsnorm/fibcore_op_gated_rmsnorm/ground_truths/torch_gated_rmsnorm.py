"""RMSNorm with the activation of a gate by torch, in float64."""

import torch

GROUP_SIZE = 128
GATE_FIRST = False
SIGMOID = False
EPSILON = 1e-06


def torch_gated_rmsnorm(
    hidden_states: torch.Tensor, gate: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    """The normalised rows [batch_size, hidden_size], with the gate's factor, in float64."""
    x, factor = hidden_states.double(), torch.sigmoid(gate.double())
    if not SIGMOID:
        factor = factor * gate.double()
    if GATE_FIRST:
        x = x * factor
    groups = x.reshape(len(x), -1, GROUP_SIZE)
    output = torch.nn.functional.rms_norm(groups, (GROUP_SIZE,), eps=EPSILON).flatten(-2)
    output = output * weight.double()
    return output if GATE_FIRST else output * factor
