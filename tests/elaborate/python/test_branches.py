"""Branches that cannot be decided: both sides run, what they write is merged, nothing is guessed.

`foreign.flag()` is not known. The values that a variable may have are given as a set here; a
single value stands for itself.
"""

from __future__ import annotations

import ast
from typing import Any

import pytest

from fibcore.model.tree import Alternatives, Unknown


def cases(text: str) -> dict[str, tuple[str, str]]:
    """Sources by their `## name`: the constructor's body, and what stands before the class."""
    found = {}
    for part in text.split("## ")[1:]:
        name, _, source = part.partition("\n")
        before, _, body = source.rpartition("--\n")
        found[name] = (body, before)
    return found


FLAG = "if foreign.flag():\n    "

ONE_OF = cases(
    """\
## both sides => {1, 2}
if foreign.flag():
    self.x = 1
else:
    self.x = 2

## one side over what was there => {0, 1}
self.x = 0
if foreign.flag():
    self.x = 1

## equal sides are one value => {3}
if foreign.flag():
    self.x = 3
else:
    self.x = 3

## a side that raises is not taken => {3}
if foreign.flag():
    raise ValueError('no')
self.x = 3

## a side that fails an assertion is not taken => {2}
n = 7
if foreign.flag():
    assert n % 2 == 0
    self.x = 1
else:
    self.x = 2

## what comes after a return on one side => {1, 2}
def f():
    if foreign.flag():
        self.x = 1
        return
    self.x = 2
f()

## returned values => {1, 2}
def f():
    if foreign.flag():
        return 1
    return 2
--
self.x = f()

## returned values of a chain => {1, 2, 3}
def f():
    if foreign.flag():
        return 1
    elif foreign.other():
        return 2
    elif foreign.third():
        pass
    return 3
--
self.x = f()

## a return in a loop => {0, 1, 9}
def f():
    for i in range(2):
        if foreign.flag(i):
            return i
    return 9
self.x = f()

## a return that two conditions lead to => {1, 2}
def f():
    if foreign.flag():
        if foreign.other():
            return 1
    return 2
self.x = f()

## a return in a try statement => {1, 2}
def f():
    try:
        if foreign.flag():
            return 1
    finally:
        pass
    return 2
self.x = f()

## a return inside of a decided branch => {0, 2}
self.x = 0
def f():
    if 1 < 2:
        if foreign.flag():
            return
        self.x = 1
    self.x = 2
f()

## a break => {0, 1, 2, 3}
n = 0
for i in range(3):
    if foreign.flag():
        break
    n += 1
self.x = n

## a search that may find several => {0, 1, 2, None}
n = None
for i in range(3):
    if not foreign.flag(i):
        continue
    n = i
    break
self.x = n

## a loop that may not run => {1, 2}
n = 1
while foreign.flag():
    n = 2
self.x = n

## iterating something unknown may not run => {1, 2}
n = 1
for i in foreign.items():
    n = 2
self.x = n

## conditional expression => {1, 2}
self.x = 1 if foreign.flag() else 2

## arithmetic on each => {10, 20}
a = 1 if foreign.flag() else 2
self.x = a * 10

## function calls on each => {'more', 'one'}
def f(a):
    return 'one' if a == 1 else 'more'
--
a = 1 if foreign.flag() else 2
self.x = f(a)

## methods of each => {'b', 'a'}
class A:
    def name(self):
        return 'a'
class B:
    def name(self):
        return 'b'
--
a = A() if foreign.flag() else B()
self.x = a.name()

## a comparison that holds for each => {'yes'}
a = 1 if foreign.flag() else 2
self.x = 'yes' if a > 0 else 'no'

## an alternative on which it raises falls away => {5}
a = 4 if foreign.flag() else None
self.x = a + 1

## attribute of what may be None => {6}
class A:
    n = 6
--
a = A() if foreign.flag() else None
self.x = a.n

## narrowed by `is None` => {5, 7}
a = None
if foreign.flag():
    a = 5
if a is None:
    a = 7
self.x = a

## narrowed by `is not None` and `and` => {0, 5}
a = None
if foreign.flag():
    a = 5
if a is not None and foreign.other():
    self.x = a
else:
    self.x = 0

## narrowed by its truth => {0, 5}
a = None
if foreign.flag():
    a = 5
if a:
    self.x = a
else:
    self.x = 0

## narrowed in a conditional expression => {8, 5}
a = 5 if foreign.flag() else None
self.x = 8 if a is None else a

## narrowed after an early return => {'none', 5}
def f(a):
    if a is None:
        return 'none'
    return a
--
self.x = f(5 if foreign.flag() else None)

## narrowed behind an assertion => {5}
a = None
if foreign.flag():
    a = 5
assert a is not None
self.x = a

## an assertion that may not hold and is handled leaves both => {5, None}
a = None
try:
    if foreign.flag():
        a = 5
    assert a is not None
except AssertionError:
    pass
self.x = a

## narrowed attribute => {9, 5}
class O:
    pass
--
o = O()
o.a = 5 if foreign.flag() else None
if o.a is None:
    o.a = 9
self.x = o.a

## what is unknown and true or false at the end of `and` => {False, None}
self.x = (not foreign.flag()) and None

## a question of identity is no other value at the end of `and` => {False}
self.x = (foreign.flag() is None) and False

## `or` of what is true or false => {True, 4}
self.x = (foreign.flag() in (1, 2)) or 4

## `or` drops what is false => {8, 3}
a = 3 if foreign.flag() else None
self.x = a or 8

## `and` drops what is true => {0, 8}
a = 3 if foreign.flag() else 0
self.x = a and 8

## `unknown or True` is true => {1}
self.x = 1 if foreign.flag() or True else 2

## a condition `unknown and False` is false => {2}
self.x = 1 if foreign.flag() and False else 2

## `unknown or a list` is true => {1}
self.x = 1 if foreign.flag() or [0] else 2

## `not (unknown or 1)` is false => {False}
self.x = not (foreign.flag() or 1)

## alternatives do not nest => {1, 2, 3}
a = 1 if foreign.flag() else 2
self.x = a if foreign.other() else 3

## match without a decision => {'other', 'one'}
match foreign.flag():
    case 1:
        self.x = 'one'
    case _:
        self.x = 'other'

## match that may match nothing => {'one', 'none'}
self.x = 'none'
match foreign.flag():
    case 1:
        self.x = 'one'

## dict entries changed on one side => {1, 2}
d = {'k': 1}
if foreign.flag():
    d['k'] = 2
self.x = d['k']

## dict entries that may be missing => {2, 7}
d = {}
if foreign.flag():
    d.update(k=2)
self.x = d.get('k', 7)

## attributes set on one side => {1, 7}
class O:
    pass
--
o = O()
if foreign.flag():
    o.a = 1
self.x = getattr(o, 'a', 7)

## a list filled differently => {1, 2}
a = []
if foreign.flag():
    a.append(1)
else:
    a.append(2)
self.x = a[0]

## module-level branch => {1, 2}
if foreign.flag():
    SIZE = 1
else:
    SIZE = 2
--
self.x = SIZE

## keyword arguments of either dict => {2, 5}
def f(a, b=5):
    return b
--
k = {'b': 2} if foreign.flag() else {}
self.x = f(1, **k)

## unpacking either tuple => {1, 2}
a, b = (1, 9) if foreign.flag() else (2, 9)
self.x = a if b == 9 else 'no'
"""
)


