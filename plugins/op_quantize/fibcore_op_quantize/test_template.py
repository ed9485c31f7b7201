"""Sizes, inputs and properties for the reference tests of quantisations."""

import re
from collections.abc import Callable
from typing import Any

import torch

Run = Callable[..., Any]
Definition = dict[str, Any]
Case = dict[str, Any]
Inputs = dict[str, torch.Tensor]


def cases(definition: Definition) -> list[Case]:
    """One row, an odd number of rows, and more rows than a GPU has multiprocessors."""
    del definition
    return [{"id": f"rows{rows}", "M": rows} for rows in (1, 7, 150)]


# --- the format ----------------------------------------------------------------------------------


def _name(definition: Definition) -> str:
    """The name without sizes; definitions of others are skipped, unless they have these names."""
    name = re.sub(r"(_g\d+)?_k\d+$", "", definition["name"])
    known = {
        *("per_token_group_quant_fp8", "per_token_group_quant_fp8_ue8m0", "per_token_quant_fp8"),
        *("per_token_quant_int8", "per_tensor_quant_fp8", "static_quant_fp8"),
        *("mxfp8_quantize", "nvfp4_quantize"),
    }
    if name not in known:
        import pytest

        pytest.skip(f"what {definition['name']} computes is not known")
    return name


def _columns(definition: Definition) -> int:
    return int(definition["axes"]["K"]["value"])


def _units(definition: Definition) -> int:
    """How many scales a row has, 1 where a scale covers all of it."""
    return int(definition["axes"].get("num_groups", {"value": 1})["value"])


def _whole(definition: Definition) -> bool:
    """Whether one scale covers all rows."""
    return _name(definition) in ("per_tensor_quant_fp8", "static_quant_fp8")


def _grid(definition: Definition) -> torch.Tensor:
    """The numbers from 0 on that the format has, in float64; their places are their codes."""
    name = _name(definition)
    if name == "nvfp4_quantize":
        return torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0], dtype=torch.float64)
    if name == "per_token_quant_int8":
        return torch.arange(128, dtype=torch.float64)
    return torch.arange(127, dtype=torch.uint8).view(torch.float8_e4m3fn).double()


def _numbers(definition: Definition, quantized: torch.Tensor) -> torch.Tensor:
    """The numbers of the format that were chosen, in float64."""
    if _name(definition) != "nvfp4_quantize":
        return quantized.double()
    low, high = quantized.view(torch.uint8) % 16, quantized.view(torch.uint8) // 16
    codes = torch.stack([low, high], dim=-1).flatten(-2).long()
    sizes = _grid(definition).to(codes.device)[codes % 8]
    return torch.where(codes >= 8, -sizes, sizes)


def _scales(definition: Definition, scales: torch.Tensor) -> torch.Tensor:
    """Scales in float64: bytes of exponents stand for powers of two."""
    if _name(definition) == "mxfp8_quantize":
        return torch.pow(2.0, scales.view(torch.uint8).double() - 127.0)
    return scales.double()


def _expected_scales(definition: Definition, inputs: Inputs) -> torch.Tensor:
    """Scales by their definition, in float64; those of NVFP4 are rounded to float8_e4m3fn."""
    name, x = _name(definition), next(iter(inputs.values())).double().abs()
    if _whole(definition):
        return (x.max() if x.numel() else x.sum()).reshape(1) / 448.0
    largest = torch.unflatten(x, -1, (_units(definition), -1)).amax(dim=-1)
    if name == "per_token_quant_fp8":
        return largest[:, 0] / 448.0
    if name == "per_token_quant_int8":
        return largest[:, 0].clamp(min=1e-10) / 127.0
    if name == "nvfp4_quantize":
        wanted = largest / 6.0 * inputs["a_global_sf"].double()
        return wanted.clamp(max=448.0).float().to(torch.float8_e4m3fn).double()
    scale = largest.clamp(min=448.0 * 2.0**-127 if name == "mxfp8_quantize" else 1e-10) / 448.0
    if name == "per_token_group_quant_fp8":
        return scale
    # Rounded to float32 first, so that a scale just above a power of two is at that power. Divided
    # by its mantissa in [0.5, 1) a number is exactly the power above it; on a GPU the logarithm of
    # a power of two can be a little more than its exponent.
    wanted = scale.float().double()
    mantissa, _ = torch.frexp(wanted)
    return torch.where(mantissa > 0.5, wanted / mantissa, wanted)


def _assert_scales(definition: Definition, scales: torch.Tensor, inputs: Inputs) -> None:
    if _name(definition) != "static_quant_fp8":
        # Powers and scales of eight bits are exact; others are rounded to float32 once or twice.
        expected = _expected_scales(definition, inputs)
        torch.testing.assert_close(scales, expected, rtol=2.5e-7, atol=0.0)


