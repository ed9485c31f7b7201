"""What is idle in a source, and what is not."""

from __future__ import annotations

import pytest

from fibcore.testing.idle_code import idle_code

HEAD = "import torch\n\nON_INPUT = False\nSIZES = (2, 3)\n\n\n"


@pytest.mark.parametrize(
    ("lines", "what"),
    [
        ("return x * torch.e if ON_INPUT else x + SIZES[0]", "`ON_INPUT` is decided"),
        ("if max(ON_INPUT, 0) > 1:\n        x = torch.ones(SIZES)\n    return x", "is decided"),
        ("return ON_INPUT and torch.ones(SIZES)", "`ON_INPUT` is decided"),
        ("return [y for y in torch.ones(SIZES) if not ON_INPUT]", "`not ON_INPUT` is decided"),
        ("while ON_INPUT:\n        x = torch.ones(SIZES)\n    return x", "`ON_INPUT` is decided"),
        ("return torch.ones(SIZES)", "line 3: ON_INPUT is read by nothing"),
        ("return ON_INPUT, SIZES", "line 1: torch is read by nothing"),
        ("y = torch.ones(SIZES)\n    return ON_INPUT", "the variable y of run is read by nothing"),
    ],
)
def test_idle_code_is_found(lines: str, what: str) -> None:
    (found,) = idle_code(f"{HEAD}def run(x):\n    {lines}\n")
    assert what in found


def test_helpers_and_their_parameters_have_to_be_read() -> None:
    text = "def twice(x, factor):\n    return x + x\n\n\ndef run(x):\n    return x\n"
    assert idle_code(text) == [
        "line 1: the parameter factor of twice is read by nothing",
        "line 1: twice is read by nothing",
    ]


def test_what_is_not_idle() -> None:
    text = """import torch

SIZE = 4
NEWER = hasattr(torch, "float8_e8m0fnu")


def run(x, not_needed):
    rows, columns = x.shape
    assert SIZE % 2 == 0 and SIZE > 1
    assert columns == SIZE
    while True:
        if NEWER or x.is_cuda:
            return x
        if rows > SIZE:
            return -x
"""
    assert idle_code(text) == []