def possible(value: Any) -> set[Any]:
    values = value.values if isinstance(value, Alternatives) else (value,)
    assert not any(isinstance(v, Alternatives) for v in values)
    return set(values)


@pytest.mark.parametrize("name", ONE_OF)
def test_one_of(plain: Any, name: str) -> None:
    body, before = ONE_OF[name]
    expected = ast.literal_eval(name.partition(" => ")[2])
    assert possible(plain.attributes(body, before)["x"]) == expected


NOT_KNOWN = cases(
    """\
## or with something else
self.x = foreign.flag() or 5

## length of a list changed on one side
a = [1]
if foreign.flag():
    a.append(2)
self.x = len(a)

## whether a key is there
d = {}
if foreign.flag():
    d['k'] = 1
self.x = 'k' in d

## whether an attribute is there
o = O()
if foreign.flag():
    o.a = 1
self.x = hasattr(o, 'a')

## filtered by something unknown
self.x = [i for i in range(3) if foreign.flag()]

## text with something unknown
self.x = f'model.{foreign.flag()}'

## a sum with something unknown
self.x = sum([1, foreign.flag()])

## a comparison
self.x = 3 < foreign.flag()

## an unknown function
self.x = (f if foreign.flag() else foreign.f)(1) + 1
"""
)


@pytest.mark.parametrize("name", NOT_KNOWN)
def test_not_known(plain: Any, name: str) -> None:
    before = "class O:\n    pass\ndef f(a):\n    return foreign.g()"
    found = plain.attributes(NOT_KNOWN[name][0], before)["x"]
    values = found.values if isinstance(found, Alternatives) else (found,)
    unknown = [v for v in values if isinstance(v, Unknown)]
    assert unknown
    assert all(v.reason for v in unknown)


