"""Axes of plots: scales from numbers to pixels, and their ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs

ZERO_BAND = 34.0  # room for zeros, which no logarithmic axis has


@attrs.frozen
class Tick:
    """A tick of an axis, in pixels from the left or top."""

    at: float
    label: str
    title: str = ""


@attrs.frozen
class Scale:
    """A map of numbers to pixels.

    Attributes:
        low: The least number; positive on a logarithmic axis.
        high: The greatest number.
        start: The pixel of `low`.
        end: The pixel of `high`.
        log: Whether it is logarithmic.
        zero: The pixel of zeros on a logarithmic axis; None where there are none.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool
    zero: float | None

    def at(self, value: float) -> float:
        """The pixel of a number."""
        if self.log and value <= 0:
            assert self.zero is not None
            return self.zero
        low, high, here = (
            (math.log10(self.low), math.log10(self.high), math.log10(value))
            if self.log
            else (self.low, self.high, value)
        )
        return round(self.start + (here - low) / (high - low) * (self.end - self.start), 2)

    def ticks(self) -> tuple[Tick, ...]:
        """Ticks at round numbers, and at zero where that has a place of its own."""
        values = _decades(self.low, self.high) if self.log else _steps(self.low, self.high)
        zero = () if self.zero is None else (Tick(self.zero, "0"),)
        return (*zero, *(Tick(self.at(v), number(v)) for v in values))


def number(value: float) -> str:
    """A number as an axis shows it: `1e-5`, `0.5`, `4096`."""
    if value and not 1e-3 <= abs(value) < 1e6:
        mantissa, _, exponent = f"{value:.3g}".partition("e")
        return f"{mantissa}e{int(exponent)}" if exponent else mantissa
    return f"{value:.6g}"


def _decades(low: float, high: float) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    step = max(1, math.ceil((last - first) / 8))
    factors = (1, 2, 5) if high < 200 * low else (1,)
    values = [f * 10.0**d for d in range(first, last + 1, step) for f in factors]
    return [v for v in values if low * 0.999 <= v <= high * 1.001]


def _steps(low: float, high: float) -> list[float]:
    rough = (high - low) / 5
    base = 10.0 ** math.floor(math.log10(rough))
    step = next(f * base for f in (1, 2, 2.5, 5, 10) if f * base >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def scale_of(values: Sequence[float], start: float, end: float, log: bool) -> Scale:
    """A scale that holds `values`; a linear one begins at 0."""
    if not log:
        low, high = min(0.0, *values, 0.0), max(0.0, *values, 0.0)
        if low == high:
            high = low + 1.0
        room = (high - low) * 0.04
        return Scale(low - room if low < 0 else 0.0, high + room, start, end, False, None)
    positive = [v for v in values if v > 0] or [1.0]
    low, high = min(positive), max(positive)
    if high / low < 10:  # a decade at least, so that near values look near
        middle = math.sqrt(low) * math.sqrt(high)  # their product may overflow
        low, high = middle / math.sqrt(10), middle * math.sqrt(10)
    else:
        low, high = low / 1.25, high * 1.25
    zero = None
    if len([v for v in values if v > 0]) < len(values):
        zero = start + math.copysign(ZERO_BAND / 3, end - start)
        start += math.copysign(ZERO_BAND, end - start)
    return Scale(low, high, start, end, True, zero)
