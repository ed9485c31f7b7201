"""What is known of values that are not: numbers and texts, and whether one is True or False.

`foreign.x()` may be anything: an object or a tensor with comparisons of its own. `n` is a length,
so what compares it with a number is True or False.
"""

from __future__ import annotations

from typing import Any

import pytest

from fibcore.model.tree import Alternatives, Unknown

BEFORE = """\
n = len(foreign.x())
few = n <= 5


def fits(size):
    return size > 0 and size <= 5


def both(size, wanted):
    return fits(size) and wanted
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("n > 5 and False", False),
        ("n > 5 or True", True),
        ("few and False", False),
        ("not few or True", True),
        ("0 < n < 5 and False", False),
        ("both(n, False)", False),
        ("both(n, True) and False", False),
        ("fits(n) or True", True),
        ("n + 1 == 2 * n and False", False),
        ("-n < 3 and False", False),
        ("n is None", False),
        ("few is None", False),
        ("isinstance(few, bool)", True),
        ("isinstance(few, str)", False),
        ("1 in foreign.x() and False", False),
        ("1 not in foreign.x() or True", True),
        ("foreign.x() is foreign.y() and False", False),
        ("not foreign.x() and False", False),
        ("bool(foreign.x()) and False", False),
        ("isinstance(foreign.x(), int) or True", True),
        ("hasattr(foreign.x(), 'y') and False", False),
        ("any(foreign.x()) or True", True),
    ],
)
def test_an_unknown_truth_that_does_not_matter(plain: Any, text: str, expected: bool) -> None:
    found = plain.attributes(f"self.x = {text}", before=BEFORE)["x"]
    assert found is expected


@pytest.mark.parametrize(
    "text",
    [
        "n and False",  # 0 is what it gives where there is nothing
        "str(few) or True",
        "f'{n}' or True",
        "foreign.x() > 5 and False",
        "foreign.x() > n and False",
        "n == foreign.x() and False",
        "n * foreign.x() < 5 and False",
        "[foreign.x(), n] < [n, 5] and False",
        "(n, foreign.x()) < (5, 5) and False",
        "[1, foreign.x()][n] > 5 and False",
        "{1: foreign.x()}[n] > 5 and False",
        "pow(n, foreign.x()) > 5 and False",
        "(n if foreign.x() else foreign.y()) > 5 and False",
        "(few if foreign.x() else foreign.y()) and False",
        "(few if foreign.x() else n) and False",
        "foreign.f(n) > 5 and False",
        "foreign.x() < n < 5 and False",
        "0 < n < foreign.x() and False",
    ],
)
def test_what_may_be_anything_is_what_an_operand_gives(plain: Any, text: str) -> None:
    found = plain.attributes(f"self.x = {text}", before=BEFORE)["x"]
    parts = found.values if isinstance(found, Alternatives) else (found,)
    assert any(isinstance(part, Unknown) and not part.is_truth for part in parts)


@pytest.mark.parametrize("text", ["[1, None][n] is None", "[foreign.x(), n][1:][0] is None"])
def test_a_place_that_is_a_number_holds_anything(plain: Any, text: str) -> None:
    found = plain.attributes(f"self.x = {text}", before=BEFORE)["x"]
    assert found is not True
