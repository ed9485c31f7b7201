"""Values that would take more memory than a model's numbers do are not computed."""

from __future__ import annotations

from typing import Any

import pytest

from fibcore.elaborate.python import limits
from fibcore.elaborate.python.budget import Exhausted
from fibcore.model.tree import Unknown


@pytest.mark.parametrize(
    "body",
    [
        "self.x = 10 ** 10 ** 10",
        "self.x = [0] * 10 ** 12",
        "self.x = 'a' * 10 ** 12",
        "self.x = pow(10, 10 ** 10)",
        "self.x = bytes(10 ** 12)",
        "self.x = 'a'.ljust(10 ** 12)",
        "self.x = list(range(10 ** 12))",
        "self.x = 1 << 10 ** 10",
    ],
)
def test_what_takes_more_than_all_that_is_left_is_an_error(plain: Any, body: str) -> None:
    with pytest.raises(Exhausted, match=r"more than 4,000,000 steps \([\d,]+ for .*made\.py:\d+"):
        plain.attributes(body)


@pytest.mark.parametrize(
    "body",
    [
        "self.x = 2 ** 100000",
        "self.x = 1 << 100000",
        "self.x = [0] * 2 ** 21",
        "self.x = 'a' * 2 ** 21",
        "self.x = (1).to_bytes(2 ** 21, 'big')",
        "self.x = '%1000000000000d' % 3",
        "self.x = '{:>1000000000000}'.format(3)",
        "self.x = f'{3:>1000000000000}'",
    ],
)
def test_large_values_are_unknown(plain: Any, body: str) -> None:
    assert isinstance(plain.attributes(body)["x"], Unknown)


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("0.5 in range(10 ** 12)", False),
        ("5.0 in range(10 ** 12)", True),
        ("True in range(10 ** 12)", True),
        ("'5' in range(10 ** 12)", False),
        ("range(10 ** 12).index(7.0)", 7),
        ("range(10 ** 12).count(10 ** 12)", 0),
        ("len(range(0, 10 ** 12, 7))", len(range(0, 10**12, 7))),
        ("round(5, -(10 ** 9))", 0),
        ("round(951, -2)", 1000),
        ("round(50, -2)", 0),
        ("round(51, -2)", 100),
        ("pow(3, 10 ** 40, 1000)", pow(3, 10**40, 1000)),
        ("'a,b'.replace(',', '--')", "a--b"),
        ("'ab'.replace('', '-')", "-a-b-"),
        ("'ab'.replace('', '-', 1)", "-ab"),
        ("'-'.join(['a', 'b'])", "a-b"),
        ("'a\tb'.expandtabs(4)", "a   b"),
        ("'7'.zfill(3)", "007"),
        ("'%5.2f|%s' % (1.5, [1, 'a'])", " 1.50|[1, 'a']"),
        ("int('ff', 16)", 255),
        ("int.from_bytes(bytes([1, 0]), 'big')", 256),
        ("(258).to_bytes(2, byteorder='little')", b"\x02\x01"),
    ],
)
def test_what_is_small_is_what_python_computes(plain: Any, code: str, value: Any) -> None:
    found = plain.attributes(f"self.x = {code}")["x"]
    assert (type(found), found) == (type(value), value)


def test_weight_counts_what_is_held_twice_twice() -> None:
    nested: Any = [0]
    for _ in range(10):
        nested = [nested, nested]
    assert limits.weight(nested) == 2**11 - 2 + 2**10
    for _ in range(30):
        nested = [nested, nested]
    with pytest.raises(limits.TooLarge):
        limits.weight(nested)


def test_a_list_that_holds_itself_is_refused() -> None:
    nested: list[Any] = []
    nested.append(nested)
    with pytest.raises(Exhausted, match="parts"):
        limits.bounded(nested)
