"""Quantisation to NVFP4: numbers e2m1 with a scale e4m3 for each group of a row.

scale = largest |x| of the group / 6 * a_global_sf, in float8_e4m3fn
quantized = x * a_global_sf / scale, at most 6 in size, rounded to nearest, ties to even
Two numbers are in a byte, the first in its four lower bits; scales are in plain rows.
"""

import torch

K = 7168
NUM_GROUPS = 448
LARGEST = 6.0
LARGEST_SCALE = 448.0
# Rows are taken in chunks of about this many elements: the float32 copies stay in a GPU's cache,
# and small however many rows there are.
CHUNK_ELEMENTS = 4194304


@torch.no_grad()
def run(a: torch.Tensor, a_global_sf: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Quantise a [M, K]: quantized [M, K / 2], scales [M, NUM_GROUPS]."""
    m, k = a.shape
    assert k == K
    assert a_global_sf.shape == (1,)

    # Halfway between the numbers 0, 0.5, 1, 1.5, 2, 3, 4 and 6 of the format.
    halfway = torch.tensor([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0], device=a.device)
    quantized = torch.empty(m, K // 2, dtype=torch.int8, device=a.device)
    scales = torch.empty(m, NUM_GROUPS, dtype=torch.float8_e4m3fn, device=a.device)
    # A GPU multiplies by the reciprocal of a Python number that it divides by, which rounds twice.
    limit = torch.tensor(LARGEST, device=a.device)
    chunk = max(1, CHUNK_ELEMENTS // K)
    for first in range(0, m, chunk):
        rows = slice(first, first + chunk)
        x = torch.unflatten(a[rows].to(torch.float32), -1, (NUM_GROUPS, -1))
        scale = x.abs().amax(dim=-1).div_(limit).mul_(a_global_sf)
        scales[rows] = scale.clamp_(max=LARGEST_SCALE)
        scale = scales[rows].to(torch.float32)
        # A group whose scale rounds to zero becomes zeros.
        factor = torch.where(scale > 0.0, a_global_sf / scale, 0.0)
        x = (x * factor.unsqueeze(-1)).flatten(-2)
        size = x.abs()
        # Of two neighbours, that with an even code is nearest at the halfway point itself.
        below = torch.bucketize(size, halfway)
        above = torch.bucketize(size, halfway, right=True)
        code = torch.where(below % 2 == 0, below, above)
        code = code + 8 * torch.signbit(x)
        quantized[rows] = (code[:, ::2] + 16 * code[:, 1::2]).to(torch.uint8).view(torch.int8)
    return quantized, scales
