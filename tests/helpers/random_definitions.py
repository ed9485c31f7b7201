"""Definitions in random programs: classes, dataclasses, enumerations, generators, and their use."""

# ruff: noqa: E501 - rows of templates

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random_programs import Writer


def class_(writer: Writer) -> str:
    """A class with members of many kinds."""
    name = writer.fresh()
    head = f"class {name}{writer.pick(_BASES)}:"
    return _defined(writer, name, head, _MEMBERS, _CLASS_USES)


def dataclass(writer: Writer) -> str:
    """A dataclass with fields and options."""
    name = writer.fresh()
    head = (
        f"@dataclasses.dataclass({writer.pick(_OPTIONS)})\nclass {name}{writer.pick(_DATA_BASES)}:"
    )
    return _defined(writer, name, head, _FIELDS, _DATA_USES)


def enumeration(writer: Writer) -> str:
    """An enumeration with aliases, methods and computed values."""
    name = writer.fresh()
    head = f"class {name}({writer.pick(_ENUM_BASES)}):\n    A = 1"
    return _defined(writer, name, head, _ENTRIES, _ENUM_USES)


def generator(writer: Writer) -> str:
    """A generator function, and what is sent and thrown into its generator."""
    name, made = writer.fresh(), writer.fresh()
    body = _lines(writer, _YIELDS, 1 + writer.choose(4))
    uses = _lines(writer, _SENDS, 1 + writer.choose(5)).replace("G", made)
    last = writer.filled("yield <i>", 1)
    return f"def {name}():\n{_inner(body)}\n    {last}\n{made} = {name}()\n{uses}"


def decorated(writer: Writer) -> str:
    """A function with decorators, which is called."""
    name = writer.fresh()
    decorators = "".join(f"@{writer.pick(_DECORATORS)}\n" for _ in range(1 + writer.choose(3)))
    head, call = writer.pick(_DECORATED).split(" | ")
    text = f"{writer.filled(decorators, 1)}def {name}({head}):\n    log.append('body')\n    return <any>\n"
    return writer.filled(f"{text}log.append({name}({call}))\nlog.append({name}({call}))", 1)


KINDS: Sequence[Callable[[Writer], str]] = (
    class_,
    class_,
    dataclass,
    enumeration,
    generator,
    decorated,
)


def _defined(
    writer: Writer, name: str, head: str, members: Sequence[str], uses: Sequence[str]
) -> str:
    """A class of some members, and some of its uses, each of which may raise."""
    body = _lines(writer, members, 1 + writer.choose(5))
    lines = [f"{head}\n{_inner(body)}"]
    for _ in range(2 + writer.choose(4)):
        use = writer.filled(writer.pick(uses), 1)
        lines.append(_caught(use) if writer.choose(3) else use)
    text = "\n".join(lines).replace("CLASS", name)
    return _caught(text.replace("NAME", writer.pick(_ATTRIBUTES)))


def _lines(writer: Writer, rows: Sequence[str], count: int) -> str:
    return "\n".join(writer.filled(writer.pick(rows), 1) for _ in range(count))


def _caught(text: str) -> str:
    # What is not known may raise; where nothing catches that, the evaluator takes it not to.
    return f"try:\n{_inner(text)}\nexcept Exception as error:\n    log.append(type(error).__name__)"


def _inner(text: str) -> str:
    return textwrap.indent(text, "    ")


