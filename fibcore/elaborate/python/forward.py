"""The forward pass: how modules call each other.

Tensors are not computed. What is followed is which module is called from where, with which
arguments, and which tensor operations take parameters. A layer that is called like one before it is
followed once.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.budget import Exhausted
from fibcore.elaborate.python.inherited_calls import inherit
from fibcore.elaborate.python.launches import is_by_size, stage_of
from fibcore.elaborate.python.limits import bounded
from fibcore.elaborate.python.mode import following
from fibcore.elaborate.python.part import Part
from fibcore.elaborate.python.values import (
    Args,
    Class,
    Ext,
    Func,
    Kwargs,
    Mod,
    Param,
    Raised,
    Repeat,
    Tracker,
    Value,
    bare,
    depending,
)
from fibcore.model.tree import Alternatives, Call, Operation, SourcePlace, Unknown, origins_of

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator


_HOLDERS = (Value, Alternatives, list, tuple, dict, set, frozenset)
"""Values that may be modules or hold some."""
TENSOR_REASON = "tensor of the forward pass"
MAX_SELF_CALLS = 3
"""How often a module may be inside of itself before it is left."""


class Forward(Part):
    """Follows forward passes.

    Attributes:
        running: The modules whose forward pass is followed, innermost last.
        calls: How modules are called, by the id of the object.
        operations: Tensor operations on parameters, by the id of the module that runs them.
        lost: Ids of modules of whose forward pass a statement was lost to an error: of them it is
            not known what else they call.
        given_away: What was handed to functions that are not followed, by its id.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        super().__init__(evaluator)
        self.running: list[Mod] = []
        self.calls: dict[int, list[Call]] = {}
        self._order = itertools.count(1)
        self.operations: dict[int, list[Operation]] = {}
        self.lost: set[int] = set()
        self.given_away: dict[int, Any] = {}
        # Results by module, method and a summary of the arguments, with the decisions on the layer
        # index that they hang on, the layer that they are of, and what is carried on from there.
        self._memo: dict[Any, list[tuple[Tracker | None, Any, Mod, Any]]] = {}
        self._depth = 0  # how many journals were open where the outermost module was called

    @contextlib.contextmanager
    def separate(self) -> Iterator[dict[int, list[Call]]]:
        """Follow calls that are no part of the model's own forward pass.

        Gives:
            The calls that are made inside, by the id of the module.
        """
        saved = (self.running, self.calls, self.operations, self.lost, self.given_away, self._memo)
        self.running, self.calls, self.operations = [], {}, {}
        self.lost, self.given_away, self._memo = set(), {}, {}
        try:
            with self.ev.within(following(self.ev.mode, forward=True)):
                yield self.calls
        finally:
            (
                self.running, self.calls, self.operations, self.lost, self.given_away, self._memo,
            ) = saved  # fmt: skip

    @contextlib.contextmanager
    def attempt(self) -> Iterator[None]:
        """Follow something that leaves no trace where it raises."""
        calls = {number: list(noted) for number, noted in self.calls.items()}
        operations = {number: list(noted) for number, noted in self.operations.items()}
        lost, memo = set(self.lost), dict(self._memo)
        try:
            with self.ev.writes.attempt():
                yield
        except Raised:
            self.calls, self.operations, self.lost, self._memo = calls, operations, lost, memo
            raise

    def object_of(self, mod: Mod | Repeat) -> Any:
        """A module, or a layer that repeats another one as an object of its own."""
        if not isinstance(mod, Repeat):
            return mod
        like, new = mod.like, mod.made is None
        made = mod.force()
        if new and mod.followed:
            self._inherit(like, made, mod.index)
        return made

    def _followed_as(self, mod: Repeat, source: Mod) -> None:
        """Note that a layer goes the same way as one before it."""
        if mod.made is None:
            mod.like, mod.followed = source, True
        elif mod.made is not source:
            self._inherit(source, mod.made, mod.index)

    def _inherit(self, like: Any, made: Any, index: int) -> None:
        if isinstance(like, Mod) and isinstance(made, Mod):
            self.ev.keep.extend(inherit(self.calls, self.operations, like, made, index))
            if id(like) in self.lost:
                self.lost.add(id(made))

    def is_called(self, mod: Mod | Repeat) -> bool:
        """Whether a call of a module was noted."""
        made = mod.made or mod.like if isinstance(mod, Repeat) else mod
        return bool(self.calls.get(id(made)))

    def call_module(
        self,
        mod: Mod | Repeat,
        method: str,
        args: Args,
        kwargs: Kwargs,
        place: SourcePlace,
        func: Func | None = None,
    ) -> Any:
        """Call a module: note the call, and look into it where it is no leaf.

        Args:
            mod: The module.
            method: The name of the method.
            args: Positional arguments, without the module.
            kwargs: Keyword arguments.
            place: Where the call stands.
            func: The method; by default the class's of that name.
        """
        if not self.ev.mode.forward and (isinstance(mod, Repeat) or mod.leaf):
            return Unknown("the result of a module", place)
        if isinstance(mod, Repeat) and mod.apart:
            mod = mod.made
        template = mod.template if isinstance(mod, Repeat) else mod
        if isinstance(template, Mod) and template.leaf and not self.ev.launches.active:
            self.note_call(self.object_of(mod), method, args, kwargs, place)
            return Unknown.tensor(TENSOR_REASON, place)
        number = mod.index if isinstance(mod, Repeat) else mod.number
        key = (id(template), method, *self._given(args, kwargs, number))
        for tracker, result, source, carried in self._memo.get(key, ()):
            if number is None or tracker is None or tracker.holds(number):
                if isinstance(mod, Repeat):
                    self._followed_as(mod, source)
                self.ev.environment.carry(self.ev, carried)
                return result
        # No layer before went this way, so this one is needed as an object of its own.
        target = self.object_of(mod)
        if not isinstance(target, Mod):
            return Unknown("a call of something that is no module", place)
        self.note_call(target, method, args, kwargs, place)
        if func is None:
            found = (
                self.ev.classes.attr(target.cls, method) if isinstance(target.cls, Class) else None
            )
            if not isinstance(found, Func):
                return self._foreign_forward(target, args, place)
            func = found
        if sum(t is target for t in self.running) > MAX_SELF_CALLS:
            return Unknown("a module that calls itself", place)
        result = self._follow(target, func, args, kwargs, place, number)
        carried = self.ev.environment.carried()
        self._memo.setdefault(key, []).append((target.tracker, result, target, carried))
        return result

    def _given(self, args: Args, kwargs: Kwargs, number: int | None) -> tuple[Any, ...]:
        """A hashable summary of all that a call of a module is given."""
        carried = self.ev.environment.carried()
        return (summary(args, number), summary(kwargs, number), summary(carried, number))

    def _follow(
        self,
        target: Mod,
        func: Func,
        args: Args,
        kwargs: Kwargs,
        place: SourcePlace,
        number: int | None,
    ) -> Any:
        if self.ev.environment.is_kernel(func.env.module.name):
            self.lost.add(id(target))  # what runs inside is not looked into
        if not self.running:
            self._depth = self.ev.writes.open
        self.running.append(target)
        try:
            if target.tracker is None:
                return self.ev.calls.call_function(func, [target, *args], kwargs, place)
            # Decisions of the forward pass on the layer index tell layers apart too.
            with self.ev.layers.tracking(target.tracker):
                args = [_relative(a, number) for a in args]
                kwargs = {k: _relative(v, number) for k, v in kwargs.items()}
                return self.ev.calls.call_function(func, [target, *args], kwargs, place)
        except (Raised, Exhausted):
            self.lost.add(id(target))  # it was left halfway
            raise
        finally:
            self.running.pop()

    def give_away(self, args: Args, kwargs: Kwargs) -> None:
        """Note what is handed to something that is not followed: it may call what it gets."""
        if self.ev.mode.forward:
            for value in (*args, *kwargs.values()):
                if isinstance(value, _HOLDERS):
                    self.given_away[id(value)] = value

    def note_abandoned(self) -> None:
        """Note that the module that runs left a block by an exception: it may call more there."""
        self.lost.update(map(id, self.running[-1:]))

    def _foreign_forward(self, target: Mod, args: Args, place: SourcePlace) -> Any:
        """The forward pass of a class of torch: that of `Sequential` calls its entries in turn."""
        tensor = Unknown.tensor(TENSOR_REASON, place)
        if (
            target.entries is None
            or not isinstance(target.cls, Ext)
            or "Sequential" not in target.cls.name
        ):
            return tensor
        value: Any = args[0] if args else tensor
        for item in target.entries:
            value = (
                self.call_module(item, "forward", [value], {}, place)
                if isinstance(item, (Mod, Repeat))
                else tensor
            )
        return value

    def note_call(
        self, target: Mod, method: str, args: Args, kwargs: Kwargs, place: SourcePlace
    ) -> None:
        """Record how the forward pass calls a module; the same call again is no other."""
        record = self.calls.setdefault(id(target), [])
        self.ev.keep.append(target)
        if target.leaf:
            self.give_away(args, kwargs)
        around = self.ev.launches.conditions
        new = Call(
            method,
            tuple(args),
            dict(kwargs),
            place,
            next(self._order),
            stage_of(around),
            is_by_size(around),
        )
        here = [call for call in record if call.place == place and call.method == method]
        if not here or _given_of(new) not in map(_given_of, here):
            record.append(new)

    def tensor_operation(self, name: str, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        """A tensor function: noted where a parameter takes part."""
        self.note_parameters(name, args, kwargs, place)
        return Unknown.tensor(f"tensor from {name}", place)

    def note_parameters(self, name: str, args: Args, kwargs: Kwargs, place: SourcePlace) -> None:
        """Record an operation of the module that runs, where one of its arguments is a parameter.

        It may be a GEMM that no Linear layer shows.
        """
        if any(_is_weight(a) for a in (*args, *kwargs.values())):
            self.note_operation(name, args, kwargs, place)

    def notes(self, func: Func, args: Args, kwargs: Kwargs, place: SourcePlace) -> bool:
        """Whether a function of the source is a kernel beside modules; its call is noted."""
        if self.ev.launches.active or not self.ev.environment.is_noted(func.qualname):
            return False
        self.give_away(args, kwargs)
        self.note_operation(func.qualname, args, kwargs, place, beside=True)
        return True

    def note_operation(
        self,
        name: str,
        args: Args,
        kwargs: Kwargs,
        place: SourcePlace,
        *,
        beside: bool = False,
        possible: bool = False,
    ) -> None:
        """Record an operation of the module that runs; the same one again is no other.

        Args:
            name: The function.
            args: Positional arguments.
            kwargs: Keyword arguments.
            place: Where it stands.
            beside: Whether it is a kernel by itself, beside modules.
            possible: Whether that may not happen though no branch says so.
        """
        if not self.ev.mode.forward or not self.running:
            return
        owner = self.running[-1]
        record = self.operations.setdefault(id(owner), [])
        conditions = tuple(self.ev.launches.conditions) if beside else ()
        new = Operation(
            name,
            "",
            tuple(args),
            dict(kwargs),
            place,
            conditions=conditions,
            stage=stage_of(conditions),
            possible=possible or (beside and self.ev.writes.open > self._depth),
            beside=beside,
        )
        here = [noted for noted in record if noted.place == place and noted.function == name]
        if not here or _given_of(new) not in map(_given_of, here):
            record.append(new)
            self.ev.keep.append(owner)


def _is_weight(value: Any) -> bool:
    """Whether a value is a parameter, of torch's class or of one of the source."""
    return isinstance(value, Param) or (isinstance(value, Mod) and value.is_parameter)


def _given_of(noted: Call | Operation) -> tuple[Any, ...]:
    return summary(noted.args), summary(dict(noted.kwargs)), noted.stage


def _offset(value: Any, number: int | None) -> int | None:
    """How far an integer argument is from the layer's index, where it is close to it."""
    if number is None or isinstance(value, bool) or not isinstance(value, int):
        return None
    distance = bare(value) - number
    return distance if -1 <= distance <= 1 else None


def _relative(value: Any, number: int | None) -> Any:
    """An argument that may be counted from the layer's index, made to depend on it.

    Equal layers that get their own index (or the next one) as an argument go the same way through
    the forward pass, unless a decision depends on it; those are noted like all others.
    """
    offset = _offset(value, number)
    if offset is None:
        return value
    return depending(bare(value), lambda i: i + offset, origins_of(value))


def summary(value: Any, number: int | None = None) -> Any:
    """A hashable summary of a value: equal summaries mean the same way through a forward pass.

    Args:
        value: The value.
        number: The layer's index; integers close to it are summarised by their distance from it.
    """
    offset = _offset(value, number)
    if offset is not None:
        return ("index", offset)
    if value is None or isinstance(value, (bool, int, float, str)):
        return (type(value).__name__, bare(value))
    if isinstance(value, Unknown):
        return "tensor" if value.is_tensor else "unknown"
    if isinstance(value, Value):
        return value.summary(number)
    if isinstance(value, Alternatives):
        return ("one of", frozenset(summary(v, number) for v in value.values))
    if isinstance(value, (list, tuple, dict)):
        bounded(value)
        return _summary_of_parts(value, number)
    return id(value)


def _summary_of_parts(value: Any, number: int | None) -> Any:
    """The summary of a container, which is no larger than it may be."""
    if isinstance(value, dict):
        return tuple((str(k), _summary_of_part(v, number)) for k, v in value.items())
    return tuple(_summary_of_part(v, number) for v in value)


def _summary_of_part(value: Any, number: int | None) -> Any:
    if isinstance(value, (list, tuple, dict)):
        return _summary_of_parts(value, number)
    return summary(value, number)
