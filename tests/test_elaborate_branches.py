"""Branches that cannot be decided: both sides run, what they write is merged, nothing is guessed.

`foreign.flag()` is not known. The values that a variable may have are given as a set here; a
single value stands for itself.
"""

from __future__ import annotations

from typing import Any

import pytest

from fibcore.tree import Alternatives, Unknown

FLAG = "if foreign.flag():\n    "

ONE_OF: dict[str, tuple[str, str, set[Any]]] = {
    "both sides": (f"{FLAG}self.x = 1\nelse:\n    self.x = 2", "", {1, 2}),
    "one side over what was there": (f"self.x = 0\n{FLAG}self.x = 1", "", {0, 1}),
    "equal sides are one value": (f"{FLAG}self.x = 3\nelse:\n    self.x = 3", "", {3}),
    "a side that raises is not taken": (
        f"{FLAG}raise ValueError('no')\nself.x = 3",
        "",
        {3},
    ),
    "a side that fails an assertion is not taken": (
        f"n = 7\n{FLAG}assert n % 2 == 0\n    self.x = 1\nelse:\n    self.x = 2",
        "",
        {2},
    ),
    "what comes after a return on one side": (
        f"def f():\n    {FLAG}    self.x = 1\n        return\n    self.x = 2\nf()",
        "",
        {1, 2},
    ),
    "returned values": ("self.x = f()", f"def f():\n    {FLAG}    return 1\n    return 2", {1, 2}),
    "returned values of a chain": (
        "self.x = f()",
        f"def f():\n    {FLAG}    return 1\n    elif foreign.other():\n        return 2\n"
        "    elif foreign.third():\n        pass\n    return 3",
        {1, 2, 3},
    ),
    "a return inside of a decided branch": (
        "self.x = 0\ndef f():\n    if 1 < 2:\n        if foreign.flag():\n            return\n"
        "        self.x = 1\n    self.x = 2\nf()",
        "",
        {0, 2},
    ),
    "a break": (
        "n = 0\nfor i in range(3):\n    if foreign.flag():\n        break\n    n += 1\nself.x = n",
        "",
        {0, 1, 2, 3},
    ),
    "a search that may find several": (
        "n = None\nfor i in range(3):\n    if not foreign.flag(i):\n        continue\n    n = i\n"
        "    break\nself.x = n",
        "",
        {None, 0, 1, 2},
    ),
    "a loop that may not run": ("n = 1\nwhile foreign.flag():\n    n = 2\nself.x = n", "", {1, 2}),
    "iterating something unknown may not run": (
        "n = 1\nfor i in foreign.items():\n    n = 2\nself.x = n",
        "",
        {1, 2},
    ),
    "conditional expression": ("self.x = 1 if foreign.flag() else 2", "", {1, 2}),
    "arithmetic on each": ("a = 1 if foreign.flag() else 2\nself.x = a * 10", "", {10, 20}),
    "function calls on each": (
        "a = 1 if foreign.flag() else 2\nself.x = f(a)",
        "def f(a):\n    return 'one' if a == 1 else 'more'",
        {"one", "more"},
    ),
    "methods of each": (
        "a = A() if foreign.flag() else B()\nself.x = a.name()",
        "class A:\n    def name(self):\n        return 'a'\nclass B:\n    def name(self):\n"
        "        return 'b'",
        {"a", "b"},
    ),
    "a comparison that holds for each": (
        "a = 1 if foreign.flag() else 2\nself.x = 'yes' if a > 0 else 'no'",
        "",
        {"yes"},
    ),
    "an alternative on which it raises falls away": (
        "a = 4 if foreign.flag() else None\nself.x = a + 1",
        "",
        {5},
    ),
    "attribute of what may be None": (
        "a = A() if foreign.flag() else None\nself.x = a.n",
        "class A:\n    n = 6",
        {6},
    ),
    "narrowed by `is None`": (
        "a = None\nif foreign.flag():\n    a = 5\nif a is None:\n    a = 7\nself.x = a",
        "",
        {5, 7},
    ),
    "narrowed by `is not None` and `and`": (
        "a = None\nif foreign.flag():\n    a = 5\n"
        "if a is not None and foreign.other():\n    self.x = a\nelse:\n    self.x = 0",
        "",
        {5, 0},
    ),
    "narrowed by its truth": (
        "a = None\nif foreign.flag():\n    a = 5\nif a:\n    self.x = a\nelse:\n    self.x = 0",
        "",
        {5, 0},
    ),
    "narrowed in a conditional expression": (
        "a = 5 if foreign.flag() else None\nself.x = 8 if a is None else a",
        "",
        {5, 8},
    ),
    "narrowed after an early return": (
        "self.x = f(5 if foreign.flag() else None)",
        "def f(a):\n    if a is None:\n        return 'none'\n    return a",
        {5, "none"},
    ),
    "narrowed attribute": (
        "o = O()\no.a = 5 if foreign.flag() else None\nif o.a is None:\n    o.a = 9\nself.x = o.a",
        "class O:\n    pass",
        {5, 9},
    ),
    "`or` drops what is false": ("a = 3 if foreign.flag() else None\nself.x = a or 8", "", {3, 8}),
    "`and` drops what is true": ("a = 3 if foreign.flag() else 0\nself.x = a and 8", "", {0, 8}),
    "`unknown or True` is true": ("self.x = 1 if foreign.flag() or True else 2", "", {1}),
    "`unknown and False` is false": ("self.x = foreign.flag() and False", "", {False}),
    "`unknown or a list` is true": ("self.x = 1 if foreign.flag() or [0] else 2", "", {1}),
    "`not (unknown or 1)` is false": ("self.x = not (foreign.flag() or 1)", "", {False}),
    "alternatives do not nest": (
        "a = 1 if foreign.flag() else 2\nself.x = a if foreign.other() else 3",
        "",
        {1, 2, 3},
    ),
    "match without a decision": (
        "match foreign.flag():\n    case 1:\n        self.x = 'one'\n    case _:\n"
        "        self.x = 'other'",
        "",
        {"one", "other"},
    ),
    "match that may match nothing": (
        "self.x = 'none'\nmatch foreign.flag():\n    case 1:\n        self.x = 'one'",
        "",
        {"one", "none"},
    ),
    "dict entries changed on one side": (
        "d = {'k': 1}\nif foreign.flag():\n    d['k'] = 2\nself.x = d['k']",
        "",
        {1, 2},
    ),
    "dict entries that may be missing": (
        "d = {}\nif foreign.flag():\n    d.update(k=2)\nself.x = d.get('k', 7)",
        "",
        {2, 7},
    ),
    "attributes set on one side": (
        "o = O()\nif foreign.flag():\n    o.a = 1\nself.x = getattr(o, 'a', 7)",
        "class O:\n    pass",
        {1, 7},
    ),
    "a list filled differently": (
        "a = []\nif foreign.flag():\n    a.append(1)\nelse:\n    a.append(2)\nself.x = a[0]",
        "",
        {1, 2},
    ),
    "module-level branch": ("self.x = SIZE", f"{FLAG}SIZE = 1\nelse:\n    SIZE = 2", {1, 2}),
    "keyword arguments of either dict": (
        "k = {'b': 2} if foreign.flag() else {}\nself.x = f(1, **k)",
        "def f(a, b=5):\n    return b",
        {2, 5},
    ),
    "unpacking either tuple": (
        "a, b = (1, 9) if foreign.flag() else (2, 9)\nself.x = a if b == 9 else 'no'",
        "",
        {1, 2},
    ),
}


