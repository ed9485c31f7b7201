"""How the server enters a model: its forward pass, and the methods that workers call beside it.

A speculative worker hands a draft model what the target model computed by methods of their own
(`draft_model.project_target_hidden(...)`), whose modules no forward pass reaches.
"""

from __future__ import annotations

import ast
import contextlib
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.forward import TENSOR_REASON
from fibcore.elaborate.python.values import Class, Func, Mod, Raised, Repeat
from fibcore.elaborate.sglang.forward_batch import forward_batch
from fibcore.model.tree import Unknown
from fibcore.syntax import walk

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator

_WORKERS = "srt/speculative"
"""Where the workers are that call methods of draft models."""
_CALLED = re.compile(r"\.(\w+)\(|getattr\([^()]+, \"(\w+)\"")
_READ = re.compile(r"\.(\w+)")


def follow_forward(ev: Evaluator, root: Mod, func: Func) -> None:
    """Follow the forward pass of a model as the server calls it.

    An argument that may be left out is left out; where the pass refuses that with an exception of
    its own, it is one that the server always gives.

    Raises:
        Raised: the pass raises whatever it is given.
    """
    named = _naming(ev, root, func)
    optional = [name for name, default in named.defaults.items() if default is None]
    if not any(_passes(ev, root, func, named, given) for given in (None, *optional)):
        ev.forward.call_module(root, "forward", forward_arguments(ev, named), {}, func.place, func)


def _naming(ev: Evaluator, root: Mod, func: Func) -> Func:
    """The forward pass; where that hands on all it gets, the next one that names arguments."""
    for cls in root.cls.mro if func.node.args.vararg is not None else ():
        found = ev.classes.own_attr(cls, "forward") if isinstance(cls, Class) else None
        if isinstance(found, Func) and found.node.args.vararg is None:
            return found
    return func


def _passes(ev: Evaluator, root: Mod, func: Func, named: Func, given: str | None) -> bool:
    try:
        with ev.forward.attempt():
            values = forward_arguments(ev, named, given)
            ev.forward.call_module(root, "forward", values, {}, func.place, func)
    except Raised as error:
        if not error.explicit:
            raise
        return False
    return True


def follow_others(ev: Evaluator, root: Mod) -> None:
    """Follow the methods that workers call and that reach modules nothing else does.

    They are methods of the model, or of a part of it that the workers hold (`model.head.score()`).
    """
    parts = [v for v in root.attrs.values() if isinstance(v, Mod) and not v.leaf]
    for owner in (root, *parts):
        own = {name for name, value in owner.attrs.items() if _is_uncalled(ev, value)}
        inner = {
            name
            for part in _parts(owner)
            for name, value in part.attrs.items()
            if _is_uncalled(ev, value)
        }
        reaching = list(_reaching(ev, owner.cls, own, inner)) if own or inner else []
        if reaching:
            _follow_entries(ev, owner, reaching)


def _follow_entries(ev: Evaluator, owner: Mod, reaching: list[Func]) -> None:
    called = _called_by_workers(ev.index.root)
    entries = [func for func in reaching if func.name in called]
    if not entries:
        return
    unset = {name for name, value in owner.attrs.items() if value is None}
    # A layer that repeats another one takes over its calls when it becomes an object of its own,
    # which has to be before a method takes modules away (`layer.mlp = None`, on some ranks).
    for layer in _followed_repeats(owner):
        ev.forward.object_of(layer)
    # What workers set are parts of other models and the like: nothing else is followed with them.
    with ev.writes.attempt(keep=False):
        for func in _methods(ev, owner.cls, lambda node: bool(unset & _of_self(node, ast.Store))):
            if func.name in called:
                _follow_entry(ev, owner, func)
        for func in entries:
            _follow_entry(ev, owner, func)


def _followed_repeats(owner: Mod) -> Iterator[Repeat]:
    """The layers in the lists of a module whose forward pass went as that of one before them."""
    for value in owner.attrs.values():
        for entry in (value.entries or ()) if isinstance(value, Mod) else ():
            if isinstance(entry, Repeat) and entry.followed:
                yield entry


def _parts(owner: Mod) -> Iterator[Mod]:
    """The modules directly below one, those in lists included."""
    for value in owner.attrs.values():
        entries = value.entries if isinstance(value, Mod) else None
        for part in [value] if entries is None else entries:
            if isinstance(part, Mod) and not part.leaf:
                yield part


def _is_uncalled(ev: Evaluator, value: Any) -> bool:
    if isinstance(value, Mod) and value.entries is not None:
        return any(_is_uncalled(ev, entry) for entry in value.entries)
    return isinstance(value, (Mod, Repeat)) and not ev.forward.is_called(value)


