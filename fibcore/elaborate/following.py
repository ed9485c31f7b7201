"""From a constructed model to the calls of kernels that are no module.

Each kind of building block that launches kernels of its own is gone into once: those of one class
with equal arguments, quantised alike and called alike. What one launches, all of them do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import attrs

from fibcore.elaborate.python.forward import TENSOR_REASON, summary
from fibcore.elaborate.python.launches import stage_of
from fibcore.elaborate.python.values import (
    ABSENT,
    Class,
    Ext,
    Func,
    Mod,
    Param,
    Raised,
    Tensor,
    Unforeseen,
)
from fibcore.elaborate.sglang import expert_runners, insides, sampler
from fibcore.elaborate.sglang.cache_writes import cache_writes, is_attention, untold_writes
from fibcore.elaborate.sglang.kernels import is_beside
from fibcore.model.tree import (
    Alternatives,
    Call,
    Followed,
    Missing,
    ModuleNode,
    ModuleRef,
    Operation,
    ParameterRef,
    SourcePlace,
    TensorRef,
    Unknown,
    origins_of,
)

if TYPE_CHECKING:
    from fibcore.elaborate.build import Block, TreeBuilder
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.elaborate.python.launches import Launch

Ways = frozenset[Any]
"""Ways in which a building block is called, by what tells each from others."""
UNTOLD = "?"
"""The method of a call of which it is not known whether it happens."""
STEPS = 40_000
"""For each kind of building block; what is gone into takes some thousands."""


@attrs.frozen
class Neighbour(ParameterRef):
    """A parameter of another module than the building block that is gone into.

    Its path begins below the module that both are in, so many names from the root.
    """

    above: int = 0


class Following:
    """Follows what is below the building blocks of one model, and what runs beside it.

    Args:
        evaluator: The evaluator that constructed the model.
        builder: What wrote its tree.
        dtype: The dtype of activations; None where it is not known.
        ranks: How many ranks serve the model.
    """

    def __init__(self, evaluator: Evaluator, builder: TreeBuilder, dtype: Any, ranks: int) -> None:
        self.ev = evaluator
        self._builder = builder
        self._dtype = dtype
        self._ranks = ranks
        self._kinds: dict[Any, _Kind] = {}
        self._of_object: dict[Any, tuple[_Kind, Ways]] = {}
        self.missing: list[Missing] = []

    def run(self) -> Followed:
        """Everything there is to be followed."""
        blocks = [
            (block.node.path, *self._kind_of(block))
            for block in self._builder.blocks
            if not block.node.idle and self._is_followed(block)
        ]
        for kind in self._kinds.values():
            self._follow(kind)
        operations = [o for path, kind, ways in blocks for o in kind.at(path, ways)]
        part = self._sampler()
        parts = {} if part is None else {part[0].path: part[0]}
        operations += () if part is None else part[1]
        return Followed(tuple(operations), parts, tuple(self.missing))

    # -- building blocks -----------------------------------------------------------------------

    def _is_followed(self, block: Block) -> bool:
        return (
            is_attention(block.mod)
            or self._is_gone_into(block)
            or (self._ranks > 1 and any(map(insides.sums_over_ranks, self._calls(block))))
        )

    def _is_gone_into(self, block: Block) -> bool:
        return insides.is_gone_into(block.mod, block.node.quantization, self._ranks)

    def _calls(self, block: Block) -> list[Call]:
        return self.ev.forward.calls.get(id(block.mod)) or []

    def _kind_of(self, block: Block) -> tuple[_Kind, Ways]:
        """The kind that a building block is of, and the ways in which it is called."""
        own = {k: v for k, v in block.own.items() if k not in insides.NAMING}
        quantization = block.node.quantization
        mark = (id(block.mod), quantization, _mark(own))
        known = self._of_object.get(mark)
        if known is None:
            given = {k: v for k, v in block.mod.args.items() if k not in insides.NAMING}
            key = (block.mod.cls, quantization, _mark({**given, **own}))
            kind = self._kinds.setdefault(key, _Kind(block, self._builder.export))
            ways = self._ways(block)
            kind.ways.update(ways)
            known = self._of_object[mark] = (kind, frozenset(ways))
        return known

    def _ways(self, block: Block) -> dict[Any, Call]:
        """The ways in which a building block is called, each by what tells it from others."""
        calls = self._calls(block)
        if not (is_attention(block.mod) or self._is_gone_into(block)):
            # Its other methods are one kernel, which its class tells.
            calls = [call for call in calls if insides.sums_over_ranks(call)]
        return {
            (call.method, summary(call.args), summary(dict(call.kwargs)), _stage(call)): call
            for call in reversed(calls or self._untold(block))
        }

    def _untold(self, block: Block) -> list[Call]:
        """How a building block is called of which the forward pass does not tell.

        It is not known never to be called: with tensors, if at all.
        """
        func = self.ev.classes.attr(block.mod.cls, "forward")
        if not isinstance(func, Func):
            return []
        names = [arg.arg for arg in func.node.args.args[1:] if arg.arg not in func.defaults]
        tensor = Unknown.tensor(TENSOR_REASON, block.node.place)
        return [Call(UNTOLD, tuple(tensor for _ in names), {}, block.node.place)]

    def _follow(self, kind: _Kind) -> None:
        """Go into a building block, once in each way in which any of its kind is called."""
        block: Block = kind.block
        if is_attention(block.mod):
            self._note_writes(kind, block)
            return

        def run(found: list[Launch]) -> Mod:
            arguments = {**block.mod.args, **block.own}
            made = insides.prepared(self.ev, block.mod, arguments, block.node.quantization)
            kind.names = _held(made)  # here, for what loading weights sets is taken back
            gone: dict[Any, Any] = {}
            inputs = insides.Inputs(self.ev, made, self._dtype)
            for way, call in kind.ways.items():
                args, kwargs = inputs.of(call)
                method = "forward" if call.method == UNTOLD else call.method
                key = (method, summary(args), summary(kwargs), _stage(call))
                if key not in gone:
                    start = len(found)
                    try:
                        self.ev.forward.call_module(made, method, args, kwargs, call.place)
                    except Raised as error:
                        if call.method == UNTOLD and error.explicit:
                            continue  # The class refuses to be called, as an LM head does.
                        raise
                    kind.add(way, found[start:], possible=call.method == UNTOLD, stage=_stage(call))
                kind.join(way, gone.setdefault(key, way))
            return made

        self._run(block.node.path, run)

    def _note_writes(self, kind: _Kind, block: Block) -> None:
        """Note what attention of a kind writes to the cache."""
        for way, call in kind.ways.items():
            if call.method == UNTOLD:
                why = "how it is called is not known, nor what it writes to the cache"
                self.missing.append(Missing(block.node.path, why, block.node.place))
                kind.add(way, untold_writes(self.ev, block.mod, self._dtype))
            else:
                kind.add(way, cache_writes(self.ev, block.mod, call, self._dtype))

    def _run(self, path: str, run: Callable[[list[Launch]], Mod]) -> Mod | None:
        """Go into something; the module that it is, None where it was left early."""
        made: Mod | None = None
        with (
            self.ev.noting() as notes,
            self.ev.launches.following(STEPS) as (found, lost),
            expert_runners.filled(self.ev),
        ):
            try:
                made = run(found)
            except (Unforeseen, RecursionError) as error:
                lost.append(Unknown(str(error), getattr(error, "place", None)))
        for why in dict.fromkeys((*lost, *notes)):
            self.missing.append(Missing(path, why.reason, why.place))
        return made

    # -- beside the model ----------------------------------------------------------------------

    def _sampler(self) -> tuple[ModuleNode, list[Operation]] | None:
        """The sampler, where the model gives logits, and what it launches."""
        vocabulary = self._vocabulary()
        if vocabulary is None:
            return None

        kind = _Kind(None, self._builder.export)

        def run(found: list[Launch]) -> Mod:
            made = sampler.make(self.ev)
            func = self.ev.classes.attr(made.cls, "forward") if made is not None else None
            if made is None or not isinstance(func, Func):
                raise Raised("LookupError", "the source has no sampler", None)
            given = sampler.arguments(self.ev, func, vocabulary)
            self.ev.forward.call_module(made, "forward", given, {}, func.place, func)
            kind.add("", found)
            return made

        made = self._run(sampler.PATH, run)
        if made is None:
            return None
        return _node(made, sampler.PATH), list(kind.at(sampler.PATH, frozenset([""])))

    def _vocabulary(self) -> Any:
        """The number of tokens that logits are given for; None where the model gives none."""
        for block in self._builder.blocks:
            cls = block.mod.cls
            if isinstance(cls, Class) and cls.derives("LogitsProcessor") and block.node.calls:
                config = block.mod.args.get("config")
                place = block.mod.place or SourcePlace("", 1)
                return self.ev.attributes.get(config, "vocab_size", place)
        return None


class _Kind:
    """What building blocks of one kind launch.

    Args:
        block: The one that stands for them; None beside the model.
        export: Writes other values down than tensors.

    Attributes:
        ways: The ways in which any of them is called.
        names: The names of parameters, by the id of the object.
    """

    def __init__(self, block: Any, export: Callable[[Any], Any]) -> None:
        self.block: Any = block
        self.ways: dict[Any, Call] = {}
        self.names: dict[int, str] = {}
        self._export = export
        self._operations: dict[Any, list[Operation]] = {}

    def add(
        self, way: Any, launches: Iterable[Launch], *, possible: bool = False, stage: str = ""
    ) -> None:
        """Note what is launched in one way of calling.

        Args:
            way: The way.
            launches: What is launched.
            possible: Whether it is not known if that way is gone.
            stage: The stage in whose steps alone it is gone; empty where it is in both.
        """
        self._operations[way] = [
            Operation(
                launch.function,
                "",
                tuple(map(self._exported, launch.args)),
                {name: self._exported(value) for name, value in launch.kwargs.items()},
                launch.place,
                callers=launch.callers,
                conditions=launch.conditions,
                possible=launch.possible or possible,
                stage=stage or stage_of(launch.conditions),
                beside=self.block is None or is_beside(launch.function),
            )
            for launch in _distinct(launches)
        ]

    def join(self, way: Any, other: Any) -> None:
        """Let one way of calling launch what another one does."""
        self._operations[way] = self._operations.get(other, [])

    def at(self, path: str, ways: Ways) -> Iterator[Operation]:
        """The launches of the one at a path, that is called in some of the ways."""
        lists = {id(found): found for way, found in self._operations.items() if way in ways}
        found = [operation for one in lists.values() for operation in one]
        for o in found if len(lists) == 1 else _once(found):
            args = tuple(_at(value, path) for value in o.args) if _moves(o.args) else o.args
            kwargs = o.kwargs
            if _moves(kwargs.values()):
                kwargs = {name: _at(value, path) for name, value in kwargs.items()}
            yield Operation(
                o.function,
                path,
                args,
                kwargs,
                o.place,
                o.callers,
                o.conditions,
                o.possible,
                o.stage,
                o.beside,
            )

    def _exported(self, value: Any) -> Any:
        """A value as plugins see it; a parameter's path begins at the building block."""
        if self.block is not None and value is self.block.mod:
            return ModuleRef("")
        if isinstance(value, Mod) and value.is_parameter:
            data = value.args.get("data")
            shape = data.shape if isinstance(data, Tensor) else None
            dtype = data.dtype if isinstance(data, Tensor) else None
            return ParameterRef(self.names.get(id(value), "?"), self._shape(shape), _dtype(dtype))
        if isinstance(value, Param):
            name = self.names.get(id(value.base or value))
            if name is not None:
                return ParameterRef(name, self._shape(value.shape), _dtype(value.dtype))
            return self._neighbour(self._export(value))
        if isinstance(value, Tensor):
            return TensorRef(self._shape(value.shape), _dtype(value.dtype))
        if isinstance(value, Alternatives):
            parts: list[Any] = []
            for part in map(self._exported, (v for v in value.values if v is not ABSENT)):
                if part not in parts:
                    parts.append(part)
            return parts[0] if len(parts) == 1 else Alternatives(tuple(parts))
        if isinstance(value, (list, tuple)):
            return type(value)(map(self._exported, value))
        return self._export(value)

    def _neighbour(self, value: Any) -> Any:
        """A parameter of a module beside the building block, by the way to it from there."""
        if not isinstance(value, ParameterRef) or self.block is None:
            return value
        # A layer that others equal is written down for each of them: both paths are its last ones.
        own, other = self._export(self.block.mod).path.split("."), value.path.split(".")
        common = 0
        while common < min(len(own), len(other)) and own[common] == other[common]:
            common += 1
        return Neighbour(".".join(other[common:]), value.shape, value.dtype, common)

    def _shape(self, shape: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
        return None if shape is None else tuple(map(self._export, shape))


def _stage(call: Call) -> str:
    """The stage of a call which adds up over ranks where other calls leave that to others."""
    return call.stage if insides.sums_over_ranks(call) else ""


def _mark(value: Any) -> Any:
    """What tells arguments from others: their values, and where these came from."""
    if isinstance(value, dict):
        return tuple((name, _mark(part)) for name, part in value.items())
    if isinstance(value, (list, tuple)):
        return tuple(map(_mark, value))
    if isinstance(value, Param):  # each layer has its own
        return "parameter", _mark(value.shape), summary(value.dtype)
    return summary(value), origins_of(value)


def _moves(values: Iterable[Any]) -> bool:
    """Whether some of the arguments of a launch differ from path to path."""
    return any(
        isinstance(value, (ParameterRef, ModuleRef))
        or (isinstance(value, Alternatives) and _moves(value.values))
        or (isinstance(value, (list, tuple)) and _moves(value))
        for value in values
    )


def _at(value: Any, path: str) -> Any:
    """An argument of the launch at a path."""
    if isinstance(value, Neighbour):
        above = path.split(".")[: value.above]
        return ParameterRef(".".join((*above, value.path)), value.shape, value.dtype)
    if isinstance(value, ParameterRef):
        return ParameterRef(f"{path}.{value.path}", value.shape, value.dtype)
    if isinstance(value, ModuleRef):
        return value if value.path else ModuleRef(path)
    if isinstance(value, Alternatives):
        return Alternatives(tuple(_at(part, path) for part in value.values))
    if isinstance(value, (list, tuple)):
        return type(value)(_at(part, path) for part in value)
    return value


def _held(made: Mod) -> dict[int, str]:
    """The names of a module's parameters, by the id of the object."""
    return {
        id(part): name
        for name, value in made.attrs.items()
        for part in (value.values if isinstance(value, Alternatives) else (value,))
        if isinstance(part, (Mod, Param))
    }


def _distinct(launches: Iterable[Launch]) -> list[Launch]:
    """Launches without those that are met again: what certainly happens goes before what may."""
    found: dict[Any, Launch] = {}
    for launch in launches:
        given = _known([*launch.args, *launch.kwargs.values()])
        key = (launch.function, launch.place, launch.callers, given)
        known = found.get(key)
        if known is None or (known.possible and not launch.possible):
            found[key] = launch
    return list(found.values())


def _once(operations: Iterable[Operation]) -> list[Operation]:
    """Launches of several ways of calling, without those that are the same in more than one."""
    found: dict[Any, Operation] = {}
    for operation in operations:
        given = _known([*operation.args, *operation.kwargs.values()])
        key = (operation.function, operation.place, operation.callers, given, operation.stage)
        known = found.get(key)
        if known is None or (known.possible and not operation.possible):
            found[key] = operation
    return list(found.values())


def _known(value: Any) -> Any:
    """What is known of arguments, without why the rest is not."""
    if isinstance(value, (TensorRef, Tensor)) and not isinstance(value, Param):
        return "tensor", _known(value.shape), summary(value.dtype)
    if isinstance(value, (list, tuple)):
        return tuple(map(_known, value))
    if isinstance(value, Alternatives):
        return "one of", _known(value.values)
    if isinstance(value, (ModuleRef, ParameterRef)):
        return type(value).__name__, value.path
    return summary(value)


def _node(made: Mod, path: str) -> ModuleNode:
    """The node of a module beside the model."""
    cls = made.cls
    assert isinstance(cls, Class)
    return ModuleNode(
        path=path,
        cls=cls.qualified,
        bases=tuple(c.qualified if isinstance(c, Class) else c.name for c in cls.mro[1:]),
        arguments={},
        attributes={},
        place=made.place or cls.place,
        class_place=cls.place,
        leaf=True,
        quantization=None,
        calls=(),
        children={},
    )


def _dtype(value: Any) -> str | None:
    return value.name.rpartition(".")[2] if isinstance(value, Ext) else None
