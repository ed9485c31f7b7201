"""Evaluation of Python: what a function assigns is what Python would have assigned.

In these sources `foreign` is a package that is not evaluated: `foreign.flag()` is not known.
"""

from __future__ import annotations

import textwrap
from typing import Any

import pytest

from fibcore.elaborate.python import budget
from fibcore.elaborate.python.budget import Exhausted
from fibcore.elaborate.python.values import Raised
from fibcore.model.tree import Unknown


def cases(text: str) -> dict[str, tuple[str, str]]:
    """Sources by their `## name`: the constructor's body, and what stands before the class."""
    found = {}
    for part in text.split("## ")[1:]:
        name, _, source = part.partition("\n")
        before, _, body = source.rpartition("--\n")
        found[name] = (body, before)
    return found


# The body of a constructor, and module-level code before the class. Python runs both here, and the
# elaboration has to come to the same: the expectation is Python's own.
SAME_AS_PYTHON = cases(
    """\
## records tell their fields
import dataclasses
from dataclasses import dataclass, fields
@dataclass
class R:
    a: int
    b: int = 2
--
r = R(1)
self.x = ([f.name for f in fields(R)], dataclasses.asdict(r), dataclasses.is_dataclass(r))
self.y = dataclasses.replace(r, b=5).b

## a caught exception raised again is the same exception
def f(x):
    try:
        raise KeyError(x)
    except Exception as e:
        raise e
def g(x):
    try:
        raise KeyError(x)
    except Exception:
        raise
--
for function in (f, g):
    try:
        function('k')
    except KeyError:
        self.x = 'KeyError'
    except Exception:
        self.x = 'another'

## parts of an array
import numpy as np
--
self.x = [part.tolist() for part in np.array_split(range(7), 3)]
self.y = np.array_split(range(8), 1)[0].tolist()

## a number has no length
try:
    self.x = len(4)
except TypeError:
    self.x = 'TypeError'

## string methods take keywords
self.x = 'a,b,c'.split(sep=',', maxsplit=1)

## arithmetic
self.x = (7 // 2, -7 // 2, 7 % 4, 2**5, 1 << 3, 6 & 3, 6 | 1, 6 ^ 3, ~5, 3 / 2)

## comparisons
self.x = (1 < 2 <= 2, 1 < 3 < 2, 'a' in 'ab', 3 not in [1, 2])

## boolean operators give operands
self.x = (0 or 'b', 1 and 'c', not 0, None or [])

## conditional expression
self.x = 'a' if 1 > 2 else 'b'

## containers
a = [1, *(2, 3)]
d = {'k': 1, **{'l': 2}}
self.x = (a[-1], a[1:], d['l'], len({1, 1, 2}))

## unpacking
a, (b, *c), d = 1, (2, 3, 4), 5
(e, f), *g = [(1, 2), 3]
self.x = (a, b, c, d, e, f, g)

## chained and augmented assignment
a = b = 2
a += 3
c = [1]
c += [2]
d = {'n': 1}
d['n'] *= 7
self.x = (a, b, c, d)

## aliases see a change
a = [1]
b = a
b.append(2)
a += [3]
self.x = (a, b)

## walrus
if (n := 5) > 3:
    self.x = (n, [m := n + 1, m])

## f-strings
v = 3.14159
w = 6
self.x = f'{v:.2f}|{w:>{w}}|{"s"!r}|{w}|{{}}'

## string methods
self.x = ('a.b.c'.split('.')[-1], 'x{}y'.format(3), '%s' % 'z', 'ab'.replace('a', 'c'))

## while with break and else
n = 0
while n < 10:
    n += 1
    if n == 4:
        break
else:
    n = -1
m = 0
while m < 2:
    m += 1
else:
    m = 7
self.x = (n, m)

## for with continue and else
out = []
for i, c in enumerate('abcd'):
    if c == 'b':
        continue
    out.append((i, c))
else:
    out.append('end')
self.x = out

## comprehensions
self.x = (
    [a * b for a in range(3) for b in (1, 2) if a != b], {k: v for k, v in zip('ab', (1, 2))},
    sorted({n % 3 for n in range(9)}), sum((n for n in range(5))),
    [a for a in range(6) if a % 2 if a > 1],
)

## builtins
self.x = (
    max(3, 1), min([4, 2]), sum([1, 2]), abs(-3), round(2.6), int('4'), float('1.5'), str(12),
    bool([]), divmod(7, 2), sorted([3, 1, 2], reverse=True), list(reversed((1, 2))),
    any([0, 1]), all([1, 0]), list(map(lambda v: v + 1, [1, 2])), list(filter(None, [0, 3])),
    next(iter([9])), next((i for i in []), 5), isinstance(3, (int, str)), dict(a=1),
    tuple('ab'), callable(len),
)

## standard library
import functools, itertools, math, re
--
self.x = (
    math.ceil(2.1), math.sqrt(16), functools.reduce(lambda a, b: a * b, [2, 3, 4]),
    list(itertools.chain([1], [2])), bool(re.match('a+', 'aab')), math.prod([2, 5]),
)

## match
out = []
for v in (1, 'b', None, 9):
    match v:
        case 1 | 2:
            out.append('few')
        case 'b':
            out.append('text')
        case None:
            out.append('none')
        case n if n > 5:
            out.append(n)
self.x = out

## closures keep their own variables
def counter(start):
    def add(n):
        return start + n
    return add
one, ten = counter(1), counter(10)
fns = [lambda i=i: i * 10 for i in range(2)]
self.x = (one(2), ten(2), [f() for f in fns])

## arguments of every kind
def f(a, b=10, *args, c=3, d=None, **kwargs):
    return (a, b, args, c, d, kwargs)
--
self.x = (f(1, 2), f(1, b=5, d=6, z=0), f(*(1, 2, 3), **{'d': 4}))

## positional-only arguments
def f(a, /, **k):
    return (a, k)
--
self.x = f(1, a=2)

## partial
from functools import partial
def f(a, b=0):
    return (a, b)
p = partial(f, 1)
--
self.x = (p(3), p(b=1), p.args)

## recursion
def f(n):
    return 1 if n < 2 else n * f(n - 1)
--
self.x = f(6)

## generators
def g(n):
    for i in range(n):
        yield i * i
def h():
    yield 0
    yield from g(2)
--
self.x = (list(g(3)), [*h()], sum(g(4)))

## context manager
import contextlib
@contextlib.contextmanager
def manager(v):
    yield v + 1
--
with manager(4) as v, contextlib.nullcontext(2) as w:
    self.x = (v, w)

## try, except, else, finally
out = []
try:
    {}['k']
except (IndexError, KeyError) as error:
    out.append('caught')
else:
    out.append('no')
finally:
    out.append('last')
try:
    1 // 0
except ArithmeticError:
    out.append('zero')
try:
    raise ValueError('v')
except Exception:
    out.append('any')
try:
    out.append('fine')
except Exception:
    out.append('no')
else:
    out.append('else')
self.x = out

## an uncaught kind passes through the inner try
try:
    try:
        [][0]
    except KeyError:
        self.x = 'wrong'
except IndexError:
    self.x = 'right'

## global
COUNT = 1
def bump():
    global COUNT
    COUNT += 1
--
bump()
bump()
self.x = COUNT

## nonlocal
def outer():
    n, m = 1, 5
    def inner():
        nonlocal n
        n += 1
        m = 0
        return n + m
    return (inner(), inner(), n, m)
self.x = outer()

## delete
a = [1, 2, 3]
d = {'k': 1}
del a[0], d['k']
self.x = (a, d)

## class attributes, methods and properties
import functools
class B:
    kind = 'b'
    def __init__(self, n):
        self.n = n
    @property
    def double(self):
        return self.n * 2
    @classmethod
    def make(cls, n):
        return cls(n)
    @staticmethod
    def plain(v):
        return v + 1
    @functools.cached_property
    def cached(self):
        return [self.n]
--
b = B(3)
self.x = (b.n, B.kind, b.kind, b.double, B.make(4).n, b.plain(1), b.cached)

## inheritance in C3 order with super
class A:
    def __init__(self):
        self.names = ['A']
class B(A):
    def __init__(self):
        super().__init__()
        self.names += ['B']
class C(A):
    def __init__(self):
        super().__init__()
        self.names += ['C']
class D(B, C):
    def __init__(self):
        super(D, self).__init__()
        self.names += ['D']
--
self.x = (D().names, [c.__name__ for c in (A, B, C, D)], isinstance(D(), A))

## class bodies see their own names
class K:
    width = 4
    double = width * 2
    def area(self):
        return self.width * self.double
--
self.x = (K.width, K.double, K().area())

## special methods
class V:
    def __init__(self, v):
        self.v = v
    def __len__(self):
        return len(self.v)
    def __getitem__(self, i):
        return self.v[i]
    def __call__(self, n):
        return self.v * n
    def __add__(self, other):
        return V(self.v + other.v)
    def __contains__(self, n):
        return n in self.v
--
v = V([1, 2])
self.x = (len(v), v[1], bool(V([])), V(5)(2), (V(1) + V(2)).v, 2 in v)

## getattr, setattr, hasattr on objects
class O:
    pass
--
o = O()
setattr(o, 'a', 5)
self.x = (getattr(o, 'a'), getattr(o, 'b', 7), hasattr(o, 'a'), hasattr(o, 'b'))

## dataclasses
from dataclasses import dataclass, field
from typing import Any
@dataclass
class Q:
    a: int
    b: list = field(default_factory=list)
@dataclass
class P(Q):
    c: int = 3
    total: Any = None
    def __post_init__(self):
        self.total = self.a + self.c
--
p = P(1, c=9)
self.x = (p.a, p.b, p.c, p.total, P(2).c)

## named tuples
from typing import NamedTuple
class P(NamedTuple):
    x: int
    y: int
    z: int = 7
    def area(self):
        return self.x * self.y
--
p = P(1, y=5)
self.x = (p.x, p.y, p.z, p.area())

## enumerations
from enum import Enum, IntEnum, auto
class Colour(Enum):
    RED = 'r'
    BLUE = 'b'
    def is_red(self):
        return self is Colour.RED
class Level(IntEnum):
    LOW = auto()
    HIGH = auto()
--
c = Colour.RED
self.x = (
    c.value, c.name, c is Colour.RED, c == Colour.BLUE, Colour('b').name, Colour['BLUE'].value,
    [m.name for m in Colour], c.is_red(), Level.LOW < Level.HIGH, Level.HIGH == 2,
    c in (Colour.RED,),
)

## module-level tables that later statements fill
TABLE = {'a': 1}
TABLE['b'] = 2
TABLE.update(c=3)
NAMES = []
for name in ('u', 'v'):
    NAMES.append(name)
if len(NAMES) == 2:
    VALUE = 'two'
else:
    VALUE = 'other'
--
self.x = (TABLE, NAMES, VALUE)

## functions that call what is defined below them
def first():
    return second() + OFFSET
def second():
    return 2
OFFSET = 40
--
self.x = first()

## decorators that change nothing
import functools
@functools.lru_cache(maxsize=None)
def f(n):
    return n + 1
--
self.x = f(3)

## lambdas with defaults
f = lambda a, b=2: a * b
self.x = (f(3), f(3, 4))

## loop variables stay
for i in range(3):
    pass
self.x = i

## short circuits
self.x = (False and 1 // 0, True or 1 // 0, [] and [][0])

## slices
a = list(range(6))
a[1:3] = [9]
self.x = (a[::-1], a[:2], 'abcdef'[1:4])

## sets
s = {1, 2}
s.add(3)
s |= {4}
self.x = sorted(s - {1})

## dict views
d = {'a': 1, 'b': 2}
self.x = (
    list(d), list(d.values()), d.get('z', 0), d.pop('a'), sorted(d.items()),
    d.setdefault('q', 4), 'q' in d,
)
"""
)


