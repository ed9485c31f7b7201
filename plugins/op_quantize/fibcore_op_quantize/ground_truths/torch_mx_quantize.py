"""MXFP8 and NVFP4 by torch in float64, in plain rows."""

import torch


def torch_mxfp8_quantize(input: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Give quantized [M, K] in float8_e4m3fn, scales [M, K / 32]: exponents plus 127, in int8."""
    groups = torch.unflatten(input.double(), -1, (-1, 32))
    wanted = (groups.abs().amax(dim=-1) / 448.0).clamp(min=2.0**-127).float().double()
    # Exponents of numbers mantissa * 2^e, the mantissa in [0.5, 1): on a GPU the logarithm of a
    # power of two can be a little more or less than its exponent.
    mantissa, above = torch.frexp(wanted)
    exponent = torch.where(mantissa > 0.5, above, above - 1)
    x = (groups / torch.exp2(exponent.double()).unsqueeze(-1)).clamp(-448.0, 448.0).flatten(-2)
    step = torch.exp2(torch.frexp(x.abs().clamp(min=2.0**-6)).exponent.double() - 4.0)
    quantized = (torch.round(x / step) * step).to(torch.float8_e4m3fn)
    return quantized, (exponent + 127).to(torch.uint8).view(torch.int8)


def torch_nvfp4_quantize(
    a: torch.Tensor, a_global_sf: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Give quantized [M, K / 2], two numbers e2m1 a byte, scales [M, K / 16] in float8_e4m3fn."""
    groups = torch.unflatten(a.double(), -1, (-1, 16)) * a_global_sf.double()
    scales = (groups.abs().amax(dim=-1) / 6.0).clamp(max=448.0).float().to(torch.float8_e4m3fn)
    factor = scales.double().unsqueeze(-1)
    x = torch.where(factor > 0.0, groups / factor, 0.0 * groups).flatten(-2)
    # One bit of mantissa from 1 on, steps of 0.5 below: the code is the number of steps.
    size = x.abs().clamp(max=6.0)
    exponent = torch.frexp(size.clamp(min=1.0)).exponent.double() - 1.0
    steps = torch.round(size / torch.exp2(exponent - 1.0))
    code = (2.0 * exponent + steps).long() + 8 * torch.signbit(x)
    return (code[:, ::2] + 16 * code[:, 1::2]).to(torch.uint8).view(torch.int8), scales
