"""What experts compute between their two products: a function each, which references take in."""

import torch


def swiglu_oai(
    up: torch.Tensor, gate: torch.Tensor, alpha: torch.Tensor, limit: torch.Tensor
) -> torch.Tensor:
    """Clamped SwiGLU of gpt-oss; alpha and limit are [e, 1, 1]."""
    up, gate = torch.clamp(up, -limit, limit), torch.clamp(gate, max=limit)
    return (up + 1) * gate * torch.sigmoid(alpha * gate)


def swiglu_limit(up: torch.Tensor, gate: torch.Tensor, limit: torch.Tensor) -> torch.Tensor:
    """SwiGLU of clamped numbers; the limit is [e, 1, 1]."""
    up, gate = torch.clamp(up, -limit, limit), torch.clamp(gate, max=limit)
    return up * torch.nn.functional.silu(gate)


def swiglu_step(up: torch.Tensor, gate: torch.Tensor, limit: torch.Tensor) -> torch.Tensor:
    """SwiGLU whose two factors are clamped; the limit is [e, 1, 1]."""
    activated = torch.clamp(torch.nn.functional.silu(gate), max=limit)
    return torch.clamp(up, -limit, limit) * activated


def situ(
    up: torch.Tensor, gate: torch.Tensor, alpha: torch.Tensor, limit: torch.Tensor
) -> torch.Tensor:
    """SituGLU; alpha and limit, which bound gate and up, are [e, 1, 1]."""
    bounded = limit * torch.tanh(up / limit)
    return bounded * alpha * torch.tanh(gate / alpha) * torch.sigmoid(gate)


def situ_unbounded(up: torch.Tensor, gate: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
    """SituGLU without a bound of up; alpha is [e, 1, 1]."""
    return up * alpha * torch.tanh(gate / alpha) * torch.sigmoid(gate)


def gelu(up: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
    """GELU of the gate, with the error function, times up."""
    return up * torch.nn.functional.gelu(gate)


def gelu_tanh(up: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
    """GELU of the gate, with tanh, times up."""
    return up * torch.nn.functional.gelu(gate, approximate="tanh")


def relu2(up: torch.Tensor) -> torch.Tensor:
    """The square of what is above zero."""
    return torch.relu(up).square()


def silu(up: torch.Tensor) -> torch.Tensor:
    """SiLU, without a gate."""
    return torch.nn.functional.silu(up)


def gelu_alone(up: torch.Tensor) -> torch.Tensor:
    """GELU with the error function, without a gate."""
    return torch.nn.functional.gelu(up)
