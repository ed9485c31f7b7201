"""Elaboration of Python: what a constructor assigns is what Python would have assigned.

In these sources `foreign` is a package that is not elaborated: `foreign.flag()` is not known.
"""

from __future__ import annotations

import textwrap
from typing import Any

import pytest

from fibcore.tree import Alternatives, Unknown

# The body of a constructor, and module-level code before the class. Python runs both here, and the
# elaboration has to come to the same: the expectation is Python's own.
SAME_AS_PYTHON: dict[str, tuple[str, str]] = {
    "arithmetic": (
        "self.x = (7 // 2, -7 // 2, 7 % 4, 2**5, 1 << 3, 6 & 3, 6 | 1, 6 ^ 3, ~5, 3 / 2)",
        "",
    ),
    "comparisons": ("self.x = (1 < 2 <= 2, 1 < 3 < 2, 'a' in 'ab', 3 not in [1, 2])", ""),
    "boolean operators give operands": ("self.x = (0 or 'b', 1 and 'c', not 0, None or [])", ""),
    "conditional expression": ("self.x = 'a' if 1 > 2 else 'b'", ""),
    "containers": (
        "a = [1, *(2, 3)]\nd = {'k': 1, **{'l': 2}}\nself.x = (a[-1], a[1:], d['l'], len({1, 1, 2}))",
        "",
    ),
    "unpacking": (
        "a, (b, *c), d = 1, (2, 3, 4), 5\n(e, f), *g = [(1, 2), 3]\nself.x = (a, b, c, d, e, f, g)",
        "",
    ),
    "chained and augmented assignment": (
        "a = b = 2\na += 3\nc = [1]\nc += [2]\nd = {'n': 1}\nd['n'] *= 7\nself.x = (a, b, c, d)",
        "",
    ),
    "aliases see a change": ("a = [1]\nb = a\nb.append(2)\na += [3]\nself.x = (a, b)", ""),
    "walrus": ("if (n := 5) > 3:\n    self.x = (n, [m := n + 1, m])", ""),
    "f-strings": (
        "v = 3.14159\nw = 6\nself.x = f'{v:.2f}|{w:>{w}}|{\"s\"!r}|{w}|{{}}'",
        "",
    ),
    "string methods": (
        "self.x = ('a.b.c'.split('.')[-1], 'x{}y'.format(3), '%s' % 'z', 'ab'.replace('a', 'c'))",
        "",
    ),
    "while with break and else": (
        "n = 0\nwhile n < 10:\n    n += 1\n    if n == 4:\n        break\nelse:\n    n = -1\n"
        "m = 0\nwhile m < 2:\n    m += 1\nelse:\n    m = 7\nself.x = (n, m)",
        "",
    ),
    "for with continue and else": (
        "out = []\nfor i, c in enumerate('abcd'):\n    if c == 'b':\n        continue\n"
        "    out.append((i, c))\nelse:\n    out.append('end')\nself.x = out",
        "",
    ),
    "comprehensions": (
        "self.x = ([a * b for a in range(3) for b in (1, 2) if a != b], "
        "{k: v for k, v in zip('ab', (1, 2))}, sorted({n % 3 for n in range(9)}), "
        "sum(n for n in range(5)), [a for a in range(6) if a % 2 if a > 1])",
        "",
    ),
    "builtins": (
        "self.x = (max(3, 1), min([4, 2]), sum([1, 2]), abs(-3), round(2.6), int('4'), float('1.5'), "
        "str(12), bool([]), divmod(7, 2), sorted([3, 1, 2], reverse=True), list(reversed((1, 2))), "
        "any([0, 1]), all([1, 0]), list(map(lambda v: v + 1, [1, 2])), "
        "list(filter(None, [0, 3])), next(iter([9])), next((i for i in []), 5), "
        "isinstance(3, (int, str)), dict(a=1), tuple('ab'), callable(len))",
        "",
    ),
    "standard library": (
        "self.x = (math.ceil(2.1), math.sqrt(16), functools.reduce(lambda a, b: a * b, [2, 3, 4]), "
        "list(itertools.chain([1], [2])), bool(re.match('a+', 'aab')), math.prod([2, 5]))",
        "import functools, itertools, math, re",
    ),
    "match": (
        "out = []\nfor v in (1, 'b', None, 9):\n    match v:\n        case 1 | 2:\n"
        "            out.append('few')\n        case 'b':\n            out.append('text')\n"
        "        case None:\n            out.append('none')\n        case n if n > 5:\n"
        "            out.append(n)\nself.x = out",
        "",
    ),
    "closures keep their own variables": (
        "def counter(start):\n    def add(n):\n        return start + n\n    return add\n"
        "one, ten = counter(1), counter(10)\nfns = [lambda i=i: i * 10 for i in range(2)]\n"
        "self.x = (one(2), ten(2), [f() for f in fns])",
        "",
    ),
    "arguments of every kind": (
        "self.x = (f(1, 2), f(1, b=5, d=6, z=0), f(*(1, 2, 3), **{'d': 4}))",
        "def f(a, b=10, *args, c=3, d=None, **kwargs):\n    return (a, b, args, c, d, kwargs)",
    ),
    "positional-only arguments": ("self.x = f(1, a=2)", "def f(a, /, **k):\n    return (a, k)"),
    "partial": (
        "self.x = (p(3), p(b=1), p.args)",
        "from functools import partial\ndef f(a, b=0):\n    return (a, b)\np = partial(f, 1)",
    ),
    "recursion": ("self.x = f(6)", "def f(n):\n    return 1 if n < 2 else n * f(n - 1)"),
    "generators": (
        "self.x = (list(g(3)), [*h()], sum(g(4)))",
        "def g(n):\n    for i in range(n):\n        yield i * i\n"
        "def h():\n    yield 0\n    yield from g(2)",
    ),
    "context manager": (
        "with manager(4) as v, contextlib.nullcontext(2) as w:\n    self.x = (v, w)",
        "import contextlib\n@contextlib.contextmanager\ndef manager(v):\n    yield v + 1",
    ),
    "try, except, else, finally": (
        "out = []\n"
        "try:\n    {}['k']\nexcept (IndexError, KeyError) as error:\n    out.append('caught')\n"
        "else:\n    out.append('no')\nfinally:\n    out.append('last')\n"
        "try:\n    1 // 0\nexcept ArithmeticError:\n    out.append('zero')\n"
        "try:\n    raise ValueError('v')\nexcept Exception:\n    out.append('any')\n"
        "try:\n    out.append('fine')\nexcept Exception:\n    out.append('no')\nelse:\n"
        "    out.append('else')\nself.x = out",
        "",
    ),
    "an uncaught kind passes through the inner try": (
        "try:\n    try:\n        [][0]\n    except KeyError:\n        self.x = 'wrong'\n"
        "except IndexError:\n    self.x = 'right'",
        "",
    ),
    "global": (
        "bump()\nbump()\nself.x = COUNT",
        "COUNT = 1\ndef bump():\n    global COUNT\n    COUNT += 1",
    ),
    "nonlocal reads and writes within its function": (
        "def outer():\n    n = 1\n    def inner():\n        nonlocal n\n        n += 1\n        return n\n"
        "    return inner()\nself.x = outer()",
        "",
    ),
    "delete": ("a = [1, 2, 3]\nd = {'k': 1}\ndel a[0], d['k']\nself.x = (a, d)", ""),
    "class attributes, methods and properties": (
        "b = B(3)\nself.x = (b.n, B.kind, b.kind, b.double, B.make(4).n, b.plain(1), b.cached)",
        "import functools\nclass B:\n    kind = 'b'\n    def __init__(self, n):\n        self.n = n\n"
        "    @property\n    def double(self):\n        return self.n * 2\n"
        "    @classmethod\n    def make(cls, n):\n        return cls(n)\n"
        "    @staticmethod\n    def plain(v):\n        return v + 1\n"
        "    @functools.cached_property\n    def cached(self):\n        return [self.n]",
    ),
    "inheritance in C3 order with super": (
        "self.x = (D().names, [c.__name__ for c in (A, B, C, D)], isinstance(D(), A))",
        "class A:\n    def __init__(self):\n        self.names = ['A']\n"
        "class B(A):\n    def __init__(self):\n        super().__init__()\n        self.names += ['B']\n"
        "class C(A):\n    def __init__(self):\n        super().__init__()\n        self.names += ['C']\n"
        "class D(B, C):\n    def __init__(self):\n        super(D, self).__init__()\n"
        "        self.names += ['D']",
    ),
    "class bodies see their own names": (
        "self.x = (K.width, K.double, K().area())",
        "class K:\n    width = 4\n    double = width * 2\n    def area(self):\n"
        "        return self.width * self.double",
    ),
    "special methods": (
        "v = V([1, 2])\nself.x = (len(v), v[1], bool(V([])), V(5)(2), (V(1) + V(2)).v, 2 in v)",
        "class V:\n    def __init__(self, v):\n        self.v = v\n    def __len__(self):\n"
        "        return len(self.v)\n    def __getitem__(self, i):\n        return self.v[i]\n"
        "    def __call__(self, n):\n        return self.v * n\n    def __add__(self, other):\n"
        "        return V(self.v + other.v)\n    def __contains__(self, n):\n"
        "        return n in self.v",
    ),
    "getattr, setattr, hasattr on objects": (
        "o = O()\nsetattr(o, 'a', 5)\n"
        "self.x = (getattr(o, 'a'), getattr(o, 'b', 7), hasattr(o, 'a'), hasattr(o, 'b'))",
        "class O:\n    pass",
    ),
    "dataclasses": (
        "p = P(1, c=9)\nself.x = (p.a, p.b, p.c, p.total, P(2).c)",
        "from dataclasses import dataclass, field\nfrom typing import Any\n@dataclass\nclass Q:\n"
        "    a: int\n    b: list = field(default_factory=list)\n@dataclass\nclass P(Q):\n"
        "    c: int = 3\n    total: Any = None\n    def __post_init__(self):\n"
        "        self.total = self.a + self.c",
    ),
    "named tuples": (
        "p = P(1, y=5)\nself.x = (p.x, p.y, p.z, p.area())",
        "from typing import NamedTuple\nclass P(NamedTuple):\n    x: int\n    y: int\n    z: int = 7\n"
        "    def area(self):\n        return self.x * self.y",
    ),
    "enumerations": (
        "c = Colour.RED\nself.x = (c.value, c.name, c is Colour.RED, c == Colour.BLUE, Colour('b').name,"
        " Colour['BLUE'].value, [m.name for m in Colour], c.is_red(), Level.LOW < Level.HIGH,"
        " Level.HIGH == 2, c in (Colour.RED,))",
        "from enum import Enum, IntEnum, auto\nclass Colour(Enum):\n    RED = 'r'\n    BLUE = 'b'\n"
        "    def is_red(self):\n        return self is Colour.RED\n"
        "class Level(IntEnum):\n    LOW = auto()\n    HIGH = auto()",
    ),
    "module-level tables that later statements fill": (
        "self.x = (TABLE, NAMES, VALUE)",
        "TABLE = {'a': 1}\nTABLE['b'] = 2\nTABLE.update(c=3)\nNAMES = []\n"
        "for name in ('u', 'v'):\n    NAMES.append(name)\n"
        "if len(NAMES) == 2:\n    VALUE = 'two'\nelse:\n    VALUE = 'other'",
    ),
    "functions that call what is defined below them": (
        "self.x = first()",
        "def first():\n    return second() + OFFSET\ndef second():\n    return 2\nOFFSET = 40",
    ),
    "decorators that change nothing": (
        "self.x = f(3)",
        "import functools\n@functools.lru_cache(maxsize=None)\ndef f(n):\n    return n + 1",
    ),
    "lambdas with defaults": ("f = lambda a, b=2: a * b\nself.x = (f(3), f(3, 4))", ""),
    "loop variables stay": ("for i in range(3):\n    pass\nself.x = i", ""),
    "short circuits": ("self.x = (False and 1 // 0, True or 1 // 0, [] and [][0])", ""),
    "slices": ("a = list(range(6))\na[1:3] = [9]\nself.x = (a[::-1], a[:2], 'abcdef'[1:4])", ""),
    "sets": ("s = {1, 2}\ns.add(3)\ns |= {4}\nself.x = sorted(s - {1})", ""),
    "dict views": (
        "d = {'a': 1, 'b': 2}\nself.x = (list(d), list(d.values()), d.get('z', 0), d.pop('a'),"
        " sorted(d.items()), d.setdefault('q', 4), 'q' in d)",
        "",
    ),
}


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
def test_same_as_python(made: Any, name: str) -> None:
    body, before = SAME_AS_PYTHON[name]
    expected = python_says(body, before)
    found = made.attributes(body, before)["x"]
    assert found == expected
    assert type(found) is type(expected) or isinstance(found, type(expected))


