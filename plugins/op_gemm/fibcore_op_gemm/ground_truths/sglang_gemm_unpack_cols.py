"""GEMM of integers that GPTQ or compressed-tensors packed, unpacked by SGLang's unpack_cols."""

from collections.abc import Callable
from typing import Any

import numpy
import torch

SGLANG_GEMM_UNPACK_COLS_ROWS = 2048


def sglang_gemm_unpack_cols(
    load_sglang: Callable[..., Any],
    A: torch.Tensor,
    B: torch.Tensor,
    B_scale: torch.Tensor,
    B_zeros: torch.Tensor | None = None,
    g_idx: torch.Tensor | None = None,
) -> torch.Tensor:
    """C [M, N] in float32; rows of the weights are unpacked a part at a time."""
    needed = {
        "numpy": numpy,
        "get_pack_factor": load_sglang("srt/layers/quantization/utils.py", "get_pack_factor"),
    }
    unpack = load_sglang("srt/layers/quantization/utils.py", "unpack_cols", **needed)
    k = A.shape[1]
    gptq = B.shape[0] < k and B.shape[1] == 4 * B_scale.shape[1]
    words = B.contiguous().view(torch.int32)
    if gptq:
        words = words.T
    n, per = words.shape[0], k // words.shape[1]
    bits = 32 // per
    scale = (B_scale.T if gptq else B_scale).float()
    groups = scale.shape[1]
    middle = torch.full((n, groups), 2.0 ** (bits - 1), device=A.device)
    if B_zeros is not None:
        zeros = B_zeros.contiguous().view(torch.int32)
        rows, offset = (zeros, 1.0) if gptq else (zeros.T.contiguous(), 0.0)
        middle = unpack(rows, bits, groups, n).T.to(A.device).float() + offset
    index = torch.arange(k, device=A.device) // (k // groups) if g_idx is None else g_idx.long()
    a, step, parts = A.float(), SGLANG_GEMM_UNPACK_COLS_ROWS, []
    for first in range(0, n, step):
        part = words[first : first + step].contiguous()
        q = unpack(part, bits, part.shape[0], k).to(A.device).float()
        some = slice(first, first + step)
        parts.append(a @ ((q - middle[some][:, index]) * scale[some][:, index]).T)
    return torch.cat(parts, dim=1)
