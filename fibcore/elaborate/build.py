"""From elaborated objects to the public model tree."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import attrs

from fibcore.elaborate.packages.indexes import is_followed
from fibcore.elaborate.python.limits import bounded
from fibcore.elaborate.python.reach import modules_within
from fibcore.elaborate.python.values import (
    ABSENT,
    OTHER_KEYS,
    Class,
    Ext,
    Mod,
    Obj,
    Param,
    Repeat,
    Tracker,
    Value,
    at_index,
)
from fibcore.elaborate.sglang.entry_points import read_by_workers
from fibcore.elaborate.sglang.quantization import Quantizer
from fibcore.elaborate.sglang.weight_checks import WeightChecks
from fibcore.elaborate.uses import Uses
from fibcore.model.tree import (
    Alternatives,
    Call,
    Missing,
    ModuleNode,
    ModuleRef,
    Named,
    OfPackage,
    Operation,
    ParameterRef,
    Quantization,
    SourcePlace,
    Unknown,
)
from fibcore.syntax import walk

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.elaborate.sglang.environment import Environment

_NODE_STEPS = 16


@attrs.frozen(eq=False)
class Block:
    """A building block of the tree.

    Attributes:
        node: Its node.
        mod: The object that it was read from, which other nodes may have been as well.
        own: Arguments of the constructor that it does not share with those, by name.
    """

    node: ModuleNode
    mod: Mod
    own: Mapping[str, Any]


class TreeBuilder:
    """Walks the constructed model and writes down its modules.

    Args:
        evaluator: The evaluator that constructed it, with the calls it noted.
        environment: What the source saw around it.
        quantizer: What decides how layers are quantised.
    """

    def __init__(
        self, evaluator: Evaluator, environment: Environment, quantizer: Quantizer
    ) -> None:
        self.ev = evaluator
        self._environment = environment
        self.quantizer = quantizer
        self._weights = WeightChecks(evaluator)
        self.missing: list[Missing] = []
        self.operations: list[Operation] = []
        self._paths: dict[int, str] = {}
        self._owners: dict[int, str] = {}
        self._uses: dict[Class, Uses] = {}
        self._above: list[Mod] = []  # the modules around the one whose children are written down
        self._called: dict[Any, frozenset[str]] = {}
        self._constants: dict[tuple[int, str], tuple[dict[str, Any], list[str]]] = {}
        self._below: dict[tuple[int, int], list[tuple[str, Any]]] = {}
        self._settled: dict[int, tuple[Call, Call | None]] = {}  # what is the same in every layer
        self._met: set[tuple[int, str]] = set()
        self._root: Mod | None = None
        self._reach: dict[int, set[int]] = {}
        self._held: dict[tuple[int, int], list[tuple[str, Mod | Param]]] = {}
        self.blocks: list[Block] = []
        """The building blocks, in tree order."""

    def build(self, root: Mod) -> ModuleNode:
        """The tree below the model's root object."""
        self._root = root
        self._first(root, "")
        self._locate(root, "", "")
        self._met.clear()
        self._first(root, "")
        return self._node(root, "", None, "")

    # -- structure -----------------------------------------------------------------------------

    def _children(self, mod: Mod) -> list[tuple[str, Any]]:
        """Submodules and what may be one, by name, in order of construction; a leaf has none."""
        if mod.leaf:
            return []
        key = (id(mod), len(mod.attrs))  # a layer that others equal is asked for each of them
        if key not in self._below:
            self._below[key] = list(self._find_children(mod))
        return self._below[key]

    @staticmethod
    def _find_children(mod: Mod) -> Iterator[tuple[str, Any]]:
        if mod.entries is not None:
            for index, item in enumerate(mod.entries):
                yield str(index), item
        for name, value in mod.attrs.items():
            if name is OTHER_KEYS:
                continue  # `_node` tells of it: a path needs a name
            value = _made_late(value)
            if isinstance(value, (Mod, Repeat, Alternatives, Unknown)) or _foreign(value):
                yield name, value
            elif isinstance(value, (list, tuple)) and any(isinstance(v, Mod) for v in value):
                # torch registers no modules of plain lists, but the model runs them all the same.
                for index, item in enumerate(value):
                    if isinstance(item, (Mod, Repeat)):
                        yield f"{name}.{index}", item

    @staticmethod
    def _source(value: Mod | Repeat) -> tuple[Any, tuple[int, Tracker] | None]:
        """The object to read a module from, and the index to put into it."""
        if isinstance(value, Repeat):
            like = value.like
            if isinstance(like, Mod) and like.tracker is not None:
                return like, (value.index, like.tracker)
            return like, None
        if value.tracker is not None:
            return value, (value.tracker.number, value.tracker)
        return value, None

    def _first(self, mod: Mod, layer: str) -> bool:
        """Whether a module is met for the first time within one layer; a second name is none."""
        if (id(mod), layer) in self._met:
            return False
        self._met.add((id(mod), layer))
        return True

    def _locate(self, value: Mod | Repeat, path: str, layer: str) -> None:
        """Give modules the paths of their nodes, in order of construction."""
        mod, own = self._source(value)
        layer = path if own is not None else layer
        if not isinstance(mod, Mod):
            return
        self._paths[id(mod)] = path
        mine = self._claim_children(mod, path, layer)
        for name, child in self._children(mod):
            if name in mine:
                self._locate(child, _join(path, name), layer)

    def _node(
        self, value: Mod | Repeat, path: str, at: tuple[int, Tracker] | None, layer: str
    ) -> ModuleNode:
        self.ev.budget.spend(_NODE_STEPS, "modules of the tree")
        mod, own = self._source(value)
        at = own or at
        layer = path if own is not None else layer
        self._paths[id(mod)] = path
        mine = self._claim_children(mod, path, layer)
        arguments, moving = self._constant(mod, "arguments", mod.args)
        raw = {k: self._indexed(mod.args[k], at) for k in moving}
        arguments = {**arguments, **{k: self.export(v) for k, v in raw.items()}}
        children: dict[str, ModuleNode] = {}
        attributes: dict[str, Any] = {}
        for name, child in self._children(mod):
            inner = _join(path, name)
            if name in mine:
                self._above.append(mod)
                node = self._node(child, inner, at, layer)
                self._above.pop()
                whole = node.leaf or not node.children
                idle = whole and not node.calls and self._is_idle(mod, name)
                if idle and name in mod.unregistered:
                    continue  # no submodule, and nothing runs it: it lends methods of its class
                children[name] = attrs.evolve(node, idle=True) if idle else node
            elif isinstance(child, Repeat) and not isinstance(child.like, Mod):
                self.missing.append(Missing(inner, "a layer that is not known", mod.place))
            elif not isinstance(child, (Mod, Repeat)):
                self._note_missing(mod, name, child, inner)
        if any(modules_within([mod.attrs.get(OTHER_KEYS)])):
            why = "a module is kept under a name that is not known"
            self.missing.append(Missing(_join(path, "?"), why, mod.place))
        # A leaf has what was assigned to it from outside, and all of it where its `__init__` ran.
        if mod.attrs:
            fixed, moving = self._constant(mod, "attributes", mod.attrs)
            attributes = {
                **fixed,
                **{k: self.export(self._indexed(mod.attrs[k], at)) for k in moving},
            }
        if mod.unbound is not None:
            why = f"its arguments: {mod.unbound.reason}"
            self.missing.append(Missing(path, why, mod.unbound.place))
        cls = mod.cls
        for operation in self.ev.forward.operations.get(id(mod), ()):
            self.operations.append(
                Operation(
                    operation.function,
                    path,
                    tuple(self.export(self._indexed(a, at)) for a in operation.args),
                    {k: self.export(self._indexed(v, at)) for k, v in operation.kwargs.items()},
                    operation.place,
                    conditions=operation.conditions,
                    possible=operation.possible,
                    stage=operation.stage,
                    beside=operation.beside,
                )
            )
        node = ModuleNode(
            path=path,
            cls=cls.qualified if isinstance(cls, Class) else cls.name,
            bases=tuple(
                c.qualified if isinstance(c, Class) else c.name
                for c in (cls.mro[1:] if isinstance(cls, Class) else ())
            ),
            arguments={k: arguments[k] for k in mod.args if k in arguments},
            attributes=attributes,
            place=mod.place or SourcePlace("", 1),
            class_place=cls.place if isinstance(cls, Class) else None,
            leaf=mod.leaf,
            quantization=self._quantization(mod, {**mod.args, **raw}, at[0] if at else None),
            calls=tuple(self._calls(mod, at)),
            children=children,
        )
        if mod.leaf:
            self.blocks.append(Block(node, mod, raw))
        return node

    def _quantization(
        self, mod: Mod, arguments: dict[str, Any], index: int | None
    ) -> Quantization | Unknown | None:
        if not mod.leaf:
            return None
        found = self.quantizer.of(mod, arguments, index)
        self._weights.check(mod, arguments, found)
        return found

    def _claim_children(self, mod: Mod, path: str, layer: str) -> set[str]:
        """Give the modules and parameters directly below a module their paths.

        Returns:
            The names under which a submodule is met first; other names are aliases.
        """
        mine: set[str] = set()
        for name, child in self._children(mod):
            if not isinstance(child, (Mod, Repeat)):
                continue
            source, own = self._source(child)
            inner = _join(path, name)
            if isinstance(source, Mod) and self._first(source, inner if own else layer):
                self._paths[id(source)] = inner
                mine.add(name)
        for name, item in self._claimed(mod):
            if isinstance(item, Param):
                self._owners[id(item)] = _join(path, name)
        self._claim_weights(mod, path)
        return mine

    def _claim_weights(self, mod: Mod, path: str) -> None:
        """Give the weights of building blocks their paths: parameters of a class of the source."""
        for name, value in self._claimed(mod):
            if not isinstance(value, Mod):
                continue
            if mod.leaf:
                self._paths[id(value)] = _join(path, name)
            elif value.leaf:
                self._claim_weights(value, _join(path, name))

    def _claimed(self, mod: Mod) -> list[tuple[str, Mod | Param]]:
        """The modules and parameters of its own that a module holds, by name."""
        # A layer that others equal is met once for each of them, and a building block gets
        # attributes when it is first asked for one.
        key = (id(mod), len(mod.attrs))
        known = self._held.get(key)
        if known is None:
            known = self._held[key] = [
                (name, value)
                for name, value in mod.attrs.items()
                if name is not OTHER_KEYS
                and (isinstance(value, Mod) or (isinstance(value, Param) and value.base is None))
            ]
        return known

    def _calls(self, mod: Mod, at: tuple[int, Tracker] | None) -> Iterator[Call]:
        for call in self.ev.forward.calls.get(id(mod), ()):
            known = self._settled.get(id(call))
            if known is None:
                moves = any(map(_moves, (*call.args, *call.kwargs.values())))
                known = self._settled[id(call)] = (call, None if moves else self._call(call, None))
            yield known[1] or self._call(call, at)

    def _call(self, call: Call, at: tuple[int, Tracker] | None) -> Call:
        return Call(
            call.method,
            tuple(self.export(self._indexed(a, at)) for a in call.args),
            {k: self.export(self._indexed(v, at)) for k, v in call.kwargs.items()},
            call.place,
            call.order,
            call.stage,
            call.by_size,
        )

    def _constant(
        self, mod: Mod, kind: str, values: dict[str, Any]
    ) -> tuple[dict[str, Any], list[str]]:
        """What is the same in every layer like this one, exported once; the names of the rest."""
        key = (id(mod), kind)
        if key not in self._constants:
            fixed: dict[str, Any] = {}
            moving: list[str] = []
            for name, value in values.items():
                if kind == "attributes" and isinstance(value, (Mod, Repeat)):
                    continue
                if name is OTHER_KEYS:
                    continue
                if _moves(value):
                    moving.append(name)
                else:
                    fixed[name] = self.export(value)
            self._constants[key] = (fixed, moving)
        return self._constants[key]

    @staticmethod
    def _indexed(value: Any, at: tuple[int, Tracker] | None) -> Any:
        return value if at is None else at_index(value, at[0], at[1])

    # -- what is missing -----------------------------------------------------------------------

    def _note_missing(self, mod: Mod, name: str, value: Any, path: str) -> None:
        """Report an attribute that should have been a module and is not known."""
        if isinstance(value, Alternatives):
            modules = [v for v in value.values if isinstance(v, (Mod, Repeat))]
            if modules and all(v is None or self._weightless(v) for v in value.values):
                return  # whichever it is, it runs no kernel that has weights
            if modules:
                kinds = sorted(
                    {_class_name(v) for v in value.values if v is not None and v is not ABSENT}
                )
                self.missing.append(
                    Missing(
                        path, f"whether it is {' or '.join(kinds)} could not be decided", mod.place
                    )
                )
                return
            doubtful = [v for v in value.values if isinstance(v, Unknown) or _foreign(v)]
            if not doubtful:
                return
            value = doubtful[0]
        if _foreign(value):
            package = value.cls.name.partition(".")[0]
            why = f"an instance of {value.class_name}, which is not followed"
            value = OfPackage(why, value.place, package=package)
        if not isinstance(value, Unknown):
            return
        if mod.entries is not None or name in self._called_attributes(mod):
            package = value.package if isinstance(value, OfPackage) else ""
            package = package if is_followed(package) else ""
            self.missing.append(Missing(path, value.reason, value.place or mod.place, package))

    def _weightless(self, value: Any) -> bool:
        """Whether a module holds no parameters and no modules that may hold some."""
        if not isinstance(value, Mod):
            return False
        if isinstance(value.cls, Ext):
            return self._environment.weightless(value.cls.name)
        return (
            not value.leaf
            and value.entries is None
            and value.cls.mro[-1] == Ext("torch.nn.Module")
            and not any(isinstance(v, (Mod, Repeat, Param)) for v in value.attrs.values())
            and not self._called_attributes(value)
        )

    def _is_idle(self, mod: Mod, name: str) -> bool:
        """Whether an attribute that was not called is one that nothing ever calls."""
        if not isinstance(mod.cls, Class) or id(mod) not in self.ev.forward.calls:
            return False
        uses = self._uses_of(mod.cls)
        if name in uses.handed_on and not self._stays(mod, name):
            return False
        if self._may_call(mod, uses.called, name):
            return False
        if any(
            isinstance(m.cls, Class)
            and self._may_call(m, self._uses_of(m.cls).called_of_others, name)
            for m in self._above
        ):
            return False
        whole = not self._above
        return not (whole and name not in uses.called and read_by_workers(self.ev.index.root, name))

    def _stays(self, mod: Mod, name: str) -> bool:
        """Whether all that has got an attribute that is handed on was followed to its end."""
        around = [m for m in (mod, *self._above) if isinstance(m.cls, Class)]
        if any(
            name in self._uses_of(m.cls).handed_on
            and not self._is_followed(m, self._uses_of(m.cls).handing(name))
            for m in around
        ) or read_by_workers(self.ev.index.root, name):
            return False
        child = id(mod.attrs.get(name))
        lost = self.ev.forward.lost - {id(m) for m in (mod, *self._above)}
        return child not in self._given_away and all(
            child not in self._held_by(number) for number in lost
        )

    @cached_property
    def _given_away(self) -> set[int]:
        """What was handed to functions that are not followed, which may call it."""
        return set(modules_within(self.ev.forward.given_away.values()))

    @cached_property
    def _modules(self) -> dict[int, Mod]:
        return modules_within([self._root])

    def _held_by(self, number: int) -> set[int]:
        """What a module gets at of whose forward pass something was lost."""
        if number not in self._reach:
            holder = self._modules.get(number)
            self._reach[number] = set(modules_within([holder]))
        return self._reach[number]

    def _may_call(self, mod: Mod, called: set[str], name: str) -> bool:
        """Whether a module may call what has a name by a way that was not followed to its end."""
        return name in called and not self._is_followed(mod, self._uses_of(mod.cls).entries(name))

    def _is_followed(self, mod: Mod, entries: set[str]) -> bool:
        """Whether a module's forward pass was followed to its end, by all its methods in a set."""
        # A method that nobody was seen to call may be called from elsewhere.
        noted = self.ev.forward.calls.get(id(mod), ())
        return id(mod) not in self.ev.forward.lost and entries <= {call.method for call in noted}

    def _uses_of(self, cls: Any) -> Uses:
        if cls not in self._uses:
            self._uses[cls] = Uses(cls)
        return self._uses[cls]

    def _called_attributes(self, mod: Mod) -> frozenset[str]:
        """Attributes of self that methods of the class call as modules.

        Towers of multimodal models are called in methods of any name (`get_image_feature`).
        """
        if not isinstance(mod.cls, Class):
            return frozenset()
        if mod.cls not in self._called:
            found: set[str] = set()
            methods: set[str] = set()
            for base in mod.cls.mro:
                if not isinstance(base, Class):
                    continue
                methods.update(base.names)
                for statement in base.node.body:
                    if isinstance(statement, ast.FunctionDef) and _computes(statement.name):
                        found.update(_called_on_self(statement))
            self._called[mod.cls] = frozenset(found - methods)
        return self._called[mod.cls]

    # -- export --------------------------------------------------------------------------------

    def export(self, value: Any, depth: int = 0) -> Any:
        """A value as plugins see it."""
        if value is None or isinstance(value, (bool, int, float, str, Unknown)):
            return value
        if depth > 6:
            return Named("...")
        if isinstance(value, Alternatives):
            return Alternatives(
                tuple(self.export(v, depth + 1) for v in value.values if v is not ABSENT)
            )
        if isinstance(value, (list, tuple)):
            if len(value) > 4096:
                return Named(f"{type(value).__name__} of {len(value)}")
            self.ev.budget.spend(len(value), "the parts of an argument or attribute")
            return type(value)(self.export(v, depth + 1) for v in value)
        if isinstance(value, dict):
            self.ev.budget.spend(len(value), "the parts of an argument or attribute")
            return {str(k): self.export(v, depth + 1) for k, v in value.items()}
        if isinstance(value, (Mod, Repeat)):
            source, _ = self._source(value)
            return ModuleRef(self._paths.get(id(source), "?"))
        if isinstance(value, Param):
            path = self._owners.get(id(value.base or value), "?")
            shape = None if value.shape is None else tuple(self.export(s) for s in value.shape)
            return ParameterRef(path, shape, _dtype(value.dtype))
        return Named(_class_name(value), _fields(value))


