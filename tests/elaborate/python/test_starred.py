"""Calls with `*value`, where the value is one of several or not known."""

from __future__ import annotations

from typing import Any

import pytest
from forward_models import kinds, model

from fibcore.elaborate.python.values import Func
from fibcore.model.tree import Alternatives, Unknown

SEVERAL = "import foreign\ngiven = (1,) if foreign.flag() else (1, 2)\n"


def parts(value: Any) -> set[Any]:
    return set(value.values) if isinstance(value, Alternatives) else {value}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Each number of items is a call of its own: a default stands where an item is missing.
        ("def f(a, b=7):\n    return a + b\nx = f(*given)", {8, 3}),
        ("def f(*all):\n    return len(all)\nx = f(*given)", {1, 2}),
        ("def f(a, b=7, *, c):\n    return b * c\nx = f(*given, c=2)", {14, 4}),
        ("def f(z, a, b=7):\n    return z + b\nx = f(10, *given)", {17, 12}),
        ("def f(a, b, c=7):\n    return c\nx = f(*given, 3)", {7, 3}),
        # What raises gives nothing.
        ("def f(a, b):\n    return b\nx = f(*given)", {2}),
        ("class F:\n    def __init__(self, a, b=7):\n        self.b = b\nx = F(*given).b", {7, 2}),
        ("x = max(0, *given)", {1, 2}),
    ],
)
def test_each_number_of_items_is_followed(plain: Any, text: str, expected: set[int]) -> None:
    assert parts(plain.value(SEVERAL + text)) == expected


def test_items_of_one_length_are_merged(plain: Any) -> None:
    text = "import foreign\ngiven = (1, 5) if foreign.flag() else (2, 6)\n"
    found = plain.value(text + "def f(a, b):\n    return [a, b]\nx = f(*given)")
    assert [parts(value) for value in found] == [{1, 2}, {5, 6}]


def test_two_of_several_lengths_are_not_known(plain: Any) -> None:
    text = "def f(*all):\n    return len(all)\nx = f(*given, *given)"
    assert isinstance(plain.value(SEVERAL + text), Unknown)


def test_what_a_call_of_several_lengths_writes_is_merged(plain: Any) -> None:
    text = "x = []\ndef f(a, b=7):\n    x.append(b)\nf(*given)"
    (item,) = plain.value(SEVERAL + text)
    assert parts(item) == {7, 2}


@pytest.mark.parametrize(
    ("forward", "expected"),
    [
        ("a = (x,) if foreign.flag() else (x, x)\nx = self.norm(*a)", ["plain", "fused"]),
        # A forward pass goes into what is called, with arguments that are not known.
        ("def core(a, b, c=None):\n    return self.norm(a)\nx = core(*foreign.items())", ["plain"]),
        (
            "def core(a, b=None):\n    return self.norm(x, b)\nx = core(x, *foreign.items())",
            ["fused"],
        ),
        # Which parameters there are is not known then.
        ("def core(*all):\n    return self.norm(x)\nx = core(*foreign.items())", []),
    ],
)
def test_a_forward_pass_goes_into_what_is_called_with_it(
    made: Any, forward: str, expected: list[str]
) -> None:
    tree = made.tree(model("self.norm = RMSNorm(64)", forward))
    assert sorted(kinds(tree, "norm")) == sorted(expected)


def test_arguments_that_are_not_known_take_the_places_that_are_left(plain: Any) -> None:
    from fibcore.elaborate.python.starred import filled

    func = plain.value("def x(a, b, /, c, d=4, *, e=5):\n    return a")
    assert isinstance(func, Func)
    unknown = Unknown("not known")
    assert filled(func, [1], {"c": 3}, unknown) == [1, unknown, unknown]
    assert filled(func, [1], {}, unknown) == [1, unknown, unknown, unknown]
    assert filled(plain.value("def x(a, *b):\n    return a"), [1], {}, unknown) is None
    assert filled(len, [1], {}, unknown) is None
