"""SGLang's torch function as ground truth for what a layer is given of its streams."""

from collections.abc import Callable
from typing import Any

import torch

RMS_EPS = 1e-06
HC_PRE_EPS = 1e-06
HC_SINKHORN_EPS = 1e-06
HC_POST_MULT_VALUE = 2.0
SINKHORN_REPEAT = 20


def sglang_mhc_pre(
    load_sglang: Callable[..., Callable[..., Any]],
    residual: torch.Tensor,
    fn: torch.Tensor,
    hc_scale: torch.Tensor,
    hc_base: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """`_mhc_pre_torch`, whose arithmetic is float32's."""
    function = load_sglang("kernels/ops/layernorm/mhc.py", "_mhc_pre_torch")
    post, comb, layer_input = function(
        residual,
        fn,
        hc_scale,
        hc_base,
        RMS_EPS,
        HC_PRE_EPS,
        HC_SINKHORN_EPS,
        HC_POST_MULT_VALUE,
        SINKHORN_REPEAT,
    )
    return post.squeeze(-1), comb, layer_input
