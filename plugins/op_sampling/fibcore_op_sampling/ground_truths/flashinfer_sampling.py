"""FlashInfer's kernel on the GPU."""

import torch

FLASHINFER_SAMPLING_FUNCTION = "top_k_top_p_sampling_from_probs"
FLASHINFER_SAMPLING_DTYPE = "int64"
FLASHINFER_SAMPLING_JOINT = False


def flashinfer_sampling(**inputs: torch.Tensor) -> torch.Tensor:
    """What the kernel makes of rows [batch_size, vocab_size], each with its own parameters.

    The device's own generator draws: every call gives other tokens.
    """
    import flashinfer

    function = getattr(flashinfer.sampling, FLASHINFER_SAMPLING_FUNCTION)
    order = {"filter_apply_order": "joint"} if FLASHINFER_SAMPLING_JOINT else {}
    result: torch.Tensor = function(**inputs, **order)
    return result.to(getattr(torch, FLASHINFER_SAMPLING_DTYPE))