def possible(value: Any) -> set[Any]:
    values = value.values if isinstance(value, Alternatives) else (value,)
    assert not any(isinstance(v, Alternatives) for v in values)
    return set(values)


@pytest.mark.parametrize("name", ONE_OF)
def test_one_of(made: Any, name: str) -> None:
    body, before, expected = ONE_OF[name]
    assert possible(made.attributes(body, before)["x"]) == expected


NOT_KNOWN = {
    "or with something else": "self.x = foreign.flag() or 5",
    "length of a list changed on one side": "a = [1]\nif foreign.flag():\n    a.append(2)\n"
    "self.x = len(a)",
    "whether a key is there": "d = {}\nif foreign.flag():\n    d['k'] = 1\nself.x = 'k' in d",
    "whether an attribute is there": "o = O()\nif foreign.flag():\n    o.a = 1\n"
    "self.x = hasattr(o, 'a')",
    "filtered by something unknown": "self.x = [i for i in range(3) if foreign.flag()]",
    "text with something unknown": "self.x = f'model.{foreign.flag()}'",
    "a sum with something unknown": "self.x = sum([1, foreign.flag()])",
    "a comparison": "self.x = 3 < foreign.flag()",
    "an unknown function": "self.x = (f if foreign.flag() else foreign.f)(1) + 1",
}