def _quotients(definition: Definition, inputs: Inputs, scales: torch.Tensor) -> torch.Tensor:
    """What is rounded: the rows over their scales, in float64; zeros where a scale is zero."""
    x = next(iter(inputs.values())).double()
    if _name(definition) == "nvfp4_quantize":
        x = x * inputs["a_global_sf"].double()
    rows = torch.unflatten(x, -1, (_units(definition), -1))
    factor = scales if _whole(definition) else scales.reshape(len(x), -1, 1)
    return torch.where(factor > 0.0, rows / factor, 0.0 * rows).flatten(-2)


def _run(run: Run, definition: Definition, inputs: Inputs) -> tuple[torch.Tensor, torch.Tensor]:
    """What was chosen and the scales, both in float64."""
    result = run(*inputs.values())
    outputs = result if isinstance(result, tuple) else (result,)
    for output, spec in zip(outputs, definition["outputs"].values(), strict=True):
        assert output.dtype == getattr(torch, spec["dtype"])
    if _name(definition) == "static_quant_fp8":
        return _numbers(definition, result), inputs["scale"].double()
    return _numbers(definition, result[0]), _scales(definition, result[1])


def _assert_nearest(definition: Definition, numbers: torch.Tensor, quotients: torch.Tensor) -> None:
    """No number of the format is nearer, but for what float32 makes of the quotients."""
    grid = _grid(definition).to(quotients.device)
    size = quotients.abs().clamp(max=float(grid[-1]))
    above = torch.searchsorted(grid, size).clamp(max=len(grid) - 1)
    below = (above - 1).clamp(min=0)
    best = torch.minimum((grid[above] - size).abs(), (grid[below] - size).abs())
    off = (numbers - quotients.sign() * size).abs()
    worst = (off - best - 3e-7 * size).max() if off.numel() else torch.zeros(())
    assert float(worst) <= 1e-12, f"a number is {float(worst):.3g} farther off than the nearest"


# --- inputs --------------------------------------------------------------------------------------


