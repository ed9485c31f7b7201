"""From a constructed model to the calls of kernels that are no module.

Each kind of building block that launches kernels of its own is gone into once: those of one class
with equal arguments, quantised alike and called alike. What one launches, all of them do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from fibcore.elaborate.python.forward import summary
from fibcore.elaborate.python.values import Class, Ext, Func, Mod, Param, Raised, Tensor, Unforeseen
from fibcore.elaborate.sglang import insides, sampler
from fibcore.model.tree import (
    Alternatives,
    Call,
    Followed,
    Missing,
    ModuleNode,
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

STEPS = 60_000
"""For each kind of building block; what is gone into takes some thousands."""


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
        self._of_object: dict[Any, _Kind] = {}
        self.missing: list[Missing] = []

    def run(self) -> Followed:
        """Everything there is to be followed."""
        operations = list(self._below_blocks())
        part = self._sampler()
        parts = {} if part is None else {part[0].path: part[0]}
        operations += () if part is None else part[1]
        return Followed(tuple(operations), parts, tuple(self.missing))

    # -- building blocks -----------------------------------------------------------------------

    def _below_blocks(self) -> Iterator[Operation]:
        for block in self._builder.blocks:
            if insides.is_gone_into(block.mod, block.node.quantization, self._ranks):
                yield from self._kind_of(block).at(block.node.path)

    def _kind_of(self, block: Block) -> _Kind:
        """What building blocks like this one launch."""
        own = {k: v for k, v in block.own.items() if k not in insides.NAMING}
        quantization = block.node.quantization
        mark = (id(block.mod), quantization, _mark(own))
        known = self._of_object.get(mark)
        if known is None:
            given = {k: v for k, v in block.mod.args.items() if k not in insides.NAMING}
            calls = self._calls(block.mod)
            ways = tuple((c.method, summary(c.args), summary(dict(c.kwargs))) for c in calls)
            key = (block.mod.cls, quantization, _mark({**given, **own}), ways)
            known = self._kinds.get(key)
            if known is None:
                known = self._kinds[key] = self._followed(block, calls)
            self._of_object[mark] = known
        return known

    def _calls(self, mod: Mod) -> list[Call]:
        return self.ev.forward.calls.get(id(mod), [])

    def _followed(self, block: Block, calls: list[Call]) -> _Kind:
        path = block.node.path

        def run() -> Mod:
            arguments = {**block.mod.args, **block.own}
            made = insides.prepared(self.ev, block.mod, arguments, block.node.quantization)
            for call in calls:
                args, kwargs = insides.inputs(made, call, self._dtype)
                self.ev.forward.call_module(made, call.method, args, kwargs, call.place)
            return made

        return self._kind(path, run)

    def _kind(self, path: str, run: Callable[[], Mod]) -> _Kind:
        """What is launched while something runs, which gives the module that it is."""
        made: Mod | None = None
        names: dict[int, str] = {}
        with self.ev.launches.following(STEPS) as (found, lost):
            try:
                made = run()
                names = _held(made)  # here, for what loading weights sets is taken back
            except (Unforeseen, RecursionError) as error:
                lost.append(Unknown(str(error), getattr(error, "place", None)))
        self.missing.extend(Missing(path, f"not followed: {why.reason}", why.place) for why in lost)
        return _Kind(made, names, _distinct(found), self._builder.export)

    # -- beside the model ----------------------------------------------------------------------

    def _sampler(self) -> tuple[ModuleNode, list[Operation]] | None:
        """The sampler, where the model gives logits, and what it launches."""
        vocabulary = self._vocabulary()
        if vocabulary is None:
            return None

        def run() -> Mod:
            made = sampler.make(self.ev)
            func = self.ev.classes.attr(made.cls, "forward") if made is not None else None
            if made is None or not isinstance(func, Func):
                raise Raised("LookupError", "the source has no sampler", None)
            given = sampler.arguments(self.ev, func, vocabulary)
            self.ev.forward.call_module(made, "forward", given, {}, func.place, func)
            return made

        kind = self._kind(sampler.PATH, run)
        if kind.made is None:
            return None
        return _node(kind.made, sampler.PATH), list(kind.at(sampler.PATH))

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
        made: The one that was followed; None where it could not be made.
        names: The names of its parameters, by the id of the object.
        launches: What it launches.
        export: Writes other values down than tensors.
    """

    def __init__(
        self,
        made: Mod | None,
        names: Mapping[int, str],
        launches: Iterable[Launch],
        export: Callable[[Any], Any],
    ) -> None:
        self.made = made
        self._names = names
        self._export = export
        self._operations = [
            Operation(
                launch.function,
                "",
                tuple(map(self._exported, launch.args)),
                {name: self._exported(value) for name, value in launch.kwargs.items()},
                launch.place,
                callers=launch.callers,
                conditions=launch.conditions,
                possible=launch.possible,
            )
            for launch in launches
        ]

    def at(self, path: str) -> Iterator[Operation]:
        """The launches of the one at a path."""
        for operation in self._operations:
            yield attrs.evolve(
                operation,
                module=path,
                args=tuple(_at(value, path) for value in operation.args),
                kwargs={name: _at(value, path) for name, value in operation.kwargs.items()},
            )

    def _exported(self, value: Any) -> Any:
        """A value as plugins see it; a parameter's path begins at the building block."""
        if isinstance(value, Mod) and value.is_parameter:
            data = value.args.get("data")
            shape = data.shape if isinstance(data, Tensor) else None
            dtype = data.dtype if isinstance(data, Tensor) else None
            return ParameterRef(self._names.get(id(value), "?"), self._shape(shape), _dtype(dtype))
        if isinstance(value, Param):
            name = self._names.get(id(value.base or value))
            if name is not None:
                return ParameterRef(name, self._shape(value.shape), _dtype(value.dtype))
        elif isinstance(value, Tensor):
            return TensorRef(self._shape(value.shape), _dtype(value.dtype))
        if isinstance(value, Alternatives):
            parts: list[Any] = []
            for part in map(self._exported, value.values):
                if part not in parts:
                    parts.append(part)
            return Alternatives(tuple(parts)) if len(parts) > 1 else parts[0]
        if isinstance(value, (list, tuple)):
            return type(value)(map(self._exported, value))
        return self._export(value)

    def _shape(self, shape: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
        return None if shape is None else tuple(map(self._export, shape))


def _mark(value: Any) -> Any:
    """What tells arguments from others: their values, and where these came from."""
    if isinstance(value, dict):
        return tuple((name, _mark(part)) for name, part in value.items())
    if isinstance(value, (list, tuple)):
        return tuple(map(_mark, value))
    return summary(value), origins_of(value)


def _at(value: Any, path: str) -> Any:
    """An argument of the launch at a path."""
    if isinstance(value, ParameterRef):
        return attrs.evolve(value, path=f"{path}.{value.path}")
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
        key = (launch.function, launch.place, launch.callers, summary(launch.args))
        known = found.get(key)
        if known is None or (known.possible and not launch.possible):
            found[key] = launch
    return list(found.values())


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