def python_says(body: str, before: str) -> Any:
    scope: dict[str, Any] = {}
    exec(before, scope)  # noqa: S102 - the sources above
    code = f"def run(self):\n{textwrap.indent(body, '    ')}\n"
    exec(code, scope)  # noqa: S102

    class Self:
        x: Any

    run_on = Self()
    scope["run"](run_on)
    return run_on.x


@pytest.mark.parametrize("name", SAME_AS_PYTHON)
def test_same_as_python(plain: Any, name: str) -> None:
    body, before = SAME_AS_PYTHON[name]
    expected = python_says(body, before)
    found = plain.attributes(body, before)["x"]
    assert found == expected
    assert type(found) is type(expected) or isinstance(found, type(expected))


def test_what_is_not_known_says_why_and_where(plain: Any) -> None:
    found = plain.attributes("self.x = foreign.flag() + 1")["x"]
    assert isinstance(found, Unknown)
    assert "foreign.flag" in found.reason
    assert str(found.place) == "made.py:5"


def test_a_name_that_nothing_binds_raises(plain: Any) -> None:
    with pytest.raises(Raised, match="nowhere"):
        plain.attributes("self.x = nowhere")


def test_a_name_that_a_foreign_star_may_bind_is_not_known(plain: Any) -> None:
    found = plain.attributes("self.x = nowhere", "from foreign import *")["x"]
    assert isinstance(found, Unknown)
    assert "nowhere" in found.reason


