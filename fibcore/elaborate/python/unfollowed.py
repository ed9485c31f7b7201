"""What may be done that nobody follows: calls with unknown arguments, any number of them.

A function that is handed to one of which nothing is known may be called there; one that `map` or
`sorted` calls is called as often as there are items. What it changes is merged with what was there.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.part import Part
from fibcore.elaborate.python.pure import changes_nothing
from fibcore.elaborate.python.reach import Reach
from fibcore.elaborate.python.values import ABSENT, Bound, Class, Func, Mod, Native, Obj, Partial
from fibcore.elaborate.python.values.iterators import Iterator
from fibcore.model.tree import Alternatives, SourcePlace, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator

_NOWHERE = SourcePlace("", 1)
_MAKES = frozenset(("__init__", "__new__", "__init_subclass__", "__class_getitem__"))
"""Methods that nobody calls of an object that is there."""
_NONE: Mapping[str, Any] = {}


class Unfollowed(Part):
    """Follows what calls do whose arguments, or whose number, are not known."""

    def __init__(self, evaluator: Evaluator) -> None:
        super().__init__(evaluator)
        self._inside: list[ast.AST] = []
        self.reach = Reach(evaluator)

    def handed(self, values: Iterable[Any], why: Unknown) -> None:
        """What a function may do with functions and iterators that it is handed."""
        for value in values:
            if isinstance(value, Iterator):
                value.take_any(self.ev, why)
            elif isinstance(value, (Func, Bound, Partial, Native, Class, Alternatives)):
                self.call(value, why)

    def methods(self, obj: Obj, why: Unknown) -> None:
        """What the methods of an object that is handed over may change beyond it."""
        if not isinstance(obj.cls, Class):
            return
        for name in {n for base in obj.cls.mro if isinstance(base, Class) for n in base.names}:
            if name in _MAKES:
                continue
            func = self._method(obj.cls, name)
            if func is not None and func.node not in self._inside and self.reach.beyond(func):
                self._any_number(Bound(func, obj), why)

    def _method(self, cls: Class, name: str) -> Func | None:
        """The function that a class holds under a name, where its body defines one."""
        for base in cls.mro:
            if isinstance(base, Class) and name in base.names:
                if not isinstance(base.names[name][-1], ast.FunctionDef):
                    return None
                found = self.ev.classes.own_attr(base, name)
                return found if isinstance(found, Func) else None
        return None

    def call(self, func: Any, why: Unknown) -> None:
        """Any number of calls of a value, with whatever arguments."""
        if isinstance(func, Alternatives):
            for part in func.values:
                self.call(part, why)
        elif isinstance(func, Partial):
            self.ev.doubts.hand_over([func.args, func.kwargs], why)
            self.call(func.func, why)
        elif isinstance(func, Native):
            self.ev.doubts.lose(func.owner, why)
        elif isinstance(func, Class):
            for name in ("__new__", "__init__"):
                made = self.ev.classes.attr(func, name)
                if isinstance(made, Func):
                    first = func if name == "__new__" else Obj(func, why.place or _NOWHERE)
                    self._any_number(Bound(made, first), why)
        elif isinstance(func, (Func, Bound)):
            self._any_number(func, why)
        elif type(func) is Obj:
            method = func.method(self.ev, "__call__", why.place or _NOWHERE)
            if method is not ABSENT:
                self.call(method, why)

    def _any_number(self, func: Func | Bound, why: Unknown) -> None:
        if isinstance(func, Bound) and not isinstance(func.func, Func):
            self.call(func.func, why)
            self.ev.doubts.hand_over([func], why)
            return
        inner = func.func if isinstance(func, Bound) else func
        # A call inside of one is one of any number already.
        if inner.node in self._inside or (isinstance(func, Bound) and isinstance(func.self, Mod)):
            return
        if changes_nothing(inner.node):
            return
        self._inside.append(inner.node)
        try:
            self.ev.writes.repeat(self._once(func, why), None, why)
        finally:
            self._inside.pop()

    def _once(self, func: Any, why: Unknown) -> Callable[[], None]:
        return lambda: self.with_anything(func, why, why.place or _NOWHERE)

    def with_anything(
        self,
        func: Any,
        unknown: Unknown,
        place: SourcePlace,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] = _NONE,
    ) -> None:
        """One call with arguments that are not known beside some that are."""
        if isinstance(func, Alternatives):
            again = partial(self.with_anything, unknown=unknown, place=place)
            self.ev.writes.mapped(func, lambda f: again(f, args=args, kwargs=kwargs))
        elif isinstance(func, Bound) and isinstance(func.func, Func):
            self._followed(func.func, [func.self, *args], kwargs, unknown, place)
        elif isinstance(func, Func):
            self._followed(func, args, kwargs, unknown, place)
        elif isinstance(func, Class):
            init = self.ev.classes.attr(func, "__init__")
            if isinstance(init, Func):
                self._followed(init, [Obj(func, place), *args], kwargs, unknown, place)
        else:
            if isinstance(func, Native):
                self.ev.doubts.lose(func.owner, unknown)
            self.handed((*args, *kwargs.values()), unknown)

    def _followed(
        self,
        func: Func,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        unknown: Unknown,
        place: SourcePlace,
    ) -> None:
        if isinstance(func.node, ast.AsyncFunctionDef):
            return
        spec = func.node.args
        positional = [a.arg for a in (*spec.posonlyargs, *spec.args)]
        given: dict[str, Any] = {a.arg: unknown for a in (spec.vararg, spec.kwarg) if a is not None}
        given |= dict.fromkeys((*positional, *(a.arg for a in spec.kwonlyargs)), unknown)
        given |= dict(zip(positional, args, strict=False))
        given |= {name: value for name, value in kwargs.items() if name in given}
        rest = [*args[len(positional) :], *(v for n, v in kwargs.items() if n not in given)]
        made = self.ev.calls.call_function(func, [], {}, place, bound=given)
        if isinstance(made, Iterator):
            made.take_any(self.ev, unknown)
        self.ev.doubts.hand_over(rest, unknown)
