"""SGLang's torch function as ground truth for the streams behind a layer."""

from collections.abc import Callable
from typing import Any

import torch


def sglang_mhc_post(
    load_sglang: Callable[..., Callable[..., Any]],
    x: torch.Tensor,
    residual: torch.Tensor,
    post_layer_mix: torch.Tensor,
    comb_res_mix: torch.Tensor,
) -> torch.Tensor:
    """`_mhc_post_torch`, in float32; it is given what it rounds to as a float32 tensor."""
    function = load_sglang("kernels/ops/layernorm/mhc.py", "_mhc_post_torch")
    out: torch.Tensor = function(
        x.float(), residual.float(), post_layer_mix.unsqueeze(-1), comb_res_mix
    )
    return out.to(residual.dtype)
