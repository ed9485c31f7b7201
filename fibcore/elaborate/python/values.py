"""What names mean while a model is elaborated.

Plain Python data stands for itself. Everything else that the source can hold is one of the classes
here. `Unknown` and `Alternatives` of `fibcore.model.tree` are values too: every operation accepts
them and passes them on.
"""

from __future__ import annotations

import ast
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from fibcore.model.tree import (
    Alternatives,
    OriginFloat,
    OriginInt,
    OriginStr,
    SourcePlace,
    Unknown,
    origins_of,
    with_origins,
)
from fibcore.syntax import children

if TYPE_CHECKING:
    from fibcore.elaborate.python.index import SourceModule

MAX_ALTERNATIVES = 6


class Absent:
    """Stands for "not bound" among the alternatives of a value."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT = Absent()


class Ext:
    """A name of a package that is not elaborated: `torch.nn.functional.linear`."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ext) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"Ext({self.name})"


class Env:
    """A scope: its variables and the scope around it."""

    __slots__ = ("func", "globals_", "maybe", "module", "nonlocals", "outer", "vars", "yields")

    def __init__(self, module: ModuleSpace, outer: Env | None, func: Func | None = None) -> None:
        self.vars: dict[str, Any] = {}
        self.outer = outer
        self.module = module
        self.func = func
        self.globals_: set[str] | None = None
        self.nonlocals: dict[str, dict[str, Any]] = {}  # variables of the scopes around this one
        self.maybe: list[Any] = []  # values of returns on one side of an undecided branch
        self.yields: list[Any] | None = None  # what a generator has yielded so far


class ModuleSpace:
    """A module of the source tree while it is elaborated: the names that were needed so far.

    `settled` are the names whose statements were all run, or are being run. An import may have
    bound others beside the one that was asked for, which a later statement binds anew.
    """

    __slots__ = ("done", "env", "settled", "source")

    def __init__(self, source: SourceModule) -> None:
        self.source = source
        self.env = Env(self, None)
        self.done: set[int] = set()
        self.settled: set[str] = set()

    @property
    def name(self) -> str:
        return self.source.name

    def place(self, node: ast.AST) -> SourcePlace:
        """Where a piece of the module's syntax stands."""
        return SourcePlace(self.source.file, getattr(node, "lineno", 1))


class Func:
    """A function of the source tree with the scope it was made in."""

    __slots__ = ("cls", "defaults", "env", "is_generator", "kind", "node", "qualname")

    def __init__(
        self,
        node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda,
        env: Env,
        qualname: str,
        cls: Class | None = None,
        kind: str = "function",
    ) -> None:
        self.node = node
        self.env = env
        self.qualname = qualname
        self.cls = cls
        self.kind = kind
        self.defaults: dict[str, Any] = {}
        self.is_generator = (
            env.module.source.yields and not isinstance(node, ast.Lambda) and _generates(node)
        )

    @property
    def name(self) -> str:
        return self.qualname.rpartition(".")[2]

    @property
    def place(self) -> SourcePlace:
        return self.env.module.place(self.node)