def _computes(method: str) -> bool:
    """Whether a method may be a part of the forward pass, by its name."""
    return not method.startswith("__") and "weight" not in method


def _called_on_self(method: ast.FunctionDef) -> Iterator[str]:
    """Attributes in `self.x(...)` and `self.x.forward_features(...)`."""
    for node in walk(method):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            called = node.func
            if called.attr.startswith("forward") and isinstance(called.value, ast.Attribute):
                called = called.value
            if isinstance(called.value, ast.Name) and called.value.id == "self":
                yield called.attr


def _moves(value: Any) -> bool:
    """Whether an exported value can differ between equal layers: by the index, or as a path."""
    if isinstance(value, (int, float, str)):
        return getattr(value, "fn", None) is not None
    if isinstance(value, (Mod, Repeat, Param)):
        return True
    if isinstance(value, Alternatives):
        return any(_moves(v) for v in value.values)
    if isinstance(value, (list, tuple, dict)):
        bounded(value)
        return _holds_moving(value)
    return False


def _holds_moving(value: Any) -> bool:
    """Whether there is such a value in a container, which is no larger than it may be."""
    return any(
        _holds_moving(part) if isinstance(part, (list, tuple, dict)) else _moves(part)
        for part in (value.values() if isinstance(value, dict) else value)
    )


def _made_late(value: Any) -> Any:
    """A module that a forward pass keeps once it was needed, in place of whether it is there yet.

    `if self.op is None: self.op = FusedRouting(...)`: a call of it comes behind that.
    """
    if isinstance(value, Alternatives):
        held = [v for v in value.values if v is not ABSENT and v is not None]
        if len(held) == 1 and isinstance(held[0], Mod) and held[0].late:
            return held[0]
    return value


def _foreign(value: Any) -> bool:
    """Whether a value is an instance of a class that is not elaborated, and so may be a module."""
    return type(value) is Obj and isinstance(value.cls, Ext)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _dtype(value: Any) -> str | None:
    return value.name.rpartition(".")[2] if isinstance(value, Ext) else None


def _fields(value: Any) -> tuple[tuple[str, Any], ...]:
    """What an object of a class of msgspec's holds, where that is plain values alone."""
    if type(value) is not Obj or not isinstance(value.cls, Class):
        return ()
    if not value.cls.derives("Struct"):
        return ()
    plain = all(isinstance(part, (bool, int, float, str)) for part in value.attrs.values())
    return tuple(value.attrs.items()) if plain else ()


def _class_name(value: Any) -> str:
    return value.dotted_name if isinstance(value, Value) else type(value).__name__