@pytest.mark.parametrize("name", NOT_KNOWN)
def test_not_known(made: Any, name: str) -> None:
    before = "class O:\n    pass\ndef f(a):\n    return foreign.g()"
    found = made.attributes(NOT_KNOWN[name], before)["x"]
    values = found.values if isinstance(found, Alternatives) else (found,)
    unknown = [v for v in values if isinstance(v, Unknown)]
    assert unknown
    assert all(v.reason for v in unknown)


def test_entries_behind_a_doubtful_one_are_not_known(made: Any) -> None:
    body = "a = [1]\nif foreign.flag():\n    a.append(2)\na.append(3)\nself.x = a"
    found = made.attributes(body)["x"]
    assert found[0] == 1
    assert isinstance(found[1], Unknown)
    assert "branch" in found[1].reason
    assert "foreign.flag()" in found[1].reason


def test_alternatives_are_capped(made: Any) -> None:
    body = "v = 0\n" + "".join(f"{FLAG}v = v + {2**i}\n" for i in range(20)) + "self.x = v"
    found = made.attributes(body)["x"]
    assert isinstance(found, Unknown)
    assert "alternatives" in found.reason


def test_the_cost_of_undecided_branches_does_not_multiply(made: Any) -> None:
    def body(count: int) -> str:
        early = "".join(f"    if foreign.flag({i}):\n        return {i}\n" for i in range(count))
        return f"def f():\n{early}    return -1\nself.x = f()"

    assert isinstance(made.attributes(body(60))["x"], Unknown)  # 2**60 ways would never end
    assert possible(made.attributes(body(3))["x"]) == {0, 1, 2, -1}


def test_a_change_on_one_side_is_not_seen_on_the_other(made: Any) -> None:
    body = """
    log, seen = [], []
    if foreign.flag():
        log.append("first")
        seen = list(log)
    else:
        seen = list(log) + ["second"]
    self.x = seen[0]
    """
    assert possible(made.attributes(body)["x"]) == {"first", "second"}


def test_where_every_side_raises_the_exception_stands(made: Any) -> None:
    body = """
    try:
        if foreign.flag():
            raise KeyError("k")
        else:
            raise ValueError("v")
    except KeyError:
        self.x = "caught"
    """
    assert made.attributes(body)["x"] == "caught"


def test_a_value_that_may_be_unbound_is_bound_where_it_is_read(made: Any) -> None:
    body = "if foreign.flag():\n    a = 4\nself.x = a + 1"
    assert made.attributes(body)["x"] == 5


def test_an_attribute_that_may_be_unset_shows_as_what_it_is_where_set(made: Any) -> None:
    assert possible(made.attributes(f"{FLAG}self.x = 4")["x"]) == {4}
