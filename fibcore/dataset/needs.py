"""What the description of a solution says that it needs, written and read."""

from __future__ import annotations

import re
from collections.abc import Sequence

Capability = tuple[int, int]

_CAPABILITY = re.compile(
    r"\bNeeds compute capability (up to )?(\d+\.\d+)(?:( and up)| to (\d+\.\d+))?"
)


def needs(low: Capability | None, high: Capability | None, packages: Sequence[str]) -> str:
    """A sentence with a space before it: "Needs compute capability 9.0 to 10.3, flashinfer.".

    Args:
        low: The lowest CUDA compute capability, None for any.
        high: The highest, None for any.
        packages: Modules besides torch.

    Returns:
        The empty text where nothing is needed.
    """
    parts = [f"compute capability {_span(low, high)}"] if low or high else []
    parts += packages
    return f" Needs {', '.join(parts)}." if parts else ""


def fits(description: str, capability: Capability) -> bool:
    """Whether a description has no word of `needs` against a GPU of this compute capability."""
    found = _CAPABILITY.search(description)
    if found is None:
        return True
    up_to, first, and_up, second = found.groups()
    low = None if up_to else first
    high = None if and_up else second or first
    return (low is None or capability >= _numbers(low)) and (
        high is None or capability <= _numbers(high)
    )


def _span(low: Capability | None, high: Capability | None) -> str:
    if low is None or high is None:
        return f"{_dotted(low)} and up" if low else f"up to {_dotted(high)}"
    return _dotted(low) if low == high else f"{_dotted(low)} to {_dotted(high)}"


def _dotted(capability: Capability | None) -> str:
    return "" if capability is None else f"{capability[0]}.{capability[1]}"


def _numbers(dotted: str) -> tuple[int, ...]:
    return tuple(int(part) for part in dotted.split("."))
