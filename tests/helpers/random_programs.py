"""Writes random programs that end: statements and expressions over variables of known types.

Whoever calls says how choices are made: Hypothesis, which makes a failing program small, or a
random number generator, which is faster.
"""

# ruff: noqa: E501 - rows of templates

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Callable, Sequence

from differential import Program

Choose = Callable[[int], int]
"""Gives a number from 0 up to one less than the argument."""

PRELUDE = """
import contextlib
import functools
import itertools
import operator
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
def total(*values, start=0):
    return functools.reduce(lambda a, b: a + b, values, start)
def globally(value):
    global seen
    seen = value
    return inner()
def inner():
    return seen
def keyword(a, b=2, /, c=3, *args, d=4, **kwargs):
    return (a, b, c, args, d, sorted(kwargs.items()))
"""

_START = {
    "i": ("3", "-7", "0"),
    "f": ("0.5", "-2.25"),
    "s": ("'abc'", "'Hello, world'", "''"),
    "l": ("[3, 1, 2]", "[5, 5, -1, 0]"),
    "w": ("['b', 'a']", "['x', '', 'yy']"),
    "d": ("{'a': 1, 'b': 2}", "{'c': 3}"),
    "t": ("(1, 2, 3)",),
    "e": ("{1, 2, 3}", "{2, 9}"),
    "b": ("True", "False"),
    "p": ("Point(1)", "Child(4)"),
}
_ERRORS = (
    "ZeroDivisionError", "IndexError", "KeyError", "ValueError", "TypeError", "AttributeError",
    "LookupError", "ArithmeticError", "StopIteration", "RuntimeError", "Own", "Exception",
    "(KeyError, IndexError)", "(ValueError, TypeError)", "OverflowError",
)  # fmt: skip
HAS_GROUPS = sys.version_info >= (3, 11)
_PLACE = re.compile(r"<([ifslwdtebpnck]|spec|any)>")


