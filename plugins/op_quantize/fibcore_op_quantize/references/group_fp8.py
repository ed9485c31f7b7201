"""Quantisation to float8_e4m3fn with a scale for each group of a row.

scale = max(largest |x| of the group, EPSILON) / 448
        rounded up to a power of two  # only: powers
quantized = x / scale, at most 448 in size, rounded to nearest, ties to even
"""

import torch

K = 7168
NUM_GROUPS = 56
# Keeps the scale of a group of zeros from being zero.
EPSILON = 1e-10
LARGEST = 448.0
# Rows are taken in chunks of about this many elements: the float32 copies stay in a GPU's cache,
# and small however many rows there are.
CHUNK_ELEMENTS = 4194304


@torch.no_grad()
def run(input: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Quantise input [M, K]: quantized [M, K], scales [M, NUM_GROUPS]."""
    m, k = input.shape
    assert k == K

    quantized = torch.empty(m, K, dtype=torch.float8_e4m3fn, device=input.device)
    scales = torch.empty(m, NUM_GROUPS, dtype=torch.float32, device=input.device)
    # A GPU multiplies by the reciprocal of a Python number that it divides by, which rounds twice.
    limit = torch.tensor(LARGEST, device=input.device)
    chunk = max(1, CHUNK_ELEMENTS // K)
    for first in range(0, m, chunk):
        rows = slice(first, first + chunk)
        x = torch.unflatten(input[rows].to(torch.float32), -1, (NUM_GROUPS, -1))
        scale = x.abs().amax(dim=-1).clamp_(min=EPSILON).div_(limit)
        # A number that is mantissa * 2^e gives exactly 2^e, divided by its mantissa in [0.5, 1).  # only: powers
        mantissa, _ = torch.frexp(scale)  # only: powers
        scale = torch.where(mantissa > 0.5, scale / mantissa, scale)  # only: powers
        scales[rows] = scale
        # The division can leave the largest element a little above what the format holds.
        x = (x / scale.unsqueeze(-1)).clamp_(-LARGEST, LARGEST)
        quantized[rows] = x.flatten(-2)
    return quantized, scales
