"""Quantisation by torch in float64, with its own rounding to the numbers of the format."""

import torch

GROUP = 128  # elements that a scale covers; 0 for a row, -1 for all rows
LARGEST = 448.0
SMALLEST = 1e-10  # what the largest element counts as at least
POWERS = False
INTEGERS = False


def torch_quantize(input: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Give quantized [M, K], scales [M, K / GROUP], [M] or [1], as the definition has them."""
    x = input.double()
    grid = torch.arange(127, dtype=torch.uint8, device=x.device).view(torch.float8_e4m3fn).double()
    if INTEGERS:
        grid = torch.arange(128, dtype=torch.float64, device=x.device)
    parts = x.reshape(1, -1) if GROUP < 0 else x.reshape(-1, GROUP or x.shape[-1])
    largest = parts.abs().amax(dim=-1, keepdim=True) if parts.numel() else parts.new_zeros(1, 1)
    scale = (largest.clamp(min=SMALLEST) / LARGEST).float().double()
    if POWERS:
        # Divided by its mantissa in [0.5, 1), a number is exactly the power of two above it; on a
        # GPU the logarithm of a power of two can be a little more than its exponent.
        mantissa, _ = torch.frexp(scale)
        scale = torch.where(mantissa > 0.5, scale / mantissa, scale)
    y = parts / torch.where(scale > 0.0, scale, 1.0)
    size = y.abs().clamp(max=LARGEST)
    # The nearest of the grid; of two as near, that with the even place, or the larger integer.
    above = torch.searchsorted(grid, size)
    below = (above - 1).clamp(min=0)
    gap = (grid[above] - size) - (size - grid[below])
    upper = (gap < 0.0) | ((gap == 0.0) & (INTEGERS | (above % 2 == 0)))
    number = (y.sign() * grid[torch.where(upper, above, below)]).reshape(x.shape)
    quantized = number.to(torch.int8 if INTEGERS else torch.float8_e4m3fn)
    shape = (1,) if GROUP < 0 else (len(x), -1) if GROUP else (len(x),)
    return quantized, scale.float().reshape(shape)
