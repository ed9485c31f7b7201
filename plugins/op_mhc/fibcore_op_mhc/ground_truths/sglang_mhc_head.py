"""SGLang's torch function as ground truth for what is left of the streams behind the last layer."""

from collections.abc import Callable
from typing import Any

import torch

RMS_EPS = 1e-06
HC_PRE_EPS = 1e-06


def sglang_mhc_head(
    load_sglang: Callable[..., Callable[..., Any]],
    residual: torch.Tensor,
    fn: torch.Tensor,
    hc_scale: torch.Tensor,
    hc_base: torch.Tensor,
) -> torch.Tensor:
    """`hc_head_torch`, whose arithmetic is float32's."""
    function = load_sglang("srt/models/deepseek_v4.py", "hc_head_torch")
    out: torch.Tensor = function(
        residual, fn, hc_scale, hc_base, norm_eps=RMS_EPS, hc_eps=HC_PRE_EPS
    )
    return out