def test_what_is_not_known_says_why_and_where(made: Any) -> None:
    found = made.attributes("self.x = foreign.flag() + 1")["x"]
    assert isinstance(found, Unknown)
    assert "foreign.flag" in found.reason
    assert str(found.place) == "sglang/srt/models/made.py:7"


def test_an_unbound_name_is_not_known(made: Any) -> None:
    found = made.attributes("self.x = nowhere")["x"]
    assert isinstance(found, Unknown)
    assert "nowhere" in found.reason


def test_syntax_that_is_not_evaluated_is_not_known(made: Any) -> None:
    assert isinstance(made.attributes("self.x = f()", "async def f():\n    pass")["x"], Unknown)


def test_a_function_with_unknown_arguments_still_gives_what_does_not_depend_on_them(
    made: Any,
) -> None:
    found = made.attributes("self.x = f(foreign.flag())", "def f(a):\n    return (a, 5)")["x"]
    assert isinstance(found[0], Unknown)
    assert found[1] == 5


def test_a_loop_that_never_ends_is_left(made: Any) -> None:
    found = made.attributes("n = 0\nwhile True:\n    n += 1\nself.x = n")["x"]
    assert not isinstance(found, int) or found > 1000


def test_recursion_without_an_end_is_left(made: Any) -> None:
    assert isinstance(
        made.attributes("self.x = f(0)", "def f(n):\n    return f(n + 1)")["x"], Unknown
    )


@pytest.mark.parametrize(
    "body",
    [
        "self.x = 10 ** 10 ** 10",
        "self.x = 1 << 10 ** 9",
        "self.x = [0] * 10 ** 12",
        "self.x = 'a' * 10 ** 12",
    ],
)
def test_values_that_would_not_fit_into_memory_are_not_computed(made: Any, body: str) -> None:
    assert isinstance(made.attributes(body)["x"], Unknown)


def test_looping_over_too_much_is_not_known(made: Any) -> None:
    body = "n = 0\nfor i in range(10**12):\n    n = i\nself.x = n"
    assert isinstance(made.attributes(body)["x"], (Unknown, Alternatives))
