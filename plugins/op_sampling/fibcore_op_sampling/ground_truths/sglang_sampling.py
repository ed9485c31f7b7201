"""SGLang's functions for its sampling backend `pytorch`."""

import inspect
import types
from collections.abc import Callable
from typing import Any

import torch

SGLANG_SAMPLING_FUNCTION = "top_k_top_p_min_p_sampling_from_probs_torch"
SGLANG_SAMPLING_DTYPE = "int64"


def sglang_sampling(
    load_sglang: Callable[..., Any], probs: torch.Tensor, **filters: torch.Tensor
) -> torch.Tensor:
    """What the function makes of rows [batch_size, vocab_size], each with its own parameters."""
    # Newer releases may draw by the largest of p / e, e exponentially distributed.
    switch = types.SimpleNamespace(get=lambda: True)
    envs = types.SimpleNamespace(SGLANG_OPT_USE_GUMBEL_SAMPLE=switch)
    function = load_sglang("srt/layers/sampler.py", SGLANG_SAMPLING_FUNCTION, envs=envs)
    rows, tokens = probs.shape
    arguments: dict[str, Any] = {
        # Filters that keep all; no sum of probabilities is above 2, however it is rounded.
        "top_ks": torch.full((rows,), tokens, device=probs.device),
        "top_ps": torch.full((rows,), 2.0, device=probs.device),
        "min_ps": torch.zeros(rows, device=probs.device),
        "need_min_p_sampling": "min_p" in filters,
        "sampling_seed": None,
        "positions": None,
    }
    arguments.update({f"{name}s": value for name, value in filters.items()})
    # Not every function has all the filters, and older releases have no seeds.
    known = inspect.signature(function).parameters
    result: torch.Tensor = function(probs, **{k: v for k, v in arguments.items() if k in known})
    return result.to(getattr(torch, SGLANG_SAMPLING_DTYPE))
