"""What random programs share: a module's head, and a function that makes their names anew.

The same text runs in CPython and in the evaluator. `prelude()` gives each program classes and
functions of its own, so that none sees what another one left.
"""

from __future__ import annotations

import textwrap

DEFINITIONS = """
log = []
def note(value):
    log.append(value)
    return value
class Point:
    count = 0
    def __init__(self, x, y=2):
        self.x = x
        self.y = y
        Point.count += 1
    def __eq__(self, other):
        return isinstance(other, Point) and (self.x, self.y) == (other.x, other.y)
    def __hash__(self):
        return hash((self.x, self.y))
    def __lt__(self, other):
        return self.x < other.x
    def __add__(self, other):
        if isinstance(other, Point):
            return Point(self.x + other.x, self.y)
        if isinstance(other, int):
            return Point(self.x + other, self.y)
        return NotImplemented
    def __radd__(self, other):
        return note(other)
    def __iadd__(self, other):
        self.x += other
        return self
    def __neg__(self):
        return Point(-self.x, self.y)
    def __len__(self):
        return abs(self.x) % 5
    def __bool__(self):
        return self.x != 0
    def __getitem__(self, key):
        if key > 2:
            raise IndexError(key)
        return key + self.x
    def __setitem__(self, key, value):
        self.y = (key, value)
    def __contains__(self, item):
        return item == self.x
    def __iter__(self):
        yield self.x
        yield from (self.y,)
    def __call__(self, *args, **kwargs):
        return (self.x, args, sorted(kwargs))
    def __repr__(self):
        return f'Point({self.x!r})'
    def __format__(self, spec):
        return f'<{spec}>'
    @property
    def double(self):
        return self.x * 2
    @double.setter
    def double(self, value):
        self.x = value // 2
    @classmethod
    def make(cls, x):
        return cls(x)
    @staticmethod
    def twice(x):
        return x * 2
class Child(Point):
    def __init__(self, x):
        super().__init__(x, y=3)
    def __add__(self, other):
        return super().__add__(other)
class Context:
    def __init__(self, swallows):
        self.swallows = swallows
    def __enter__(self):
        log.append('enter')
        return 7
    def __exit__(self, kind, error, traceback):
        log.append(('exit', kind and kind.__name__))
        return self.swallows and kind is not None and issubclass(kind, self.swallows)
class Own(ValueError):
    def __init__(self, code, more=0):
        super().__init__(code)
        self.code = code
def numbers(n, *rest, step=1, **more):
    try:
        for i in range(0, n, step):
            got = yield i
            if got:
                log.append(('got', got))
        yield from rest
    except KeyError as error:
        log.append(error.args)
        yield -1
    return len(more)
@contextlib.contextmanager
def managed(value, swallows=False):
    log.append('begin')
    try:
        yield value
    except ArithmeticError as error:
        log.append(type(error).__name__)
        if not swallows:
            raise
    else:
        log.append('no error')
    finally:
        log.append('finish')
def logged(function):
    @functools.wraps(function)
    def call(*args, **kwargs):
        log.append(('call', len(args)))
        return function(*args, **kwargs)
    return call
@logged
def total(*values, start=0):
    return functools.reduce(lambda a, b: a + b, values, start)
def globally(value):
    global seen
    before, seen = seen, value
    return before
def keyword(a, b=2, /, c=3, *args, d=4, **kwargs):
    return (a, b, c, args, d, sorted(kwargs.items()))
class Field:
    def __init__(self, default):
        self.default = default
    def __set_name__(self, owner, name):
        self.name = name
        log.append(('named', owner.__name__, name))
    def __get__(self, instance, owner=None):
        if instance is None:
            return self.default
        return instance.__dict__.get(self.name, self.default)
    def __set__(self, instance, value):
        log.append(('stored', self.name))
        instance.__dict__[self.name] = value
class Mixin:
    def __init_subclass__(cls, tag=None, **more):
        log.append((cls.__name__, tag))
        super().__init_subclass__(**more)
    def describe(self):
        return (type(self).__name__, getattr(self, 'x', None))
@dataclasses.dataclass(order=True)
class Pair:
    left: int
    right: int = 5
    rest: list = dataclasses.field(default_factory=list, compare=False)
    def __post_init__(self):
        self.sum = self.left + self.right
class Colour(enum.Enum):
    RED = 1
    GREEN = 2
    CRIMSON = 1
    @property
    def next(self):
        return Colour(self.value % 2 + 1)
class Level(enum.IntEnum):
    LOW = 1
    HIGH = 3
Triple = collections.namedtuple('Triple', 'one two three', defaults=(9,))
class Ring:
    __match_args__ = ('first', 'second')
    def __init__(self, first, second=None):
        self.first, self.second = first, second
    def __getattr__(self, name):
        if name.startswith('q'):
            return (name, self.first)
        raise AttributeError(name)
def counter(start=0):
    count = start
    def bump(by=1):
        nonlocal count
        count += by
        return count
    def peek():
        return count
    return bump, peek
def shout(prefix, *, twice=False):
    def wrap(function):
        @functools.wraps(function)
        def call(*args, **kwargs):
            log.append((prefix, function.__name__))
            result = function(*args, **kwargs)
            return (result, result) if twice else result
        return call
    return wrap
@functools.lru_cache(maxsize=None)
def slow(n):
    log.append(('slow', n))
    return n if n < 2 else slow(n - 1) + slow(n - 2)
"""

NAMES = (
    "log", "note", "Point", "Child", "Context", "Own", "numbers", "managed", "logged",
    "total", "globally", "keyword", "Field", "Mixin", "Pair", "Colour", "Level", "Ring",
    "counter", "shout", "slow", "Triple",
)  # fmt: skip
HEAD = f"""
import abc
import collections
import contextlib
import copy
import dataclasses
import enum
import functools
import itertools
import math
import operator
import types
seen = None
def prelude():
{textwrap.indent(DEFINITIONS.strip(), "    ")}
    return ({", ".join(NAMES)})
"""
START = f"({', '.join(NAMES)}) = prelude()"
"""Binds the names in a program."""
