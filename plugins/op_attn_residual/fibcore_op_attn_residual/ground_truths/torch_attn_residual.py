"""Residual streams weighed by a softmax, in float64."""

import torch

EPSILON = 1e-05


def torch_attn_residual(
    prefix_sum: torch.Tensor, blocks: torch.Tensor, score_weight: torch.Tensor
) -> torch.Tensor:
    """Stream by stream, written out."""
    streams = [*blocks.double().unbind(1), prefix_sum.double()]
    scores = []
    for x in streams:
        normed = x / (x.pow(2).mean(-1, keepdim=True) + EPSILON).sqrt()
        scores.append((normed * score_weight.double()).sum(-1))
    powers = [torch.exp(score - torch.stack(scores).amax(0)) for score in scores]
    total = torch.stack(powers).sum(0)
    output = torch.zeros_like(streams[-1])
    for x, power in zip(streams, powers, strict=True):
        output += x * (power / total)[:, None]
    return output.to(prefix_sum.dtype)
