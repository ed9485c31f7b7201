"""Gated activations by FlashInfer's CUDA kernels: silu_and_mul, gelu_and_mul, gelu_tanh_and_mul."""

import torch

KIND = "silu_and_mul"
# Each of a row's halves is read in vectors of so many bytes.
VECTOR = 16


def flashinfer_act_and_mul(input: torch.Tensor) -> torch.Tensor:
    """The activated rows [num_tokens, hidden_size / 2]."""
    from flashinfer import activation

    half = input.shape[-1] // 2 * input.element_size()
    if half % VECTOR:
        raise NotImplementedError(f"half a row is {half} bytes, not a multiple of 16")
    output: torch.Tensor = getattr(activation, KIND)(input)
    return output