def test_entries_behind_a_doubtful_one_are_not_known(plain: Any) -> None:
    body = "a = [1]\nif foreign.flag():\n    a.append(2)\na.append(3)\nself.x = a"
    found = plain.attributes(body)["x"]
    assert found[0] == 1
    assert isinstance(found[1], Unknown)
    assert "branch" in found[1].reason
    assert "foreign.flag()" in found[1].reason


def test_alternatives_are_capped(plain: Any) -> None:
    body = "v = 0\n" + "".join(f"{FLAG}v = v + {2**i}\n" for i in range(20)) + "self.x = v"
    found = plain.attributes(body)["x"]
    assert isinstance(found, Unknown)
    assert "alternatives" in found.reason


def test_the_cost_of_undecided_branches_does_not_multiply(plain: Any) -> None:
    def body(count: int) -> str:
        early = "".join(f"    if foreign.flag({i}):\n        return {i}\n" for i in range(count))
        return f"def f():\n{early}    return -1\nself.x = f()"

    assert isinstance(plain.attributes(body(60))["x"], Unknown)  # 2**60 ways would never end
    assert possible(plain.attributes(body(3))["x"]) == {0, 1, 2, -1}


def test_a_change_on_one_side_is_not_seen_on_the_other(plain: Any) -> None:
    body = """
    log, seen = [], []
    if foreign.flag():
        log.append("first")
        seen = list(log)
    else:
        seen = list(log) + ["second"]
    self.x = seen[0]
    """
    assert possible(plain.attributes(body)["x"]) == {"first", "second"}


def test_where_every_side_raises_the_exception_stands(plain: Any) -> None:
    body = """
    try:
        if foreign.flag():
            raise KeyError("k")
        else:
            raise ValueError("v")
    except KeyError:
        self.x = "caught"
    """
    assert plain.attributes(body)["x"] == "caught"


def test_a_value_that_may_be_unbound_is_bound_where_it_is_read(plain: Any) -> None:
    body = "if foreign.flag():\n    a = 4\nself.x = a + 1"
    assert plain.attributes(body)["x"] == 5


def test_an_attribute_that_may_be_unset_shows_as_what_it_is_where_set(plain: Any) -> None:
    assert possible(plain.attributes(f"{FLAG}self.x = 4")["x"]) == {4}


def test_deleting_an_unhashable_key_is_no_crash(plain: Any) -> None:
    # Python would raise where the branch is taken; whether it is, is not known.
    body = "table = {1: 2}\nif foreign.flag():\n    del table[(1, {})]\nself.x = table[1]"
    assert plain.attributes(body)["x"] == 2
