"""Calls of compiled functions: which ones are, what they see, and how the evaluator takes them."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.compiled import operations as ops
from fibcore.elaborate.python.compiled.compiler import Compiler, compilable, loops
from fibcore.elaborate.python.compiled.globs import Glob, glob
from fibcore.elaborate.python.compiled.operations import NotPlain
from fibcore.elaborate.python.part import Part
from fibcore.elaborate.python.values import ABSENT, Class, Ext, Func, Native, Obj, Raised, depends
from fibcore.model.tree import OriginFloat, OriginInt, OriginStr, SourcePlace

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator

_AFTER = 4
"""Calls of a function before it is compiled: most are called once or twice."""
_MANY = 64
"""Items of an argument, or of what an object holds, that are reason enough to compile at once."""
_ATTEMPTS = 4
"""Calls of a function that end as not plain before it is left to the evaluator for good."""
_DEPTH = 12
"""Calls of compiled functions in each other."""
_REMEMBERING = (OriginStr, OriginInt, OriginFloat)
_EXACT: tuple[tuple[type, Any], ...] = (
    (str, str.__str__),
    (int, int.__int__),
    (float, float.__pos__),
)
_FAILED = (NotPlain, TypeError, ValueError, LookupError, ArithmeticError, AttributeError)
_ROUNDS = 16
"""Rounds of a loop that count as one step of the budget: so much faster are they."""


class Functions(Part):
    """Calls functions that were compiled."""

    def __init__(self, evaluator: Evaluator) -> None:
        super().__init__(evaluator)
        self._calls: dict[int, int] = {}
        self._known: dict[int, _Function | None] = {}
        self._left: set[int] = set()
        self._plain_attributes: dict[tuple[int, str], bool] = {}
        self._depth = 0

    def call(self, func: Func, args: list[Any], kwargs: dict[str, Any], place: SourcePlace) -> Any:
        """The result of a function that loops over plain data; ABSENT where it is not such a one.

        What it gives depends on its arguments alone, and on a layer's index where they do: then the
        result is what the layers have to agree in, and not the way that led to it.
        """
        function = self._compiled(func, args)
        if function is None:
            return ABSENT
        try:
            given = self.ev.calls.bind_arguments(func, args, kwargs, place)
        except Raised:
            return ABSENT
        tracked: list[str] = []
        for name, value in given.items():
            kind = type(value)
            if isinstance(value, _REMEMBERING):
                tracked.append(name)
            elif kind not in ops.PLAIN and kind is not Obj:
                return ABSENT

        def run(*values: Any) -> Any:
            inner = dict(given)
            for name, value in zip(tracked, values, strict=True):
                inner[name] = _exact(value)
            return ops.result(function.run(inner))

        return self._applied(function, run, [given[name] for name in tracked], place)

    def _applied(self, function: _Function, run: Any, values: list[Any], place: SourcePlace) -> Any:
        """What a function gives for arguments that remember more than their values."""
        first = True

        def operation(*given: Any) -> Any:
            nonlocal first
            try:
                return run(*given)
            except _FAILED as error:
                if first:
                    raise NotPlain from None
                # A layer for which it is not plain is another one, as one for which it raises.
                raise ValueError(f"not plain: {error}") from None
            finally:
                first = False

        try:
            found = self.ev.operators.apply(operation, values, place)
        except NotPlain:
            function.failures += 1
            if function.failures >= _ATTEMPTS:
                self._left.add(id(function.node))
            return ABSENT
        if found is not None and not isinstance(found, bool) and any(map(depends, values)):
            self.ev.operators.apply(lambda *given: operation(*given) is not ABSENT, values, place)
        return found

    def _compiled(self, func: Func, args: list[Any]) -> _Function | None:
        """A function that is worth being compiled."""
        key = id(func.node)
        if key in self._left:
            return None
        if key not in self._known:
            seen = self._calls[key] = self._calls.get(key, 0) + 1
            if seen < _AFTER and not any(map(_is_long, args)):
                return None
            node = func.node
            if not isinstance(node, ast.FunctionDef) or not loops(node):
                self._leave(func)
                return None
        found = self.known(func)
        if found is None:
            self._leave(func)
        return found

    def _leave(self, func: Func) -> None:
        self.ev.keep.append(func.node)  # its id is a key
        self._left.add(id(func.node))

    def known(self, func: Func) -> _Function | None:
        """A function compiled; None where it is none that can be, or one that a fact stands for."""
        key = id(func.node)
        if key not in self._known:
            self.ev.keep.append(func.node)
            self._known[key] = None  # one that calls itself is left to the evaluator there
            self._known[key] = self._make(func)
        return self._known[key]

    def _make(self, func: Func) -> _Function | None:
        node, module = func.node, func.env.module
        if func.is_generator or not isinstance(node, ast.FunctionDef) or not compilable(node):
            return None
        if func.env.outer is not None:  # a function in a function, whose variables may change
            return None
        if self.ev.environment.function(func.qualname, module.name) is not ABSENT:
            return None
        return _Function(self, func, node)

    def method(self, owner: Obj, name: str) -> tuple[Func, list[Any]]:
        """A method of an object's class, which nothing hides, and what it is called with first.

        Raises:
            NotPlain: there is none that is called with the object, or with nothing.
        """
        if isinstance(owner.cls, Class) and name not in owner.attrs:
            found = self.ev.classes.attr(owner.cls, name)
            if isinstance(found, Func) and found.kind in ("function", "staticmethod"):
                return found, [owner] if found.kind == "function" else []
        raise NotPlain

    def attribute(self, owner: Obj, name: str) -> Any:
        """What an object has itself, where its class has nothing to say of it.

        Raises:
            NotPlain: it has no such attribute, or the class may compute it.
        """
        cls = owner.cls
        key = (id(cls), name)
        if key not in self._plain_attributes:
            self._plain_attributes[key] = (
                isinstance(cls, Class)
                and not isinstance(self.ev.classes.attr(cls, name), (Func, Native))
                and self.ev.classes.attr(cls, "__getattribute__") is ABSENT
            )
        if not self._plain_attributes[key]:
            raise NotPlain
        value = owner.attrs.get(name, ABSENT)
        if value is ABSENT:
            raise NotPlain
        return value


class _Function:
    """A compiled function, and what it sees around it.

    Attributes:
        node: Its syntax.
        failures: How often it turned out not to be plain.
    """

    def __init__(self, functions: Functions, func: Func, node: ast.FunctionDef) -> None:
        self.node = node
        self.failures = 0
        self._functions = functions
        self._func = func
        self._ev = functions.ev
        self._names: dict[str, Any] = {}
        self._results: dict[tuple[Any, ...], Any] | None = {} if _cached(node) else None
        self._globs: dict[str, Glob | None] = {}
        self._depth = 0
        self._code = Compiler(node, self)

    def run(self, arguments: dict[str, Any]) -> Any:
        """Call it with arguments by parameter."""
        if self._depth >= _DEPTH:
            raise NotPlain
        self._depth += 1
        ops.METER.budget = self._ev.budget
        try:
            return self._code.run(arguments)
        finally:
            self._depth -= 1

    # -- what the code asks for ----------------------------------------------------------------

    def is_builtin(self, name: str) -> bool:
        """Whether a name is Python's."""
        return self._look_up(name) is self._ev.builtins.get(name, ABSENT)

    def syntax(self, name: str) -> ast.FunctionDef | None:
        """The function that a name stands for, where it can be compiled."""
        found = self._look_up(name)
        inner = self._functions.known(found) if isinstance(found, Func) else None
        return None if inner is None else inner.node

    def name(self, name: str) -> Any:
        """The value of a name of its module."""
        if name not in self._names:
            if re.search(rf"^\s+global\b.*\b{name}\b", self._func.env.module.source.text, re.M):
                raise NotPlain  # it may change
            self._names[name] = self._look_up(name)
        return self._names[name]

    def _look_up(self, name: str) -> Any:
        return self._ev.names.lookup(name, self._func.env, self.node)

    def loop(self, rounds: int) -> None:
        """Count the rounds of a loop."""
        self._ev.budget.spend(1 + rounds // _ROUNDS, "the rounds of a loop")

    def is_steady(self, container: Any) -> bool:
        """Whether nothing has changed a long container since it was made."""
        return self._ev.writes.is_steady(container)

    def attribute(self, owner: Any, name: str) -> Any:
        """An attribute of an object."""
        if type(owner) is not Obj:
            raise NotPlain
        return self._functions.attribute(owner, name)

    def call(self, function: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """What a builtin or a function of the source gives."""
        if isinstance(function, Native):
            known = ops.FUNCTIONS.get(function.name)
            if known is None or self._ev.builtins.get(function.name) is not function:
                raise NotPlain
            return known(*args, **kwargs)
        if not isinstance(function, Func):
            raise NotPlain
        return self._call(function, args, kwargs)

    def method(self, owner: Any, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """What a method of an object, or a function of another module, gives."""
        if type(owner) in ops.PLAIN:
            raise NotPlain
        if type(owner) is Obj:
            function, first = self._functions.method(owner, name)
            return self._call(function, [*first, *args], kwargs)
        if isinstance(owner, Native):
            known = ops.CLASS_METHODS.get((owner.name, name))
            if known is not None and owner is self._ev.builtins.get(owner.name):
                return known(*args, **kwargs)
        if isinstance(owner, Ext) and owner.name in ("re", "regex") and not kwargs:
            return self._of_expressions(name, args)
        raise NotPlain

    def _of_expressions(self, name: str, args: list[Any]) -> Any:
        """`re.compile` and `re.fullmatch` of an expression that is no more than a glob."""
        pattern, *texts = args
        if type(pattern) is str and (name, len(texts)) in (("compile", 0), ("fullmatch", 1)):
            if pattern not in self._globs:
                self._globs[pattern] = glob(pattern)
            found = self._globs[pattern]
            if found is not None:
                return ops.fullmatch(found, texts[0]) if texts else found
        raise NotPlain

    def _call(self, func: Func, args: list[Any], kwargs: dict[str, Any]) -> Any:
        inner = self._functions.known(func)
        if inner is None:
            raise NotPlain
        return ops.plain(inner.remembered(func, args, kwargs))

    def remembered(self, func: Func, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """Call it, or give what it gave, where the source says that it may be remembered."""
        parameters = self._code.parameters
        if not kwargs and len(args) == len(parameters):
            if self._results is not None and all(type(a) in ops.SCALARS for a in args):
                key = tuple(args)
                if key not in self._results:
                    self._results[key] = self.run(dict(zip(parameters, args, strict=True)))
                return self._results[key]
            return self.run(dict(zip(parameters, args, strict=True)))
        given = self._ev.calls.bind_arguments(func, args, kwargs, func.place)
        for value in given.values():
            if type(value) is not Obj:
                ops.plain(value)
        return self.run(given)


def _is_long(value: Any) -> bool:
    """Whether an argument is a long container, or an object that holds one."""
    kind = type(value)
    if kind is Obj:
        return any(type(v) in (list, dict) and len(v) > _MANY for v in value.attrs.values())
    return kind in (list, dict) and len(value) > _MANY


def _exact(value: Any) -> Any:
    """A number or text without what it remembers."""
    return next((make(value) for kind, make in _EXACT if isinstance(value, kind)), value)


def _cached(node: ast.FunctionDef) -> bool:
    """Whether a decorator remembers what a function gives."""
    for decorator in node.decorator_list:
        named = decorator.func if isinstance(decorator, ast.Call) else decorator
        last = named.attr if isinstance(named, ast.Attribute) else getattr(named, "id", "")
        if last in ("cache", "lru_cache"):
            return True
    return False
