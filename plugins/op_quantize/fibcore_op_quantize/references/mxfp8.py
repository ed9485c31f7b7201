"""Quantisation to MXFP8: float8_e4m3fn with a power of two for each group of a row.

scale = largest |x| of the group / 448, rounded up to a power of two 2^e (2^-127 to 2^127)
quantized = x / scale, at most 448 in size, rounded to nearest, ties to even
scales holds the bytes e + 127 (OCP Microscaling Formats specification 1.0, e8m0), in plain rows
"""

import torch

K = 7168
NUM_GROUPS = 224
LARGEST = 448.0
BIAS = 127
SMALLEST = 5.877471754111438e-39  # 2^-127, whose byte is 0
# Rows are taken in chunks of about this many elements: the float32 copies stay in a GPU's cache,
# and small however many rows there are.
CHUNK_ELEMENTS = 4194304


@torch.no_grad()
def run(input: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Quantise input [M, K]: quantized [M, K], scales [M, NUM_GROUPS]."""
    m, k = input.shape
    assert k == K

    quantized = torch.empty(m, K, dtype=torch.float8_e4m3fn, device=input.device)
    scales = torch.empty(m, NUM_GROUPS, dtype=torch.int8, device=input.device)
    # A GPU multiplies by the reciprocal of a Python number that it divides by, which rounds twice.
    limit = torch.tensor(LARGEST, device=input.device)
    chunk = max(1, CHUNK_ELEMENTS // K)
    for first in range(0, m, chunk):
        rows = slice(first, first + chunk)
        x = torch.unflatten(input[rows].to(torch.float32), -1, (NUM_GROUPS, -1))
        scale = x.abs().amax(dim=-1).div_(limit).clamp_(min=SMALLEST)
        # A number that is mantissa * 2^e gives exactly 2^e, divided by its mantissa in [0.5, 1).
        mantissa, exponent = torch.frexp(scale)
        power = torch.where(mantissa > 0.5, scale / mantissa, scale)
        exponent = torch.where(mantissa > 0.5, exponent, exponent - 1)
        scales[rows] = (exponent + BIAS).to(torch.uint8).view(torch.int8)
        # The division can leave the largest element a little above what the format holds.
        x = (x / power.unsqueeze(-1)).clamp_(-LARGEST, LARGEST)
        quantized[rows] = x.flatten(-2)
    return quantized, scales
