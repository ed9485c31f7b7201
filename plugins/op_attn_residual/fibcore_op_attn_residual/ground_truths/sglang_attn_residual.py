"""SGLang's PyTorch function for attention residuals, aggregate_stream_torch."""

from collections.abc import Callable
from typing import Any

import torch

EPSILON = 1e-05


def sglang_attn_residual(
    load_sglang: Callable[..., Any],
    prefix_sum: torch.Tensor,
    blocks: torch.Tensor,
    score_weight: torch.Tensor,
) -> torch.Tensor:
    """It is given float32, a norm without a weight and a projection with the product of both."""
    aggregate = load_sglang("srt/layers/attn_residual.py", "aggregate_stream_torch")

    def norm(x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.rms_norm(x, x.shape[-1:], eps=EPSILON)

    def projection(x: torch.Tensor) -> tuple[torch.Tensor, None]:
        return x @ score_weight[:, None], None

    output: torch.Tensor = aggregate(
        prefix_sum.float(), blocks.float(), blocks.shape[1], projection, norm
    )
    return output.to(prefix_sum.dtype)