class Writer:
    """Writes one program.

    Args:
        choose: How choices are made.
    """

    def __init__(self, choose: Choose) -> None:
        self.choose = choose
        self.names = 0
        self.budget = 40
        self.in_loop = False
        self.in_function = False
        self.loops = 0

    def pick(self, options: Sequence[str]) -> str:
        """One of several."""
        return options[self.choose(len(options))]

    def fresh(self) -> str:
        """A name that nothing has yet."""
        self.names += 1
        return f"n{self.names}"

    def name(self, kind: str) -> str:
        """A variable of a type."""
        return f"{kind}{self.choose(len(_START[kind]))}"

    # -- expressions ---------------------------------------------------------------------------

    def value(self, kind: str, depth: int = 2) -> str:
        """An expression of a type."""
        if depth <= 0:
            return self.name(kind) if self.choose(3) else self.pick(_START[kind])
        choices = _EXPRESSIONS[kind]
        template = choices[self.choose(len(choices))]
        text = self.filled(template, depth - 1)
        return f"({text})" if " " in template or template.startswith(("-", "~")) else text

    def filled(self, template: str, depth: int) -> str:
        """A template with an expression of the type in place of each `{type}`."""
        return _PLACE.sub(lambda match: self.part(match.group(1), depth), template)

    def part(self, kind: str, depth: int) -> str:
        """What stands for one place in a template."""
        if kind == "n":
            return str(self.choose(9) - 3)
        if kind == "k":
            return self.pick(("'a'", "'b'", "'c'", "'zz'", "s0[:1]"))
        if kind == "c":
            return self.value("b", depth)
        if kind == "spec":
            return self.pick(_SPECS)
        if kind == "any":
            return self.value(self.pick("ifslwdtb"), depth)
        return self.value(kind, depth)

    # -- statements ----------------------------------------------------------------------------

    def block(self, depth: int, least: int = 1) -> str:
        """Several statements."""
        count = least + self.choose(3)
        return "\n".join(self.statement(depth) for _ in range(count))

    def inner(self, depth: int) -> str:
        """An indented block."""
        return textwrap.indent(self.block(depth - 1), "    ")

    def statement(self, depth: int) -> str:
        """A statement."""
        self.budget -= 1
        if depth <= 0 or self.budget <= 0 or self.choose(5) < 3:
            return self.filled(self.pick(_SIMPLE), 1)
        kinds = (
            self.if_, self.for_, self.while_, self.try_, self.with_, self.match_, self.function,
            self.leave, self.generator, self.raise_, self.group if HAS_GROUPS else self.raise_,
        )  # fmt: skip
        return kinds[self.choose(len(kinds))](depth)

    def if_(self, depth: int) -> str:
        """A branch."""
        text = f"if {self.value('b')}:\n{self.inner(depth)}"
        if self.choose(2):
            text += f"\nelif {self.value('b')}:\n{self.inner(depth)}"
        if self.choose(2):
            text += f"\nelse:\n{self.inner(depth)}"
        return text

    def for_(self, depth: int) -> str:
        """A loop over something short."""
        if self.loops > 2:
            return self.filled("log.append(<any>)", 1)
        target, iterable = self.pick(_LOOPS).split(" in ", 1)
        outer, self.in_loop = self.in_loop, True
        self.loops += 1
        body = self.inner(depth)
        self.loops -= 1
        self.in_loop = outer
        text = f"for {target} in {self.filled(iterable, 1)}:\n{body}"
        return text + (f"\nelse:\n{self.inner(depth)}" if self.choose(3) == 0 else "")

    def while_(self, depth: int) -> str:
        """A loop that counts down."""
        if self.loops > 2:
            return self.filled("log.append(<any>)", 1)
        counter = self.fresh()
        outer, self.in_loop = self.in_loop, True
        self.loops += 1
        body = self.inner(depth)
        self.loops -= 1
        self.in_loop = outer
        test = self.pick((f"{counter} > 0", f"{counter} > 0 and <b>", f"(m0 := {counter}) > 0"))
        text = f"{counter} = {1 + self.choose(4)}\nwhile {self.filled(test, 1)}:\n"
        text += f"    {counter} -= 1\n{body}"
        return text + (f"\nelse:\n{self.inner(depth)}" if self.choose(3) == 0 else "")

    def try_(self, depth: int) -> str:
        """A try with handlers, else and finally."""
        text = f"try:\n{self.inner(depth)}"
        handlers = self.choose(3)
        for _ in range(handlers):
            text += f"\nexcept {self.pick(_ERRORS)} as error:\n"
            text += "    log.append((type(error).__name__, 'caught', type(error.__context__).__name__))\n"
            text += self.inner(depth)
            if self.choose(5) == 0:
                text += "\n    raise"
        if handlers and self.choose(3) == 0:
            text += f"\nelse:\n{self.inner(depth)}"
        if not handlers or self.choose(3) == 0:
            text += f"\nfinally:\n{self.inner(depth)}"
        return text

    def raise_(self, _depth: int) -> str:
        """A condition under which something is raised."""
        what = self.pick((
            "ValueError(<i>)", "KeyError(<k>)", "Own(<i>)", "Own", "IndexError", "RuntimeError(<s>)",
            "ValueError(<i>) from KeyError(<k>)", "Own(<i>) from None",
        ))  # fmt: skip
        return self.filled(f"if <b>:\n    raise {what}", 1)

    def group(self, depth: int) -> str:
        """A group of exceptions, which handlers divide."""
        raised = self.pick(("ExceptionGroup('g', [ValueError(<i>), KeyError(<k>)])", "Own(<i>)", "KeyError(1)",
            "ExceptionGroup('g', [ExceptionGroup('h', [Own(<n>), TypeError()]), IndexError()])"))  # fmt: skip
        text = f"try:\n    if {self.value('b')}:\n        {self.filled(f'raise {raised}', 1)}"
        text += f"\nexcept* {self.pick(('ValueError', 'KeyError', '(KeyError, TypeError)', 'LookupError'))} as error:\n"
        text += "    log.append([type(e).__name__ for e in error.exceptions])"
        if self.choose(2):
            text += f"\nexcept* {self.pick(('IndexError', 'Own', 'Exception'))}:\n    log.append('second')"
        return text + (f"\nelse:\n{self.inner(depth)}" if self.choose(2) else "")

    def with_(self, depth: int) -> str:
        """A context."""
        head = self.pick((
            "with Context(ValueError) as i0:", "with Context(None):", "with Context(LookupError), Context(None) as i1:",
            "with Context((TypeError, ZeroDivisionError)) as i2:",
            f"with managed({self.value('i')}) as i0:", "with managed(1, True) as i1, managed(2):",
            "with contextlib.suppress(KeyError, IndexError):", "with contextlib.nullcontext(3) as i2:",
            "with contextlib.ExitStack() as stack:\n    i0 = stack.enter_context(managed(4, True))\n    stack.callback(log.append, 'callback')",
        ))  # fmt: skip
        return f"{head}\n{self.inner(depth)}"

    def match_(self, depth: int) -> str:
        """A match."""
        text = f"match {self.part('any', 1) if self.choose(2) else self.value('p')}:"
        for left in reversed(range(1 + self.choose(3))):
            guard = f" if {self.value('b', 1)}" if self.choose(4) == 0 else ""
            pattern = self.pick(_PATTERNS if guard or not left else _PATTERNS[:-3])
            text += f"\n    case {pattern}{guard}:\n"
            text += textwrap.indent(self.inner(depth), "    ")
        return text

    def function(self, depth: int) -> str:
        """A closure, which is called."""
        name = self.fresh()
        head, call = self.pick(_SIGNATURES).split(" | ")
        outer = (self.in_loop, self.in_function)
        self.in_loop, self.in_function = False, True
        scope = self.pick(("", "    nonlocal i0, l0\n", "    nonlocal i1, s0, d0\n"))
        body = self.inner(depth)
        self.in_loop, self.in_function = outer
        result = self.filled("return <any>", 1)
        local = "".join(
            f"    {kind}{n} = {value}\n"
            for kind, values in _START.items()
            for n, value in enumerate(values)
            if not scope or f"{kind}{n}" not in scope.replace(",", "").split()
        )
        local += "    it = iter(())\n"
        text = f"def {name}({head}):\n{scope}{local}{body}\n    {result}\n"
        return text + self.filled(f"log.append({name}({call}))", 1)

    def leave(self, _depth: int) -> str:
        """A way out of the block."""
        if self.in_loop and self.choose(2):
            return f"if {self.value('b')}:\n    {self.pick(('break', 'continue'))}"
        if self.in_function:
            return self.filled("if <b>:\n    return <any>", 1)
        return self.filled("log.append(<any>)", 1)

    def generator(self, _depth: int) -> str:
        """A generator that is used in several ways."""
        name = self.fresh()
        lines = [
            f"{name} = numbers({self.choose(4)}, {self.value('s', 0)}, step={1 + self.choose(2)})"
        ]
        lines += [self.pick(_USES).replace("G", name) for _ in range(1 + self.choose(4))]
        return "\n".join(lines)

    def program(self) -> Program:
        """The whole program."""
        start = "\n".join(
            f"{kind}{n} = {value}"
            for kind, values in _START.items()
            for n, value in enumerate(values)
        )
        parts = [PRELUDE.strip(), start, "m0 = 0", "it = iter(())"]
        for _ in range(3 + self.choose(5)):
            body = self.block(3)
            if self.choose(6):
                body = (
                    f"try:\n{textwrap.indent(body, '    ')}\n"
                    "except Exception as error:\n"
                    "    log.append(type(error).__name__)"
                )
            parts.append(body)
        parts.append("rest = [p0.x, p1.x, p0.y, Point.count]\ndel p0, p1")
        return Program("random", "\n".join(parts))


