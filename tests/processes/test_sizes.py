"""Sizes: what people write, what it means to every option, and how it is written back."""

from __future__ import annotations

import pytest

from fibcore.errors import UsageError
from fibcore.processes.sizes import GIB, MIB, format_size, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("12 B", 12),
        ("2k", 2048),
        ("1.5K", 1536),
        ("3MB", 3 * MIB),
        ("3 MiB", 3 * MIB),
        ("16G", 16 * GIB),
        ("16GB", 16 * GIB),
        ("16Gi", 16 * GIB),
        (" 16 gib ", 16 * GIB),
        ("1T", 1024 * GIB),
        (4096, 4096),
    ],
)
def test_units_are_powers_of_1024(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "GiB", "-1", "-1G", "0", "0.2", "1e9", "16 GiBB", "16XB", "1_000", "much", 0, -1]
)
def test_what_is_no_size_is_refused(text: str | int) -> None:
    with pytest.raises(UsageError, match="no such size") as caught:
        parse_size(text, "--max-memory")
    assert caught.value.where == "--max-memory"
    assert caught.value.found == repr(text)


def test_sizes_in_words() -> None:
    assert [format_size(n) for n in (0, 1023, 1536, 16 * GIB, 2**41)] == [
        *("0 B", "1023 B", "1.5 KiB", "16.0 GiB", "2.0 TiB")
    ]
