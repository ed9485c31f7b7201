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

import random_definitions
from differential import Program
from random_prelude import HEAD
from random_prelude import START as NAMES
from random_templates import (
    EXPRESSIONS,
    LOOPS,
    PATTERNS,
    SIGNATURES,
    SIMPLE,
    SPECS,
    START,
    TOPICS,
    USES,
)

Choose = Callable[[int], int]
"""Gives a number from 0 up to one less than the argument."""

_ERRORS = (
    "ZeroDivisionError", "IndexError", "KeyError", "ValueError", "TypeError", "AttributeError",
    "LookupError", "ArithmeticError", "StopIteration", "RuntimeError", "Own", "Exception",
    "(KeyError, IndexError)", "(ValueError, TypeError)", "OverflowError",
)  # fmt: skip
HAS_GROUPS = sys.version_info >= (3, 11)
_PLACE = re.compile(r"<([ifslwdtebpnck]|spec|format|any)>")


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
        self.outer = "nonlocal"
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
        return f"{kind}{self.choose(len(START[kind]))}"

    # -- expressions ---------------------------------------------------------------------------

    def value(self, kind: str, depth: int = 2) -> str:
        """An expression of a type."""
        if depth <= 0:
            return self.name(kind) if self.choose(3) else self.pick(START[kind])
        choices = EXPRESSIONS[kind]
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
            return self.pick(SPECS)
        if kind == "format":
            return self.format()
        if kind == "any":
            return self.value(self.pick("ifslwdtb"), depth)
        return self.value(kind, depth)

    def format(self) -> str:
        """A format specification of parts that may not fit together."""
        parts = (
            ("", "", "*<", "^", ">", "x=", "<"), ("", "", "+", "-", " "), ("", "", "#"), ("", "0"),
            ("", "1", "7", "12"), ("", "", ",", "_"), ("", "", ".0", ".1", ".3", ".12"),
            ("", "d", "f", "e", "g", "s", "x", "X", "b", "o", "c", "n", "%", "E", "G", "F"),
        )  # fmt: skip
        return "".join(map(self.pick, parts))

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
            return self.simple()
        if self.choose(4) == 0:
            kinds = random_definitions.KINDS
            return kinds[self.choose(len(kinds))](self)
        kinds = (
            self.if_, self.for_, self.while_, self.try_, self.with_, self.match_, self.function,
            self.leave, self.generator, self.raise_, self.group if HAS_GROUPS else self.raise_,
        )  # fmt: skip
        return kinds[self.choose(len(kinds))](depth)

    def simple(self) -> str:
        """A statement that holds no others."""
        topics = tuple(TOPICS.values())
        rows = topics[self.choose(len(topics))] if self.choose(2) else SIMPLE
        return self.filled(self.pick(rows), 1)

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
        target, iterable = self.pick(LOOPS).split(" in ", 1)
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
            pattern = self.pick(PATTERNS if guard or not left else PATTERNS[:-3])
            text += f"\n    case {pattern}{guard}:\n"
            text += textwrap.indent(self.inner(depth), "    ")
        return text

    def function(self, depth: int) -> str:
        """A closure, which is called."""
        name = self.fresh()
        head, call = self.pick(SIGNATURES).split(" | ")
        outer = (self.in_loop, self.in_function)
        self.in_loop, self.in_function = False, True
        scope = self.pick(("", f"    {self.outer} i0, l0\n", f"    {self.outer} i1, s0, d0\n"))
        body = self.inner(depth)
        self.in_loop, self.in_function = outer
        result = self.filled("return <any>", 1)
        local = "".join(
            f"    {kind}{n} = {value}\n"
            for kind, values in START.items()
            for n, value in enumerate(values)
            if not scope or f"{kind}{n}" not in scope.replace(",", "").split()
        )
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
        lines += [self.pick(USES).replace("G", name) for _ in range(1 + self.choose(4))]
        return "\n".join(lines)

    def program(self) -> Program:
        """The whole program: statements of a function."""
        return Program("random", "\n".join((NAMES, self.body())), shared=HEAD)

    def module(self) -> Program:
        """The whole program: statements of a module."""
        self.outer = "global"
        return Program(
            "random", "\n".join((HEAD, NAMES, self.body(most=2, caught=True))), module=True
        )

    def body(self, most: int = 7, *, caught: bool = False) -> str:
        """Several statements, all or most of which catch what they raise."""
        start = "\n".join(
            f"{kind}{n} = {value}"
            for kind, values in START.items()
            for n, value in enumerate(values)
        )
        parts = [start, "m0 = 0", "it = iter(())"]
        for _ in range(most // 2 + self.choose(most - most // 2 + 1)):
            body = self.block(3)
            if self.choose(6) or caught:
                body = (
                    f"try:\n{textwrap.indent(body, '    ')}\n"
                    "except Exception as error:\n"
                    "    log.append(type(error).__name__)"
                )
            parts.append(body)
        parts.append(_REST)
        return "\n".join(parts)


_REST = """
rest = [getattr(p0, 'x', None), getattr(p1, 'y', None), Point.count]
del p0, p1
"""