def _follow_entry(ev: Evaluator, owner: Mod, func: Func) -> None:
    spec = func.node.args
    given = {
        arg.arg: func.defaults.get(arg.arg, Unknown.tensor(TENSOR_REASON, func.place))
        for arg in spec.kwonlyargs
    }
    # What raises is not how the workers call it: what it reaches stays undecided.
    with contextlib.suppress(Raised), ev.forward.attempt():
        values = forward_arguments(ev, func)
        ev.forward.call_module(owner, func.name, values, given, func.place, func)


def forward_arguments(ev: Evaluator, func: Func, given: str | None = None) -> list[Any]:
    """The arguments of a model's method, without the model: tensors, as far as nobody says.

    Args:
        ev: The evaluator of the source tree.
        func: The method.
        given: An argument that is given, though it may be left out.
    """
    spec = func.node.args
    values: list[Any] = []
    for arg in [*spec.posonlyargs, *spec.args][1:]:
        if arg.arg == "forward_batch":
            values.append(forward_batch(ev, func.place))
        elif arg.arg in func.defaults and arg.arg != given:
            values.append(func.defaults[arg.arg])
        else:
            values.append(Unknown.tensor(TENSOR_REASON, func.place))
    return values


def _reaching(ev: Evaluator, cls: Any, own: set[str], inner: set[str]) -> Iterator[Func]:
    """Methods beside `forward` that reach modules, by themselves or by another method.

    Args:
        ev: The evaluator of the source tree.
        cls: The class.
        own: Attributes of self that are such modules.
        inner: Names of such modules in parts of self.
    """
    reads: dict[str, set[str]] = {}
    found: set[str] = set()
    for base in cls.mro if isinstance(cls, Class) else ():
        for node in base.node.body if isinstance(base, Class) else ():
            if isinstance(node, ast.FunctionDef) and _computes(node.name):
                reads.setdefault(node.name, _of_self(node, ast.Load))
                if inner & _called_of_others(node):
                    found.add(node.name)
    while True:
        more = {n for n, names in reads.items() if n not in found and names & (own | found)}
        if not more:
            break
        found |= more
    yield from _methods(ev, cls, lambda node: node.name in found)


def _methods(ev: Evaluator, cls: Any, wanted: Callable[[ast.FunctionDef], bool]) -> Iterator[Func]:
    """The methods of a class that compute, of those that are wanted by their syntax."""
    for base in cls.mro if isinstance(cls, Class) else ():
        for node in base.node.body if isinstance(base, Class) else ():
            if isinstance(node, ast.FunctionDef) and _computes(node.name) and wanted(node):
                func = ev.classes.attr(cls, node.name)
                if isinstance(func, Func) and func.kind == "function" and func.node is node:
                    yield func


def _computes(method: str) -> bool:
    """Whether a method may compute, by its name; constructors and loaders of weights do not."""
    return method != "forward" and not method.startswith("__") and "weight" not in method


def _of_self(node: ast.AST, context: type[ast.expr_context]) -> set[str]:
    """The attributes of self that are read (`ast.Load`) or assigned (`ast.Store`)."""
    return {
        part.attr
        for part in walk(node)
        if isinstance(part, ast.Attribute)
        and isinstance(part.ctx, context)
        and isinstance(part.value, ast.Name)
        and part.value.id == "self"
    }


def _called_of_others(node: ast.AST) -> set[str]:
    """The names in `layers[0].norm(x)`: what is called of anything but self."""
    return {
        part.func.attr
        for part in walk(node)
        if isinstance(part, ast.Call)
        and isinstance(part.func, ast.Attribute)
        and not (isinstance(part.func.value, ast.Name) and part.func.value.id == "self")
    }


def read_by_workers(root: Path, name: str) -> bool:
    """Whether speculative workers read an attribute of that name of anything."""
    return name in _texts_of_workers(root)[1]


def _called_by_workers(root: Path) -> frozenset[str]:
    """The names of all methods that speculative workers call."""
    return _texts_of_workers(root)[0]


@cache
def _texts_of_workers(root: Path) -> tuple[frozenset[str], frozenset[str]]:
    """The names of the methods that workers call, and those of all attributes that they read."""
    called: set[str] = set()
    read: set[str] = set()
    for path in sorted((root / _WORKERS).rglob("*.py")):
        text = path.read_text(encoding="utf-8", errors="replace")
        called.update(name or other for name, other in _CALLED.findall(text))
        read.update(_READ.findall(text))
    return frozenset(called), frozenset(read)
