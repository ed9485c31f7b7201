"""Causal convolution by torch.nn.functional.conv1d, in float64."""

import torch

SILU = True


def torch_update(
    x: torch.Tensor,
    conv_state: torch.Tensor,
    weight: torch.Tensor,
    conv_state_indices: torch.Tensor,
    bias: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The output [batch, channels] and the cache, in float64."""
    cache, output = conv_state.double(), torch.zeros_like(x, dtype=torch.float64)
    for row, place in enumerate(conv_state_indices.tolist()):
        if place >= 0:
            tokens = torch.cat((cache[place], x[row, :, None].double()), dim=1)
            output[row] = convolved(tokens, weight, bias)[:, 0]
            cache[place] = tokens[:, 1:]
    return output, cache


def torch_prefill(
    x: torch.Tensor,
    conv_state: torch.Tensor,
    weight: torch.Tensor,
    cu_seqlens: torch.Tensor,
    bias: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The output [tokens, channels] and the last tokens of each sequence, in float64."""
    states, output = conv_state.double(), torch.zeros_like(x, dtype=torch.float64)
    starts, kept = cu_seqlens.tolist(), conv_state.shape[-1]
    for sequence in range(len(starts) - 1):
        start, end = starts[sequence], starts[sequence + 1]
        if end > start:
            tokens = torch.cat((states[sequence], x[start:end].double().t()), dim=1)
            output[start:end] = convolved(tokens, weight, bias).t()
            states[sequence] = tokens[:, -kept:]
    return output, states


def convolved(
    tokens: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
) -> torch.Tensor:
    """What tokens [channels, count + width - 1] become, [channels, count]."""
    added = None if bias is None else bias.double()
    sums = torch.nn.functional.conv1d(
        tokens[None], weight.double()[:, None], added, groups=len(weight)
    )[0]
    return sums * torch.sigmoid(sums) if SILU else sums