def test_syntax_that_is_not_evaluated_is_not_known(plain: Any) -> None:
    assert isinstance(plain.attributes("self.x = f()", "async def f():\n    pass")["x"], Unknown)


def test_a_function_with_unknown_arguments_still_gives_what_does_not_depend_on_them(
    plain: Any,
) -> None:
    found = plain.attributes("self.x = f(foreign.flag())", "def f(a):\n    return (a, 5)")["x"]
    assert isinstance(found[0], Unknown)
    assert found[1] == 5


def test_a_loop_that_never_ends_is_left(plain: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # With all of its steps a slow machine would meet the bound on time first.
    monkeypatch.setattr(budget, "MAX_STEPS", 100_000)
    with pytest.raises(Exhausted, match=r"more than [\d,]+ steps \(made.py:\d+\)"):
        plain.attributes("n = 0\nwhile True:\n    n += 1\nself.x = n")


def test_a_loop_of_many_rounds_goes_on(plain: Any) -> None:
    found = plain.attributes("n = 0\nwhile n < 10000:\n    n += 1\nself.x = n")["x"]
    assert found == 10000


def test_a_loop_over_a_long_range_is_left_where_the_source_leaves_it(plain: Any) -> None:
    body = "for i in range(10 ** 30):\n    if i * i > 5000:\n        break\nself.x = i"
    assert plain.attributes(body)["x"] == 71


def test_recursion_without_an_end_is_left(plain: Any) -> None:
    assert isinstance(
        plain.attributes("self.x = f(0)", "def f(n):\n    return f(n + 1)")["x"], Unknown
    )
