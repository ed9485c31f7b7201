"""Quantisation to float8_e4m3fn with one scale for all rows.

scale = largest |x| of all / 448  # only: dynamic
quantized = x / scale, at most 448 in size, rounded to nearest, ties to even
"""

import torch

K = 4096
LARGEST = 448.0
# Rows are taken in chunks of about this many elements: the float32 copies stay in a GPU's cache,
# and small however many rows there are.
CHUNK_ELEMENTS = 4194304


@torch.no_grad()
def run(
    input: torch.Tensor,
    scale: torch.Tensor,  # except: dynamic
) -> tuple[torch.Tensor, torch.Tensor]:  # only: dynamic
# except: dynamic: ) -> torch.Tensor:
    """Quantise input [M, K]: quantized [M, K], scales [1]."""  # only: dynamic
    # except: dynamic: """Quantise input [M, K] by scale [1]: quantized [M, K]."""
    m, k = input.shape
    assert k == K
    assert scale.shape == (1,)  # except: dynamic

    quantized = torch.empty(m, K, dtype=torch.float8_e4m3fn, device=input.device)
    chunk = max(1, CHUNK_ELEMENTS // K)
    largest = torch.zeros(1, dtype=torch.float32, device=input.device)  # only: dynamic
    for first in range(0, m, chunk):  # only: dynamic
        x = input[first : first + chunk].abs().amax()  # only: dynamic
        largest = torch.maximum(largest, x)  # only: dynamic
    # A GPU multiplies by the reciprocal of a Python number that it divides by, which rounds twice.  # only: dynamic
    scales = largest / torch.tensor(LARGEST, device=input.device)  # only: dynamic
    # Zeros have the scale 0, and stay what they are.  # only: dynamic
    scale = torch.where(scales > 0.0, scales, 1.0)  # only: dynamic
    for first in range(0, m, chunk):
        rows = slice(first, first + chunk)
        quantized[rows] = (input[rows] / scale).clamp_(-LARGEST, LARGEST)
    return quantized, scales  # only: dynamic
    # except: dynamic: return quantized