def make_inputs(
    definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> Inputs:
    """Rows whose groups are of very different sizes; scales at which some elements saturate."""
    rows, units = case["M"], _units(definition)
    if _whole(definition):
        magnitude = torch.ones(rows, 1, 1)
    elif _name(definition) == "nvfp4_quantize":  # one scale of e4m3 for all is not far
        magnitude = 10.0 ** (2.0 * torch.rand(rows, units, 1, generator=generator) - 1.0)
    else:
        magnitude = 10.0 ** (6.0 * torch.rand(rows, units, 1, generator=generator) - 3.0)
    shape = (rows, units, _columns(definition) // units)
    return _inputs(definition, magnitude * torch.randn(shape, generator=generator), device)


def _inputs(
    definition: Definition, values: torch.Tensor, device: torch.device, scale: float | None = None
) -> Inputs:
    names = list(definition["inputs"])
    x = values.flatten(1).to(torch.bfloat16)
    largest = float(x.abs().max()) if x.numel() else 1.0
    given = {"scale": scale or 0.9 * largest / 448.0, "a_global_sf": scale or 2688.0 / largest}
    _name(definition)  # skips what is not known
    found = {names[0]: x.to(device)}
    for name in names[1:]:
        found[name] = torch.tensor([given[name]], dtype=torch.float32, device=device)
    return found


# --- properties ----------------------------------------------------------------------------------


def scales_and_numbers_are_the_nearest(
    run: Run, definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> None:
    """Scales follow from the largest elements; each element is rounded to the nearest number."""
    inputs = make_inputs(definition, case, device, generator)
    before = {name: value.clone() for name, value in inputs.items()}
    numbers, scales = _run(run, definition, inputs)
    _assert_scales(definition, scales, inputs)
    _assert_nearest(definition, numbers, _quotients(definition, inputs, scales))
    for name, value in inputs.items():
        assert torch.equal(value, before[name]), f"run changes its input {name}"


def halfway_between_two_numbers(
    run: Run, definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> None:
    """Ties go to the even code; of int8, away from zero. The largest elements make scales 1."""
    grid, columns, units = _grid(definition), _columns(definition), _units(definition)
    halves = (grid[1:] + grid[:-1]) / 2.0
    codes = torch.arange(len(halves))
    wanted = grid[codes + 1 if _name(definition) == "per_token_quant_int8" else codes + codes % 2]
    width = columns // units - 1
    rows = -(-len(halves) // (units * width))
    places = torch.arange(rows * units * width).reshape(rows, units, width) % len(halves)
    sign = torch.where(torch.rand(places.shape, generator=generator) < 0.5, -1.0, 1.0).double()
    largest = torch.full((rows, units, 1), float(grid[-1]), dtype=torch.float64)
    values = torch.cat([sign * halves[places], largest], dim=-1)
    inputs = _inputs(definition, values, device, scale=1.0)
    numbers, scales = _run(run, definition, inputs)
    assert torch.equal(scales, torch.ones_like(scales))
    expected = torch.cat([sign * wanted[places], largest], dim=-1).flatten(1)
    assert torch.equal(numbers.cpu(), expected)


def what_a_scale_covers(
    run: Run, definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> None:
    """An element far larger than all others moves numbers that share its scale, and no others."""
    units, columns = _units(definition), _columns(definition)
    shape = (4, units, columns // units)
    values = torch.randn(shape, generator=generator)
    inputs = _inputs(definition, values, device, scale=1.0)
    before, _ = _run(run, definition, inputs)
    first = next(iter(inputs))
    for row, column in ((1, 0), (2, columns - 1)):
        spiked = {name: value.clone() for name, value in inputs.items()}
        spiked[first][row, column] = 300.0
        after, scales = _run(run, definition, spiked)
        changed = torch.zeros_like(after, dtype=torch.bool)
        changed[row, column] = True
        if _name(definition) == "per_tensor_quant_fp8":
            changed[:] = True
        elif _name(definition) != "static_quant_fp8":
            unit = column // (columns // units)
            torch.unflatten(changed, -1, (units, -1))[row, unit] = True
        assert torch.equal(after[~changed], before[~changed])
        _assert_scales(definition, scales, spiked)
        _assert_nearest(definition, after, _quotients(definition, spiked, scales))


def zeros_tiny_and_no_rows(
    run: Run, definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> None:
    """Zeros are zeros; tiny elements are as exact as others; no rows give no rows."""
    units, columns = _units(definition), _columns(definition)
    shape = (3, units, columns // units)
    values = torch.randn(shape, generator=generator)
    values[1] = 0.0
    if units > 1:
        values[2, 0] = 0.0
    smallest = (1e-37,) if _name(definition) == "mxfp8_quantize" else ()
    for size in (1.0, 1e-9, 1e-30, *smallest, 0.0):
        inputs = _inputs(definition, size * values, device, scale=1.0)
        numbers, scales = _run(run, definition, inputs)
        _assert_scales(definition, scales, inputs)
        assert not bool(numbers[1].any())
        _assert_nearest(definition, numbers, _quotients(definition, inputs, scales))
    if _name(definition) == "nvfp4_quantize":  # a scale that is rounded to zero
        inputs = _inputs(definition, values, device, scale=1e-6)
        numbers, scales = _run(run, definition, inputs)
        assert not bool(numbers.any())
        assert not bool(scales.any())
    inputs = _inputs(definition, values[:0], device, scale=1.0)
    result = run(*inputs.values())
    quantized = result if isinstance(result, torch.Tensor) else result[0]
    assert len(quantized) == 0


def what_is_too_large_saturates(
    run: Run, definition: Definition, case: Case, device: torch.device, generator: torch.Generator
) -> None:
    """With a scale that is given, elements beyond the format become its largest number, not NaN."""
    if _name(definition) not in ("static_quant_fp8", "nvfp4_quantize"):
        return
    units, columns = _units(definition), _columns(definition)
    values = 1e5 * torch.randn((2, units, columns // units), generator=generator)
    inputs = _inputs(definition, values, device, scale=0.5)
    numbers, scales = _run(run, definition, inputs)
    assert bool(numbers.isfinite().all())
    assert bool(scales.isfinite().all())
    _assert_nearest(definition, numbers, _quotients(definition, inputs, scales))


PROPERTIES = [
    scales_and_numbers_are_the_nearest,
    halfway_between_two_numbers,
    what_a_scale_covers,
    zeros_tiny_and_no_rows,
    what_is_too_large_saturates,
]


# --- comparison ----------------------------------------------------------------------------------

# Kernels multiply by a reciprocal where the reference divides, which moves a quotient by a few
# units in the last place of float32: over the middle between two numbers of the format in one of
# some ten thousand elements. A scale of eight bits that is rounded otherwise moves its whole group.
SHARE = 0.01


def compare(
    definition: Definition,
    case: Case,
    name: str,
    actual: torch.Tensor,
    expected: torch.Tensor,
    check: Callable[[torch.Tensor, torch.Tensor], None],
) -> None:
    """Numbers of the format are neighbours or equal, nearly all equal; so are scales of 8 bits."""
    if name == "scales" and _name(definition) != "nvfp4_quantize":
        check(actual, expected)
        return
    grid = torch.arange(127, dtype=torch.uint8).view(torch.float8_e4m3fn).double()
    ours, theirs = actual.double(), expected.double()
    if name == "quantized":
        grid = _grid(definition)
        ours, theirs = _numbers(definition, actual), _numbers(definition, expected)
    codes = [torch.searchsorted(grid.to(ours.device), one.abs()) for one in (ours, theirs)]
    steps = int((codes[0] - codes[1]).abs().max()) if ours.numel() else 0
    assert steps <= 1, f"{name}: a number is {steps} steps off"
    assert bool((ours * theirs >= 0.0).all()), f"{name}: a number has another sign"
    differ = int((ours != theirs).sum())
    assert differ <= max(2, SHARE * ours.numel()), f"{name}: {differ} of {ours.numel()} differ"