_BASES = (
    "", "", "", "(Point)", "(Child)", "(Mixin)", "(Mixin, Point, tag=3)", "(Ring)",
    "(Mixin, Child)", "(abc.ABC)", "(Own)",
)  # fmt: skip
_ATTRIBUTES = (
    "shared", "items", "half", "field", "own", "x", "y", "last", "which", "table", "qa", "zz", "cached", "Inner", "get",
    "double", "build", "calm", "both", "count", "_CLASS__hidden",
)  # fmt: skip
_MEMBERS = (
    "shared = <any>", "items = [<i>]", "shared = [x for x in <l>[:3]]", "count = <n>; count += 2", "field = Field(<n>)", "log.append(<any>)",
    "for each in <l>[:2]:\n    last = each", "if <b>:\n    which = 1\nelse:\n    which = 2", "table = {k: v for k, v in <d>.items()}",
    "try:\n    last = <i> // <n>\nexcept ZeroDivisionError:\n    last = None", "which = i0\ni0 = <i>\nlast = i0", "class Inner:\n    value = <i>\n    def get(self):\n        return self.value",
    "def get(self, more=<i>):\n    return (self.shared, more)", "def get(self):\n    return type(self).__name__", "def get(self):\n    return super().describe()",
    "def __init__(self, x=1, *rest):\n    self.own = <any>\n    self.x = x", "def __init__(self, *args):\n    super().__init__(*args)\n    self.own = len(args)",
    "@property\ndef half(self):\n    log.append('half')\n    return <i>\n@half.setter\ndef half(self, value):\n    log.append(('half', value))", "@property\ndef half(self):\n    return self.own",
    "@classmethod\ndef build(cls, *args):\n    return cls(*args)", "@staticmethod\ndef calm(a=<n>):\n    return a", "both = property(lambda self: <n>)", "calm = staticmethod(lambda a=2: a * 2)",
    "def __getattr__(self, name):\n    if name.startswith('q'):\n        return (name, <i>)\n    raise AttributeError(name)", "def __setattr__(self, name, value):\n    log.append(('set', name))\n    super().__setattr__(name, value)",
    "def __delattr__(self, name):\n    log.append(('del', name))\n    super().__delattr__(name)", "def __getattribute__(self, name):\n    if name == 'zz':\n        return <i>\n    return super().__getattribute__(name)",
    "__slots__ = ('own', 'x')", "def __init_subclass__(cls, **more):\n    log.append(('sub', cls.__name__, sorted(more)))", "@functools.cached_property\ndef cached(self):\n    log.append('computed')\n    return <i>", "__hidden = <n>\ndef hidden(self):\n    return self.__hidden",
    "def __eq__(self, other):\n    return note(<b>)", "def __eq__(self, other):\n    return NotImplemented", "def __ne__(self, other):\n    return 'ne'", "def __hash__(self):\n    return 5", "def __lt__(self, other):\n    return note(<i>)", "def __len__(self):\n    return <n>", "def __bool__(self):\n    return note(<b>)",
    "def __getitem__(self, key):\n    log.append(key)\n    if key == 3:\n        raise IndexError\n    return (key, type(key).__name__)", "def __setitem__(self, key, value):\n    log.append((key, value))", "def __delitem__(self, key):\n    log.append(('gone', key))", "def __contains__(self, item):\n    return item",
    "def __iter__(self):\n    yield from <l>[:3]", "def __iter__(self):\n    return iter(<t>)", "def __reversed__(self):\n    return [<i>]", "def __enter__(self):\n    return note(<i>)\ndef __exit__(self, kind, value, trace):\n    log.append(kind and kind.__name__)\n    return <b>",
    "def __call__(self, *args, **more):\n    return (args, more)", "def __add__(self, other):\n    return ('add', <i>)", "def __radd__(self, other):\n    return ('radd', other)", "def __iadd__(self, other):\n    return note(other)", "def __mul__(self, other):\n    return NotImplemented", "def __rmul__(self, other):\n    return <any>",
    "def __neg__(self):\n    return <any>", "def __int__(self):\n    return <n>", "def __index__(self):\n    return <n>", "def __float__(self):\n    return <f>", "def __round__(self, n=None):\n    return n", "def __abs__(self):\n    return 'abs'", "def __divmod__(self, other):\n    return (1, other)", "def __str__(self):\n    return 'text' + <s>", "def __repr__(self):\n    return f'<{type(self).__name__}>'",
    "def __format__(self, spec):\n    return spec + '!'", "@abc.abstractmethod\ndef wanted(self):\n    pass", "@logged\ndef get(self):\n    return <i>", "@shout('m')\ndef get(self, *args):\n    return len(args)", "def __class_getitem__(cls, key):\n    return (cls.__name__, key)", "@functools.wraps(keyword)\ndef get(self, *a):\n    return a",
    "def __deepcopy__(self, memo):\n    return 'deep'", "def __copy__(self):\n    return 'flat'", "def __matmul__(self, other):\n    return other", "def __and__(self, other):\n    return note(1)", "def __set_name__(self, owner, name):\n    log.append(name)", "get: int", "shared: int = <i>", "pass", "'text'", "def __missing__(self, key):\n    return key", "get = lambda self, *a: len(a)",
)  # fmt: skip
_CLASS_USES = (
    "o = CLASS()\nlog.append(o.NAME)", "o = CLASS(<i>)\nlog.append(o.NAME)", "o = CLASS()\no.NAME = <any>\nlog.append(o.NAME)", "o = CLASS()\ndel o.NAME", "log.append(CLASS.NAME)", "CLASS.NAME = <i>\nlog.append(CLASS().NAME)", "del CLASS.shared", "o = CLASS()\nlog.append(o.get())", "log.append(CLASS.get(CLASS()))",
    "o = CLASS()\no.items.append(<i>)\nlog.append(CLASS.items)", "o = CLASS(1)\nlog.append(sorted(vars(o)))", "log.append(getattr(CLASS(), 'NAME', 'none'))", "log.append(hasattr(CLASS(), 'NAME'))", "o = CLASS()\nsetattr(o, 'NAME', <i>)\nlog.append(getattr(o, 'NAME'))", "log.append(CLASS() == CLASS())", "o = CLASS()\nlog.append((o == o, o != o, o in [o], [o].index(o)))", "log.append(isinstance(CLASS(), (Point, Mixin)))",
    "o = CLASS()\no += <i>\nlog.append(type(o).__name__)", "log.append(CLASS() + <i>)", "log.append(<i> + CLASS())", "log.append(CLASS() * 2)", "log.append([1] * CLASS())", "log.append(len(CLASS()))", "log.append(bool(CLASS()))", "log.append(not CLASS() or <i>)", "log.append(CLASS()[<n>])", "log.append(CLASS()[<n>:<n>])", "o = CLASS()\no[<k>] = <i>", "del CLASS()[0]", "log.append(list(CLASS())[:3])", "a1, *a2 = CLASS()\nlog.append((a1, a2))",
    "log.append(<i> in CLASS())", "with CLASS() as i0:\n    log.append(i0)\n    1 // <n>", "log.append(CLASS()(<i>, k=<n>))", "log.append([c.__name__ for c in CLASS.__mro__])", "log.append((CLASS.__name__, type(CLASS()).__name__))", "log.append(CLASS.build(<i>).NAME)", "log.append(CLASS().calm())", "log.append(CLASS.calm(<i>))", "class Sub(CLASS):\n    def get(self):\n        return ('sub', super().get())\nlog.append(Sub().get())", "class Sub(CLASS, extra=<n>):\n    pass",
    "class Sub(CLASS):\n    shared = <i>\nlog.append((Sub.shared, Sub().NAME))", "log.append(type(copy.copy(CLASS())).__name__)", "log.append(copy.deepcopy(CLASS()).NAME)", "log.append(CLASS().hidden())", "log.append(-CLASS())", "log.append(int(CLASS()))", "log.append(<l>[CLASS()])", "log.append(float(CLASS()))", "log.append(round(CLASS(), 2))", "log.append(abs(CLASS()))", "log.append(divmod(CLASS(), 2))", "log.append(f'{CLASS():x}')", "log.append(CLASS[<i>])", "log.append(CLASS() @ <i>)", "log.append(CLASS() & <i>)", "log.append(CLASS.Inner().get())",
    "log.append(CLASS() < CLASS())", "log.append(sorted([CLASS(), CLASS()]) and 1)", "log.append({CLASS(): 1} and hash(CLASS()) == 5)", "o = CLASS()\nlog.append((o.cached, o.cached))", "o = CLASS()\nCLASS.late = lambda self: <i>\nlog.append(o.late())", "o = CLASS()\nb1 = o.get\nlog.append(b1())", "log.append(list(reversed(CLASS())))", "log.append(issubclass(CLASS, Point))", "log.append(max(CLASS(), CLASS()) is None)", "o = CLASS()\nlog.append(o.__dict__)", "o = CLASS()\no.NAME += 1\nlog.append(o.NAME)", "log.append('NAME' in CLASS.__dict__)", "raise CLASS(<i>)", "try:\n    raise CLASS(<i>)\nexcept ValueError as e:\n    log.append(e.args)",
    "match CLASS():\n    case CLASS(x=1):\n        log.append('one')\n    case CLASS(NAME=a1):\n        log.append(a1)\n    case CLASS():\n        log.append('any')", "log.append(range(CLASS()))", "log.append('%d' % CLASS())", "log.append([1, 2, 3][:CLASS()])", "log.append(str(CLASS()) == repr(CLASS()))", "log.append(any([CLASS()]))", "log.append(list(map(CLASS, [1, 2])) and 1)", "log.append(operator.attrgetter('NAME')(CLASS()))", "log.append(dict(CLASS()))", "log.append(' '.join(CLASS()))", "log.append(sum(CLASS()))",
)  # fmt: skip
_OPTIONS = (
    "", "", "order=True", "frozen=True", "eq=False", "kw_only=True", "slots=True", "unsafe_hash=True", "frozen=True, order=True", "init=False",
)  # fmt: skip
_DATA_BASES = ("", "", "", "(Pair)", "(Mixin)")
_FIELDS = (
    "a: int", "a: int = <i>", "b: int = <n>", "c: list = dataclasses.field(default_factory=list)", "d: int = dataclasses.field(default=<n>, compare=False)", "e: int = dataclasses.field(init=False, default=<i>)", "f: dataclasses.InitVar[int] = <n>", "k: int = dataclasses.field(default=<n>, kw_only=True)", "g: str = <s>", "_: dataclasses.KW_ONLY",
    "def __post_init__(self, *more):\n    log.append(('post', more))", "def total(self):\n    return self.b", "@property\ndef twice(self):\n    return self.b * 2", "shared = <i>", "h: dict = dataclasses.field(default_factory=dict, repr=False)", "bad: list = []", "left: int = <n>", "def __eq__(self, other):\n    return 'eq'", "def __repr__(self):\n    return 'own'", "d: tuple = dataclasses.field(default=(1,), metadata={'m': <i>})",
)  # fmt: skip
_DATA_USES = (
    "log.append(repr(CLASS()))", "log.append(repr(CLASS(<i>)))", "log.append(repr(CLASS(<i>, <n>)))", "log.append(CLASS(b=<i>).b)", "log.append(CLASS(<i>) == CLASS(<n>))", "log.append(CLASS() == CLASS())", "log.append(CLASS(<i>) < CLASS(<n>))", "o = CLASS()\no.b = <i>\nlog.append(o.b)", "log.append(dataclasses.asdict(CLASS()))", "log.append(dataclasses.astuple(CLASS(<i>)))", "log.append(dataclasses.replace(CLASS(), b=<i>))", "log.append([f.name for f in dataclasses.fields(CLASS)])", "o = CLASS()\no.c.append(<i>)\nlog.append((o.c, CLASS().c))", "log.append(hash(CLASS()) == hash(CLASS()))", "log.append({CLASS(): 1}.get(CLASS()))", "log.append(CLASS().total())", "log.append(CLASS().twice)",
    "match CLASS():\n    case CLASS(a1, a2):\n        log.append((a1, a2))\n    case CLASS(b=a1):\n        log.append(a1)\n    case _:\n        log.append('other')", "log.append(sorted([CLASS(<i>), CLASS(<n>)])[0])", "log.append(CLASS(a=<i>, b=<n>))", "log.append(CLASS(zz=1))", "del CLASS().b", "log.append(CLASS.b)", "log.append(CLASS.__match_args__)", "log.append(dataclasses.is_dataclass(CLASS))", "log.append(CLASS(k=<i>).k)", "o = CLASS()\no.new = <i>\nlog.append(o.new)", "log.append(copy.deepcopy(CLASS()) == CLASS())", "log.append(vars(CLASS()))", "@dataclasses.dataclass\nclass Sub(CLASS):\n    z: int = <i>\nlog.append(Sub())", "log.append(CLASS(*<l>))", "log.append(dataclasses.fields(CLASS)[0].default)",
)  # fmt: skip
_ENUM_BASES = (
    "enum.Enum",
    "enum.Enum",
    "enum.IntEnum",
    "str, enum.Enum",
    "enum.Flag",
    "enum.IntFlag",
    "int, enum.Enum",
)
_ENTRIES = (
    "B = 2", "B = enum.auto()", "C = enum.auto()", "C = <n>", "ALIAS = A", "ALSO = 1", "D = 'd'", "E = (1, 2)", "F = 4", "def show(self):\n    return self.name.lower()", "@property\ndef twice(self):\n    return self.value * 2", "@classmethod\ndef first(cls):\n    return next(iter(cls))", "@staticmethod\ndef plain():\n    return <i>", "def __str__(self):\n    return 'own'", "_hidden = <n>", "G = A | 2", "def __eq__(self, other):\n    return self is other\ndef __hash__(self):\n    return 1", "@classmethod\ndef _missing_(cls, value):\n    return cls.A", "H = B = 2", "def __lt__(self, other):\n    return self.value < other.value", "A = 3", "I = -1", "J = 8",
)  # fmt: skip
_ENUM_USES = (
    "log.append((CLASS.A.name, CLASS.A.value))", "log.append(CLASS['A'].value)", "log.append(CLASS['B'].value)", "log.append(CLASS(<n>).name)", "log.append([m.name for m in CLASS])", "log.append([m.value for m in CLASS])", "log.append(len(CLASS))", "log.append(CLASS.A in CLASS)", "log.append(CLASS.A == 1)", "log.append(CLASS.A is CLASS(1))", "log.append(list(CLASS.__members__))", "log.append(CLASS.A < CLASS.B)", "log.append(CLASS.A == CLASS.B)", "log.append(isinstance(CLASS.A, int))", "log.append(CLASS.A.show())", "log.append(CLASS.B.twice)", "log.append(CLASS.first().name)", "log.append(CLASS.A.plain())", "log.append(repr(CLASS.A))", "log.append(str(CLASS.B))",
    "log.append((CLASS.A | CLASS.B).value)", "log.append(bool(CLASS.A & CLASS.B))", "log.append(CLASS.A in (CLASS.A | CLASS.B))", "log.append((CLASS.A ^ CLASS.A).value)", "log.append(CLASS(0).value)", "CLASS.A = 5", "CLASS.A.value = 5", "CLASS.new = <i>\nlog.append(CLASS.new)", "log.append({CLASS.A: 1}[CLASS.A])", "log.append(CLASS.A + 1)", "log.append(sorted(CLASS)[0].name)", "class Sub(CLASS):\n    pass", "log.append(type(CLASS.A).__name__)", "log.append(CLASS.A.B.name)", "log.append(CLASS.zz)", "log.append(hash(CLASS.A) == hash(CLASS(1)))", "match CLASS.A:\n    case CLASS.B:\n        log.append('b')\n    case CLASS.A:\n        log.append('a')", "log.append(max(CLASS, key=lambda m: str(m.value)).name)", "log.append(f'{CLASS.A.value:>3}')", "log.append(copy.deepcopy(CLASS.A) is CLASS.A)", "log.append([m.name for m in reversed(CLASS)])", "log.append(bool(CLASS.A))", "log.append(CLASS._hidden)", "log.append(list(zip(CLASS, <l>)) and 1)", "del CLASS.A", "log.append(CLASS.A.name.lower() + CLASS.__name__)", "log.append(1 in CLASS)", "log.append(CLASS.A.upper())",
)  # fmt: skip
_YIELDS = (
    "got = yield <i>\nlog.append(got)", "yield from <l>[:3]", "for x in <l>[:3]:\n    yield x", "try:\n    yield <i>\nexcept (KeyError, ValueError) as error:\n    log.append(type(error).__name__)\n    yield 'caught'", "try:\n    yield <n>\nfinally:\n    log.append('finally')", "if <b>:\n    return <any>", "x = yield\nlog.append(x)", "with managed(3) as v:\n    yield v", "with managed(2, True):\n    got = yield 1\n    1 // 0", "result = yield from numbers(2, <s>)\nlog.append(result)", "if <b>:\n    raise ValueError(<i>)", "more = True\nwhile more:\n    more = yield 'more'\n    log.append('round')", "try:\n    try:\n        yield 1\n    finally:\n        log.append('inner')\nexcept GeneratorExit:\n    log.append('exit')\n    raise", "for x in <l>[:4]:\n    if x > <n>:\n        break\n    yield x\nelse:\n    yield 'else'",
    "match <any>:\n    case int():\n        yield 'int'\n    case _:\n        yield 'other'", "y = [v * 2 for v in <l>[:2]]\nyield y", "try:\n    x = yield from numbers(3)\nexcept StopIteration:\n    log.append('stop')", "i0 = <n>\nyield i0", "for x in <l>[:3]:\n    try:\n        yield x\n    except KeyError:\n        continue\n    finally:\n        log.append(('f', x))", "with Context(ValueError):\n    yield 'context'", "raise StopIteration(<i>)", "assert <b>\nyield 'held'", "yield", "yield (lambda: <i>)()", "z = (yield 1)\nyield z",
)  # fmt: skip
_SENDS = (
    "log.append(next(G))", "log.append(next(G, 'end'))", "log.append(list(G))", "log.append(G.send(<i>))", "log.append(G.send(None))", "G.close()", "log.append(G.throw(KeyError('k')))", "log.append(G.throw(ValueError))", "for x in G:\n    log.append(x)\n    break", "for x in G:\n    log.append(x)", "log.append(1 in G)", "a1, *a2 = G\nlog.append(a2)", "del G", "log.append(sum(1 for _ in G))", "log.append([x for x, y in zip(G, <l>)])", "log.append(G.throw(GeneratorExit))", "try:\n    next(G)\nexcept StopIteration as e:\n    log.append(e.value)", "G = None", "log.append(sorted(map(str, G)))", "it = G", "log.append(any(x == <i> for x in G))", "log.append(list(itertools.islice(G, 2)))", "log.append(dict(enumerate(G)))", "log.append(max(G))", "log.append(G.send('x'))",
)  # fmt: skip
_DECORATORS = (
    "logged", "shout('a')", "shout(<s>, twice=<b>)", "functools.lru_cache(maxsize=None)",
    "functools.cache", "(lambda f: f)",
)  # fmt: skip
_DECORATED = (
    "a=<i> | <n>",
    "*args | <i>, <n>",
    "a, *, b=<n> | <i>",
    "a, b | <i>",
    " | ",
    "**more | k=<i>",
)