def _generates(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a function is a generator; remembered on its syntax, which makes many functions."""
    known: bool | None = getattr(node, "generates", None)
    if known is None:
        known = _yields(node)
        node.generates = known  # type: ignore[union-attr]
    return known


def _yields(node: ast.AST) -> bool:
    for child in children(node):
        if isinstance(child, (ast.Yield, ast.YieldFrom)):
            return True
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            continue
        if _yields(child):
            return True
    return False


class Bound:
    """A method with its instance (or class)."""

    __slots__ = ("func", "self")

    def __init__(self, func: Any, self_: Any) -> None:
        self.func = func
        self.self = self_


class Native:
    """A function of fibcore that stands in for one of the source: a builtin or a shim.

    `fn(evaluator, args, kwargs, place)`.
    """

    __slots__ = ("fn", "name")

    def __init__(self, name: str, fn: Callable[..., Any]) -> None:
        self.name = name
        self.fn = fn

    def __repr__(self) -> str:
        return f"Native({self.name})"


class Partial:
    """`functools.partial`."""

    __slots__ = ("args", "func", "kwargs")

    def __init__(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.func = func
        self.args = args
        self.kwargs = kwargs


class Class:
    """A class of the source tree; its body is elaborated name by name."""

    __slots__ = (
        "_mro", "attrs", "bases", "decorators", "env", "leaf", "members", "module", "names", "node",
    )  # fmt: skip

    def __init__(self, node: ast.ClassDef, module: ModuleSpace, env: Env, bases: list[Any]) -> None:
        self.node = node
        self.module = module
        self.env = env
        self.bases = bases
        self.decorators: list[str] = []
        self.attrs: dict[str, Any] = {}
        self.names: dict[str, list[ast.stmt]] = {}
        self.leaf: bool | None = None  # whether its instances are leaves; None until asked
        self.members: list[EnumMember] | None = None  # of an enumeration; None until asked
        self._mro: list[Any] | None = None

    @property
    def name(self) -> str:
        return self.node.name

    @property
    def qualified(self) -> str:
        return f"{self.module.name}.{self.node.name}"

    @property
    def place(self) -> SourcePlace:
        return self.module.place(self.node)

    @property
    def mro(self) -> list[Any]:
        """Classes to look attributes up in, nearest first; `Ext` bases included."""
        if self._mro is None:
            self._mro = _linearise(self)
        return self._mro

    def derives(self, *names: str) -> bool:
        """Whether a class of the MRO has one of these names, qualified or not."""
        for cls in self.mro:
            full = cls.qualified if isinstance(cls, Class) else getattr(cls, "name", "")
            if full in names or full.rpartition(".")[2] in names:
                return True
        return False

    def __repr__(self) -> str:
        return f"Class({self.qualified})"


def _linearise(cls: Class) -> list[Any]:
    """C3; falls back to depth-first order where the bases contradict each other."""
    sequences = [_linearise(b) if isinstance(b, Class) else [b] for b in cls.bases]
    sequences.append(list(cls.bases))
    result: list[Any] = [cls]
    sequences = [list(s) for s in sequences if s]
    while sequences:
        for sequence in sequences:
            head = sequence[0]
            if not any(head in other[1:] for other in sequences):
                break
        else:
            head = sequences[0][0]
        result.append(head)
        sequences = [[c for c in s if c is not head and c != head] for s in sequences]
        sequences = [s for s in sequences if s]
    return result


class Obj:
    """An instance of a class of the source tree that is no module."""

    __slots__ = ("args", "attrs", "cls", "place")

    def __init__(self, cls: Any, place: SourcePlace | None = None) -> None:
        self.cls = cls
        self.attrs: dict[str, Any] = {}
        self.args: dict[str, Any] = {}
        self.place = place

    @property
    def class_name(self) -> str:
        return self.cls.name if isinstance(self.cls, (Class, Ext)) else str(self.cls)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.class_name})"


class Mod(Obj):
    """An instance of a `torch.nn.Module` class.

    `items` holds the entries of a `ModuleList` and the like. `pending` is set while a leaf's own
    `__init__` has not been run. `tracker` holds the decisions on the layer index of a layer that
    others may repeat, and `repeats` those others; `born` is the tracker of the layer that this
    module is a part of. `unbound` says why its arguments are not known, where they are not.
    """

    __slots__ = ("born", "items", "leaf", "pending", "repeats", "tracker", "unbound")

    def __init__(self, cls: Any, place: SourcePlace | None = None) -> None:
        super().__init__(cls, place)
        self.items: list[Any] | None = None
        self.leaf = False
        self.pending: Callable[[], None] | None = None
        self.unbound: Unknown | None = None
        self.tracker: Tracker | None = None
        self.repeats: list[Repeat] = []
        self.born = ACTIVE.tracker


class Repeat:
    """One more layer like one that was elaborated already.

    Attributes:
        template: The layer that it equals but for its index.
        index: Its own index.
        build: Elaborates it for itself, where somebody needs the object.
        like: The layer whose forward pass went the same way; `template` until known.
        apart: Whether it was changed after it was built, and equals no other any more.
    """

    __slots__ = ("apart", "build", "index", "like", "made", "template")

    def __init__(self, template: Mod, index: int, build: Callable[[], Any]) -> None:
        self.template = template
        self.index = index
        self.build = build
        self.like: Any = template
        self.made: Any = None
        self.apart = False

    def force(self) -> Any:
        """The layer as an object of its own."""
        if self.made is None:
            self.made = self.build()
            self.like = self.made
        return self.made

    def part(self) -> Any:
        """The layer as an object of its own, which is about to be changed."""
        self.apart = True
        self.like = self.force()
        return self.made


class Tensor:
    """A tensor of known or partly known shape (None: not even the rank)."""

    __slots__ = ("dtype", "shape")

    def __init__(self, shape: tuple[Any, ...] | None, dtype: Any = None) -> None:
        self.shape = shape
        self.dtype = dtype


class Param(Tensor):
    """A `torch.nn.Parameter`, or a view of one (`base`)."""

    __slots__ = ("base",)

    def __init__(
        self, shape: tuple[Any, ...] | None, dtype: Any = None, base: Param | None = None
    ) -> None:
        super().__init__(shape, dtype)
        self.base = base


class EnumMember:
    """A member of an enumeration of the source tree."""

    __slots__ = ("cls", "name", "value")

    def __init__(self, cls: Class, name: str, value: Any) -> None:
        self.cls = cls
        self.name = name
        self.value = value

    def __eq__(self, other: object) -> bool:
        if isinstance(other, EnumMember):
            return other.cls is self.cls and other.name == self.name
        if self.cls.derives("IntEnum", "StrEnum", "str", "int"):
            return bool(self.value == other)
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"{self.cls.name}.{self.name}"


class Namespace:
    """Facts of the environment under one object: `get_parallel()`, `forward_batch`.

    Attributes are looked up in `values`, then asked of `fallback(name)`.
    """

    __slots__ = ("classes", "fallback", "name", "values")
    is_mapping = False
    """Whether it is a mapping of its values as well: it can be iterated, and lacks other keys."""

    def __init__(
        self,
        name: str,
        values: dict[str, Any] | None = None,
        fallback: Callable[[str], Any] | None = None,
    ) -> None:
        self.name = name
        self.values = values if values is not None else {}
        self.fallback = fallback
        # Names (lower case) of the classes that it is an instance of; None where not known.
        self.classes: frozenset[str] | None = None

    def key(self, name: str) -> str:
        """The name under which an attribute is kept."""
        return name

    def copy(self, values: dict[str, Any]) -> Namespace:
        """The same object with other values."""
        return Namespace(self.name, values, self.fallback)


class Super:
    """`super()` of an instance (or class) at one class of its MRO."""

    __slots__ = ("after", "self")

    def __init__(self, self_: Any, after: Class) -> None:
        self.self = self_
        self.after = after


class Raised(Exception):
    """An exception that the elaborated source raised.

    `explicit` says that a raise statement did; `parents` names the classes of an exception class
    that the source defines itself.
    """

    def __init__(
        self,
        kind: str,
        message: str,
        place: SourcePlace | None,
        *,
        explicit: bool = False,
        parents: tuple[str, ...] = (),
    ) -> None:
        super().__init__(f"{kind}: {message}")
        self.parents = parents
        self.explicit = explicit
        self.kind = kind
        self.message = message
        self.place = place


def is_scalar(value: Any) -> bool:
    """Whether a value is a number or a string, which can carry origins and depend on the index."""
    return isinstance(value, (int, float, str)) and not isinstance(value, bool)


def _same_in_every_layer(a: Any, b: Any) -> bool:
    """Note that two equal values have to be equal in a layer that repeats this one."""
    tracker = ACTIVE.tracker
    if tracker is not None and (index_fn(a) is not None or index_fn(b) is not None):
        tracker.guards.append((lambda i: at_index(a, i, tracker) == at_index(b, i, tracker), True))
    return True


def same(a: Any, b: Any) -> bool:
    """Whether two values are certainly equal for the purposes of merging branches."""
    if a is b:
        return True
    if is_scalar(a) and is_scalar(b):
        return isinstance(a, str) == isinstance(b, str) and a == b and _same_in_every_layer(a, b)
    if type(a) is not type(b):
        return False
    if isinstance(a, (int, float, str, bytes, Ext, EnumMember)):
        return bool(a == b)
    if isinstance(a, Unknown):
        return True
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=False))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(v, b[k]) for k, v in a.items())
    if isinstance(a, Func):
        return a.node is b.node
    if isinstance(a, Bound):
        return a.self is b.self and same(a.func, b.func)
    if isinstance(a, Alternatives):
        return len(a.values) == len(b.values) and all(
            any(same(x, y) for y in b.values) for x in a.values
        )
    if isinstance(a, Mod):
        # Two leaves built alike are the same building block, whichever the model holds.
        return a.leaf and isinstance(b, Mod) and b.leaf and a.cls is b.cls and same(a.args, b.args)
    if isinstance(a, Param):
        return a.base is not None and a.base is b.base and same(a.shape, b.shape)
    return False


def merge(values: Iterable[Any]) -> Any:
    """One value that stands for all of `values`: themselves if equal, else `Alternatives`."""
    flat: list[Any] = []
    for value in values:
        parts = value.values if isinstance(value, Alternatives) else (value,)
        for part in parts:
            if not any(same(part, have) for have in flat):
                flat.append(part)
    if len(flat) == 1:
        return flat[0]
    if len(flat) > MAX_ALTERNATIVES:
        return Unknown(f"more than {MAX_ALTERNATIVES} alternatives")
    return Alternatives(tuple(flat))


def is_unknown(value: Any) -> bool:
    """Whether a value is not exactly known."""
    return isinstance(value, (Unknown, Alternatives))


def deep_unknown(value: Any, depth: int = 3) -> Unknown | None:
    """The first Unknown inside plain containers, or None."""
    if isinstance(value, Unknown):
        return value
    if isinstance(value, Alternatives):
        return Unknown("one of several values")
    if depth and isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            found = deep_unknown(item, depth - 1)
            if found is not None:
                return found
    if depth and isinstance(value, dict):
        for item in value.values():
            found = deep_unknown(item, depth - 1)
            if found is not None:
                return found
    return None


IndexFn = Callable[[int], Any]


class Tracker:
    """The decisions that were taken on the index of the layer that is being built."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.repeated = False
        self.guards: list[tuple[IndexFn, Any]] = []

    def holds(self, index: int) -> bool:
        """Whether a layer with this index would have gone the same way throughout."""
        for fn, result in self.guards:
            try:
                if fn(index) != result:
                    return False
            except (ArithmeticError, LookupError, TypeError, ValueError):  # noqa: PERF203 - ends it
                return False
        return True


class _Active(threading.local):
    """The tracker of the layer that this thread is building."""

    tracker: Tracker | None = None


ACTIVE = _Active()


class _Remembered:
    """A function of the layer index that computes each value once."""

    __slots__ = ("fn", "known")

    def __init__(self, fn: IndexFn) -> None:
        self.fn = fn
        self.known: dict[int, Any] = {}

    def __call__(self, index: int) -> Any:
        if index not in self.known:
            self.known[index] = self.fn(index)
        return self.known[index]


def index_fn(value: Any) -> IndexFn | None:
    """How a value depends on the index of the layer that is being built; None if it does not."""
    if not isinstance(value, (OriginInt, OriginFloat, OriginStr)):
        return None
    fn: IndexFn | None = getattr(value, "fn", None)
    return fn if fn is not None and getattr(value, "tracker", None) is ACTIVE.tracker else None


def depends(value: Any) -> bool:
    """Whether a scalar, or one inside of plain containers, depends on the layer index."""
    if isinstance(value, (list, tuple, set, frozenset)):
        return any(depends(v) for v in value)
    if isinstance(value, dict):
        return any(depends(k) or depends(v) for k, v in value.items())
    return index_fn(value) is not None


def depending(value: Any, fn: IndexFn | None, origins: frozenset[str] = frozenset()) -> Any:
    """`value` with its origins and its dependence on the layer index attached."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return value
    if fn is None or ACTIVE.tracker is None:
        return with_origins(value, origins) if origins else value
    kind: Any = (
        OriginInt
        if isinstance(value, int)
        else OriginFloat
        if isinstance(value, float)
        else OriginStr
    )
    carried = kind(value)
    carried.origins = origins
    carried.fn = _Remembered(fn)
    carried.tracker = ACTIVE.tracker
    return carried


def applied(fn: Callable[..., Any], args: list[Any], tracker: Tracker | None) -> IndexFn:
    """`fn` of the arguments as they are in the layer with an index, as a function of the index."""
    moving = [n for n, arg in enumerate(args) if depends(arg)]
    if all(isinstance(args[n], (int, float, str)) for n in moving):
        # The usual case, evaluated for every name in a long list of layers and for every layer.
        fns = [(n, index_fn(args[n])) for n in moving]

        def of_scalars(index: int) -> Any:
            given = list(args)
            for n, each in fns:
                given[n] = each(index)  # type: ignore[misc]
            return fn(*given)

        return of_scalars
    return lambda index: fn(*(at_index(arg, index, tracker) for arg in args))


def at_index(value: Any, index: int, tracker: Tracker | None = None) -> Any:
    """A value as it is in the layer with this index.

    Args:
        value: A scalar or a plain container of scalars.
        index: The layer's index.
        tracker: The tracker of the layer that the value belongs to; the active one by default.
    """
    if isinstance(value, (int, float, str)):
        fn = getattr(value, "fn", None)
        if fn is not None and value.tracker is (tracker or ACTIVE.tracker):  # type: ignore[union-attr]
            saved, ACTIVE.tracker = ACTIVE.tracker, None
            try:
                return with_origins(fn(index), origins_of(value))
            except (ArithmeticError, LookupError, TypeError, ValueError) as error:
                return Unknown(f"a value that layer {index} has not: {type(error).__name__}")
            finally:
                ACTIVE.tracker = saved
        return value
    if isinstance(value, (list, tuple)):
        return type(value)(at_index(v, index, tracker) for v in value)
    if isinstance(value, dict):
        return {k: at_index(v, index, tracker) for k, v in value.items()}
    if isinstance(value, Alternatives):
        return merge(at_index(v, index, tracker) for v in value.values)
    if isinstance(value, Param) and any(hasattr(size, "fn") for size in value.shape or ()):
        return Param(at_index(value.shape, index, tracker), value.dtype, value.base or value)
    return value


def hashable(value: Any) -> bool:
    """Whether a value can be the key of a dict; a tuple can only where all in it can."""
    try:
        hash(value)
    except TypeError:
        return False
    return True
