"""Quantisation with a scale for each row.

scale = largest |x| of the row / LARGEST
        of the row, or EPSILON if that is larger  # only: int8
quantized = x / scale, at most LARGEST in size, rounded to nearest,
            ties away from zero  # only: int8
            # except: int8: ties to even
"""

import torch

K = 4096
# Keeps the scale of a row of zeros from being zero.  # only: int8
EPSILON = 1e-10  # only: int8
LARGEST = 127.0  # only: int8
# except: int8: LARGEST = 448.0
# Rows are taken in chunks of about this many elements: the float32 copies stay in a GPU's cache,
# and small however many rows there are.
CHUNK_ELEMENTS = 4194304


@torch.no_grad()
def run(input: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Quantise input [M, K]: quantized [M, K], scales [M]."""
    m, k = input.shape
    assert k == K

    dtype = torch.int8  # only: int8
    # except: int8: dtype = torch.float8_e4m3fn
    quantized = torch.empty(m, K, dtype=dtype, device=input.device)
    scales = torch.empty(m, dtype=torch.float32, device=input.device)
    # A GPU multiplies by the reciprocal of a Python number that it divides by, which rounds twice.
    limit = torch.tensor(LARGEST, device=input.device)
    chunk = max(1, CHUNK_ELEMENTS // K)
    for first in range(0, m, chunk):
        rows = slice(first, first + chunk)
        x = input[rows].to(torch.float32)
        scale = x.abs().amax(dim=-1)
        scale = scale.clamp_(min=EPSILON)  # only: int8
        scale = scale.div_(limit)
        scales[rows] = scale
        # except: int8: # A row of zeros has the scale 0, and stays what it is.
        # except: int8: scale = torch.where(scale > 0.0, scale, 1.0)
        x = x / scale.unsqueeze(-1)
        whole = x.trunc()  # only: int8
        away = (x - whole).abs() >= 0.5  # only: int8
        quantized[rows] = whole + torch.copysign(away, x)  # only: int8
        # except: int8: # The division can leave the largest element a little above what the format holds.
        # except: int8: quantized[rows] = x.clamp_(-LARGEST, LARGEST)
    return quantized, scales
