"""Block-scaled fp8 products by torch in float64, one matrix after the other."""

import torch

TORCH_BMM_FP8_BLOCK_SCALE_BLOCK = 128


def torch_bmm_fp8_block_scale(
    A: torch.Tensor, A_scale: torch.Tensor, B: torch.Tensor, B_scale: torch.Tensor
) -> torch.Tensor:
    """C [batch_size, M, N] in float64."""
    n, k = B.shape[1:]
    block_of_n = torch.arange(n, device=A.device) // TORCH_BMM_FP8_BLOCK_SCALE_BLOCK
    block_of_k = torch.arange(k, device=A.device) // TORCH_BMM_FP8_BLOCK_SCALE_BLOCK
    products = []
    for index in range(A.shape[0]):
        a = A[index].float().double() * A_scale[index].double()[:, block_of_k]
        b = B[index].float().double() * B_scale[index].double()[block_of_n][:, block_of_k]
        products.append(a @ b.t())
    return torch.stack(products)