_SPECS = (
    "5d", "<6", ">8", "^7", "*^9", "05d", "+d", ".2f", ",", "x", "#x", "o", "b", "e", ".3g", "%",
    "_d", "10.3f", "s", ".2", "-^6", "=+7d", "c", "n", "", ",.1f", " d", "E", "#b", "08.2f", "5.1%",
)  # fmt: skip
_LOOPS = (
    "i0 in <l>[:4]", "i1, s0 in zip(<l>[:3], <w>)", "i2, i0 in enumerate(<l>[:3])",
    "s1 in <w>[:3]", "k, i0 in <d>.items()", "k in <d>", "i0 in range(<n>, <n>)",
    "i1 in sorted(<e>)", "i1, *l1 in [(1, 2, 3), (4,), <t>]", "x in it", "i2 in <p>",
    "(i0, (i1, s2)) in [(1, (2, 'a')), (3, (4, 'b'))]", "i0 in reversed(<l>[:3])",
    "i1 in (i * i for i in <l>[:3] if i > <n>)", "l0[0] in <l>[:3]", "d0['k'] in <t>",
    "i1 in map(note, <l>[:3])", "i2 in filter(None, <l>[:4])", "s0 in list(<s>)[:3]",
    "i0 in numbers(3, <n>)",
)  # fmt: skip
_SIMPLE = (
    "i0 = <i>", "i1 = <i>", "i2 = <i>", "f0 = <f>", "f1 = <f>", "s0 = <s>", "s1 = <s>", "l0 = <l>",
    "l1 = <l>", "w0 = <w>", "d0 = <d>", "d1 = <d>", "t0 = <t>", "e0 = <e>", "e1 = <e>", "b0 = <b>",
    "b1 = <b>", "p0 = <p>", "p1 = <p>", "i0 += <i>", "i1 -= <n>", "i2 //= <i>", "i0 %= <n>",
    "f0 += <f>", "s0 += <s>[:3]", "l0 += <l>[:2]", "l0 += <s>[:2]", "w0 += (<s>,)", "e0 |= <e>",
    "e1 &= <e>", "e0 -= <e>", "e1 ^= <e>", "d0 |= <d>", "i1 |= <n>", "i2 <<= 2", "i0 >>= 1",
    "f1 /= <f>", "f0 *= <n>", "i0, i1 = i1, i0", "i0, *l0 = <l>", "*l0, i0 = <l>[:4]",
    "(i0, s0), i1 = (<i>, <s>), <i>", "[i0, i1] = <l>[:2]", "i0, i1, i2 = <t>",
    "i0 = i1 = <i>", "l0[0] = <i>", "l0[<n>] = <i>", "l0[<n>:<n>] = <l>[:3]", "l1[::2] = <l>[:2]",
    "d0[<k>] = <i>", "d1[<k>] += <i>", "del d0[<k>]", "del l0[<n>]", "del l1[<n>:<n>]",
    "l0.append(<i>)", "l0.insert(<n>, <i>)", "log.append(l0.pop())", "log.append(l1.pop(<n>))",
    "l0.extend(<l>[:2])", "l0.remove(<n>)", "l0.reverse()", "l1.sort()", "l0.sort(reverse=<b>)",
    "w0.sort(key=len)", "l1.sort(key=lambda v: -v)", "log.append(l0.index(<n>))",
    "d0.update(<d>)", "d1.update(z=<i>)", "log.append(d0.pop(<k>))", "log.append(d0.pop(<k>, None))",
    "d0.setdefault(<k>, <i>)", "log.append(d0.popitem())", "e0.add(<i>)", "e0.discard(<i>)",
    "e1.remove(<n>)", "e0.update(<l>)", "log.append(<any>)", "log.append((<any>, <any>))",
    "log.append(note(<i>) + note(<i>) * note(<n>))", "log.append(note(<n>) < note(<n>) < note(<n>))",
    "log.append(note(<i>) or note(<i>) and note(<i>))", "log.append([note(<i>), *map(note, <l>[:2])])",
    "log.append({note(<k>): note(<i>)})", "log.append(note(<l>)[note(<n>)])",
    "log.append(keyword(note(<i>), *<l>[:2], d=note(<n>), **<d>))", "log.append(keyword(<i>, c=<n>))",
    "log.append(keyword(*<l>[:3]))", "it = iter(<l>)", "it = zip(<l>, <w>)", "it = enumerate(<w>, <n>)",
    "it = map(lambda v: v * 2, <l>)", "it = filter(lambda v: v > <n>, <l>)", "it = reversed(<t>)",
    "it = (note(v) for v in <l>[:3])", "it = iter(<d>.items())", "it = numbers(3)",
    "log.append(next(it))", "log.append(next(it, 'end'))", "log.append(list(it))", "log.append(<n> in it)",
    "i0, *w0 = it", "log.append(sum(1 for _ in it))", "log.append(any(v for v in it))",
    "p0 += <i>", "p0.x = <i>", "p1.y = <any>", "p0[<n>] = <i>", "log.append(p0[<n>])",
    "p1.z = <i>", "log.append(p1.z)", "del p0.y", "log.append((p0 < p1, p0 == p1, <n> in p0))",
    "a1, a2, a3 = <i>, <f>, <s>; log.append(f'{p0} {p1!r} {a1:<spec>} {a2:<spec>} {a3!r:<spec>}')",
    "a1 = <i>; log.append(f'{a1:<spec>}')",
    "a2 = <f>; log.append(f'{a2:<spec>}')", "a3 = <s>; log.append(f'{a3:<spec>}')",
    "a4 = <b>; log.append(f'{a4:<spec>}|{a4!s:>{i2}}')",
    "log.append(format(<any>, '<spec>'))", "log.append('{:<spec>}|{!r}|{}'.format(<i>, <s>, <any>))",
    "log.append('%s %r' % (<any>, <s>))", "log.append('%d' % <i>)", "log.append('%5.2f|%-5s|' % (<f>, <s>))",
    "log.append(p0(*<l>[:2], k=<n>))", "log.append(Point.make(<n>).double)", "log.append(p1.twice(<n>))",
    "log.append([x for x in p0])", "a0, b2 = p0", "log.append(len(p0))", "log.append((p0 + <n>).x)",
    "log.append((p0 + p1).x)", "log.append(<i> + p0)", "log.append(-p0 == p0)", "log.append(sorted([p0, p1])[0].x)",
    "log.append(bool(p0))", "assert <b>, <s>", "l0 *= 2; l0 = l0[:5]", "log.append(w0 is l0)", "l1 = l0",
    "d1 = d0", "log.append([i for i in <l> if i % 2 == 0])", "log.append({v: k for k, v in <d>.items()})",
    "log.append([(i, j) for i in <l>[:2] for j in <t> if i != j])", "log.append([m0 := i for i in <l>[:3]])",
    "log.append([f() for f in [lambda: i for i in range(3)]])", "log.append([f() for f in [lambda i=i: i for i in range(3)]])",
    "log.append((lambda a, *b, c=<n>: (a, b, c))(<i>, <n>))", "log.append(globally(<i>))", "log.append(<b> if <b> else <i>)",
    "log.append(str(<any>))", "log.append(repr(<any>))", "log.append(isinstance(<any>, (int, str)))",
    "log.append(type(<any>).__name__)", "log.append(max(<l>))", "log.append(min(<w>, key=len))",
    "log.append(max(<l>, default=<n>))", "log.append(total(*<l>[:3], start=<n>))", "log.append(total(<i>, <f>))",
    "log.append(list(itertools.chain(<l>[:2], <w>)))", "log.append(list(itertools.islice(it, <n>)))", "it = itertools.accumulate(<l>)",
    "log.append(list(itertools.zip_longest(<l>[:3], <w>)))", "log.append(list(itertools.product(<w>[:2], <l>[:2])))", "it = itertools.count(<n>, 2); log.append(next(it)); it = itertools.islice(it, 3)",
    "log.append(functools.reduce(operator.add, <l>))", "log.append(functools.reduce(lambda a, b: a * 2 + b, <l>[:4], <n>))", "log.append(functools.partial(keyword, <i>, d=<n>)(<s>))",
    "log.append(<k> in <d>.keys())", "log.append((<k>, <i>) in <d>.items())",
    "log.append(list(map(operator.itemgetter(0), [<t>, <l>])))", "log.append(sorted(<d>.items(), key=lambda kv: kv[1]))", "log.append(<s>.encode()[:4])", "log.append(list(<s>.encode())[:3])",
    "log.append([*zip(*[<l>[:2], <t>])])", "a1, (a2, *a3) = <i>, <l>", "log.append({**<d>, **{<k>: <i>}})", "log.append([x for x in <l> if x if x > <n>])", "log.append(list(itertools.takewhile(lambda v: v > <n>, <l>)))",
    "log.append([i0 for i0 in <l>[:2]] + [i0])", "log.append(<l>[<n>:<n>:<n>])", "log.append(<s>[<n>:<n>:<n>])", "del l0[<n>:<n>:2]", "l0[<n>:<n>:2] = <l>[:2]", "log.append(dict(<d>.items()) == <d>)",
    "log.append(list(enumerate(reversed(<l>[:3]), <n>)))", "log.append(any(note(v) > <n> for v in <l>))", "log.append(all(note(v) for v in <l>))", "log.append(next((v for v in <l> if v > <n>), None))",
    "log.append((note(<i>) if note(<b>) else note(<n>)) in note(<l>))", "log.append(note([<n>])[note(0)] == note(<n>) != note(<i>))", "log.append(not note(<b>) or note(<n>))", "d0[note(<k>)], l0[note(0)] = note(<i>), note(<n>)", "l0[note(0)] += note(<i>)",
    "def n0(a, b=note(<i>), *, c=note(<n>)): return a + b + c\nlog.append(n0(<i>))", "log.append(str(Own(<i>)))", "log.append(repr(KeyError(<k>)))", "log.append(Own(<i>, more=1).code)", "log.append(str(ValueError(<s>, <i>)))", "log.append(sorted(<w>, key=lambda s: s[::-1]))",
)  # fmt: skip
_EXPRESSIONS: dict[str, tuple[str, ...]] = {
    "i": (
        "(<i> + <i>) % 1009", "<i> - <n>", "(<i> * <n>) % 997", "<i> // <i>", "<i> % <i>", "-<i>", "~<i>",
        "abs(<i>)", "len(<l>)", "len(<s>)", "len(<d>)", "sum(<l>)", "max(<l>)", "min(<t>)", "<l>[<n>]",
        "<d>[<k>]", "<d>.get(<k>, <n>)", "int(<f>)", "int(<s>)", "<s>.count('l')", "<s>.find(<s>)",
        "<t>[<n>]", "round(<f>)", "divmod(<i>, <n>)[0]", "pow(2, <n>)", "(<i> & <i>)", "(<i> | <n>)", "(<i> ^ <i>)",
        "<b> + <n>", "int('1' + '0' * 2, 2)", "ord(<s>[0])", "<p>.x", "note(<i>)", "(m0 := <i>)", "<l>.index(<n>)",
        "next(iter(<l>))", "(<i> if <b> else <i>)", "hash(<n>)", "<l>.count(<n>)", "len(<e>)", "(<i>).bit_length()",
        "sum(v for v in <l> if v > <n>)", "int(<b>)", "<n>", "<s>.index('o')", "sum([])", "pow(<n>, 3, 7)",
    ),
    "f": (
        "<f> + <i>", "<f> * <n>", "<i> / <i>", "<f> / <f>", "-<f>", "abs(<f>)", "float(<i>)", "round(<f>, 1)", "<f> // <n>",
        "<f> % <n>", "<f> - <f>", "float(<s>)", "max(<f>, <i>)", "sum([<f>, <i>])", "1e3", "float('inf')", "-0.0", "<i> * 0.1",
        "round(<f>, <n>)", "divmod(<f>, <f>)[1]", "float('nan')", "2.5", "1e16 + <n>", "<f> ** 2",
    ),
    "s": (
        "(<s> + <s>)[:12]", "<s>[<n>]", "<s>[<n>:<n>]", "<s>[::-1]", "<s>.upper()", "<s>.lower()", "<s>.strip()", "<s>.title()",
        "<s>.replace('l', 'L')", "<s>.replace(<s>, 'x', 1)[:9]", "','.join(<w>)", "str(<i>)", "<s>.center(9, '*')", "<s>.zfill(6)", "<s> * 2",
        "<s>.split(',')[0]", "f'{i0}-{s0=}-{i1 + 1:>3}'[:14]", "<s>.partition('l')[2]", "chr(97 + abs(<i>) % 26)", "<w>[<n>]", "<s>.swapcase()",
        "<s>.ljust(5)[:9]", "repr(<n>)", "<s>.rstrip('do')", "(<s> or <s>)", "note(<s>)", "<s>.removeprefix('H')", "<s>.expandtabs()[:9]",
        "str(<f>)", "<s>.capitalize()", "'%s' % <s>", "hex(<i>)", "bin(<n>)", "<s>.rpartition('o')[0]", "str(<l>)[:9]", "<s>.casefold()",
        "'{}{}'.format(<n>, <s>)[:9]", "min(<w>)", "'-'.join(sorted(<s>))[:9]", "oct(<n>)", "ascii(<s>)[:8]", "str(<b>)", "<s>.translate({108: 'L'})",
    ),
    "l": (
        "[<i>, <i>]", "<l>[:4]", "sorted(<l>)[:5]", "[v + <n> for v in <l>[:4]]", "list(range(<n>, <n>))", "<l>[::-1]", "(<l> + <l>)[:5]",
        "list(<t>)", "[*<l>[:2], <i>]", "list(<d>.values())", "list(map(abs, <l>))", "[i * j for i in <l>[:2] for j in <t>]", "sorted(<e>)", "<l>.copy()",
        "list(filter(None, <l>))", "<l> or [0]", "[<n>] * 2", "sorted(<l>, reverse=True)", "list(reversed(<l>))", "[len(w) for w in <w>]", "<l>[<n>:<n>]", "list(zip(<l>, <t>))[0:1] and <l>", "note(<l>)", "[v for v in <l> if v > <n>]", "list(dict.fromkeys(<l>))", "[x for x, *_ in [<t>]]", "list(numbers(2, <n>))", "<l>[::2]",
    ),
    "w": (
        "[<s>, <s>]", "<s>.split()", "list(<s>)[:4]", "sorted(<w>)", "[w.upper() for w in <w>]", "list(<d>)", "<s>.split('l', 1)", "<w>[:3]", "sorted(<d>)", "<s>.splitlines()",
        "[str(v) for v in <l>]", "list(map(str, <t>))", "<s>.rsplit(' ', 1)", "[*<w>[:2], <s>]", "sorted(set(<w>))", "[k for k, v in <d>.items() if v > <n>]", "list(<d>.keys())",
    ),
    "d": (
        "{<k>: <i>}", "{**<d>, 'z': <i>}", "dict(zip(<w>, <l>))", "{k: v + 1 for k, v in <d>.items()}", "dict(a=<i>, b=<n>)", "<d>.copy()", "<d> | <d>", "{w: len(w) for w in <w>}", "dict.fromkeys(<w>, <n>)", "dict(sorted(<d>.items()))", "{k: v for k, v in <d>.items() if v > <n>}", "dict([('q', <i>)])", "dict(<d>, c=<i>)",
    ),
    "t": (
        "(<i>, <i>)", "tuple(<l>[:3])", "<t>[::-1]", "(<t> + (<i>,))[:4]", "divmod(<i>, <i>)", "tuple(sorted(<t>))", "(<i>,)", "<t> * 2", "(*<l>[:2], <n>)", "tuple(v * 2 for v in <t>)", "(<t> if <b> else <t>)", "<t>[1:]", "tuple(enumerate(<w>))[:0] or <t>", "max(<t>, <t>)",
    ),
    "e": (
        "{<i>, <n>}", "set(<l>)", "<e> | <e>", "<e> & <e>", "<e> - <e>", "<e> ^ <e>", "{v % 3 for v in <l>}", "set()", "<e>.union(<l>)", "<e>.copy()", "<e>.intersection(<t>, <l>)", "set(filter(None, <l>))", "<e>.symmetric_difference(<e>)", "<e>.difference(<l>)",
    ),
    "b": (
        "<i> < <i>", "<i> == <n>", "<i> != <f>", "<s> < <s>", "<n> < <i> <= <n>", "not <b>", "<b> and <b>", "<b> or <b>", "<i> in <l>", "<k> in <d>", "<s> in <s>", "<l> == <l>", "isinstance(<any>, int)", "bool(<l>)", "<s>.isdigit()", "<s>.startswith('H')", "any(<l>)", "all(<t>)", "<i> is None", "<e> <= <e>", "<l> < <l>", "<t> > <t>", "<i> > <f>", "<d> == <d>", "<s>.isalpha()", "<n> not in <t>", "<f> == <f>", "<s>.endswith(('d', 'c'))", "<any> == <any>", "callable(<any>)", "<l> is <l>", "<e>.isdisjoint(<e>)", "True", "<b> is True", "hasattr(<p>, 'x')", "<any> is not None", "all(v > <n> for v in <l>)", "<f> < <i>", "<p> == <p>", "issubclass(Child, Point)",
    ),
    "p": ("Point(<i>)", "Child(<n>)", "Point(<n>, y=<i>)", "<p>", "(<p> + <n>)", "(-<p>)", "Point.make(<i>)"),
}  # fmt: skip
_PATTERNS = (
    "0", "1 | 2 | 3", "None", "True", "'abc'", "[]", "[i0]", "[i0, *l0]", "(i0, i1)", "[1, i2, *_]", "{'a': i0}", "{'b': i1, **d1}", "{}", "int()", "int(i0)", "str(s0)",
    "float()", "list()", "bool(b0)", "Point(x=i0)", "Point(x=1)", "Child()", "Point() as m0", "[*_, i0]", "(int() | float()) as m0", "[int(i0), str(s1)]", "-1", "1.5", "dict()",
    "[[i0, i1], *_]", "tuple()", "str() | None", "_", "i0", "(i0 as m0)",
)  # fmt: skip
_SIGNATURES = (
    "a | <i>", "a, b=3 | <i>", "*args | *<l>[:2]", "a, *, c=1 | <i>, c=<n>", "**kwargs | **<d>", "a=1, /, b=2 | b=<n>", " | ", "a, *args, b=2, **k | <i>, <n>, z=<s>",
)  # fmt: skip
_USES = (
    "log.append(next(G))", "log.append(next(G, None))", "log.append(list(G))", "log.append(G.send('s'))", "G.close()", "log.append(G.throw(KeyError('k')))", "log.append(1 in G)",
    "log.append(G.throw(ValueError))", "for x in G:\n    log.append(x)\n    break", "log.append([*G])", "it = G",
)  # fmt: skip
