"""GEMM of packed integers beside bfloat16 activations, by torch in float64."""

import torch

TORCH_GEMM_WEIGHT_ONLY_ROWS = 1024
# Which of eight neighbours along N each place of an AWQ word has.
TORCH_GEMM_WEIGHT_ONLY_AWQ = (0, 2, 4, 6, 1, 3, 5, 7)


def torch_gemm_weight_only(
    A: torch.Tensor,
    B: torch.Tensor,
    B_scale: torch.Tensor,
    B_zeros: torch.Tensor | None = None,
    g_idx: torch.Tensor | None = None,
) -> torch.Tensor:
    """C [M, N] in float64; rows of the weights are converted a part at a time."""
    k, words = A.shape[1], B.contiguous().view(torch.int32)
    awq = B.shape[0] == k and B_scale.shape[1] == 8 * words.shape[1]
    gptq = not awq and words.shape[1] == B_scale.shape[1] and words.shape[0] < k
    if awq:
        q = torch_gemm_weight_only_unpacked(words, 4, TORCH_GEMM_WEIGHT_ONLY_AWQ).T
    else:
        rows = words.T if gptq else words
        q = torch_gemm_weight_only_unpacked(rows, 32 * rows.shape[1] // k)
    scale = (B_scale.T if awq or gptq else B_scale).double()
    groups, bits = scale.shape[1], 4 if awq else 32 * words.numel() // q.numel()
    zero = torch.full_like(scale, 2.0 ** (bits - 1))
    if B_zeros is not None:
        packed = B_zeros.contiguous().view(torch.int32)
        order = TORCH_GEMM_WEIGHT_ONLY_AWQ if awq else None
        along_n = packed if awq or gptq else packed.T
        zero = torch_gemm_weight_only_unpacked(along_n, bits, order).T.double()
        zero = zero + (1.0 if gptq else 0.0)
    index = torch.arange(k, device=A.device) // (k // groups) if g_idx is None else g_idx.long()
    a, step, parts = A.double(), TORCH_GEMM_WEIGHT_ONLY_ROWS, []
    for first in range(0, q.shape[0], step):
        some = slice(first, first + step)
        weights = (q[some].double() - zero[some][:, index]) * scale[some][:, index]
        parts.append(a @ weights.T)
    return torch.cat(parts, dim=1)


def torch_gemm_weight_only_unpacked(
    words: torch.Tensor, bits: int, order: tuple[int, ...] | None = None
) -> torch.Tensor:
    """The integers of rows of words, place by place."""
    per = 32 // bits
    found = torch.empty(words.shape[0], words.shape[1] * per, dtype=torch.uint8)
    found = found.to(words.device)
    for place in range(per):
        at = place if order is None else order[place]
        found[:, at::per] = ((words >> (bits * place)) & (2**bits - 1)).to(torch.uint8)
    return found
