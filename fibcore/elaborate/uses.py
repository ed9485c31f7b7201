"""What the methods of a class do with its attributes, read off their syntax."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from fibcore.elaborate.python.values import Class
from fibcore.syntax import walk

_BODY = ""
"""Stands for the class body itself, a name that no method has."""


class Uses:
    """The attributes that a class calls, and those that it reads for anything else.

    Reading an attribute of an attribute, `self.norm.weight`, is neither.

    Attributes:
        called: Names that methods call.
        called_of_others: Names that they call of other objects than self, `layers[0].norm(x)`.
        handed_on: Names that they read for anything else, or have as a text for getattr.
    """

    def __init__(self, cls: Class) -> None:
        self.called: set[str] = set()
        self.called_of_others: set[str] = set()
        self.handed_on: set[str] = set()
        self._calls: dict[str, set[str]] = {}
        self._reads: dict[str, set[str]] = {}
        for base in cls.mro:
            if isinstance(base, Class):
                self._read(base.node)

    def entries(self, name: str) -> set[str]:
        """The methods by which the class may be entered so that it calls an attribute.

        Constructors are none, and neither are methods that others of the class call: whether
        those are run is seen where the others are followed.
        """
        return self._reaching({name})

    def handing(self, name: str) -> set[str]:
        """The methods by which the class may be entered so that it hands an attribute on."""
        handing = {m for m, names in self._reads.items() if name in names}
        return self._reaching(handing) | ({_BODY} & handing)

    def _reaching(self, reaching: set[str]) -> set[str]:
        while more := {m for m, calls in self._calls.items() if calls & reaching} - reaching:
            reaching |= more
        within = {n for m, calls in self._calls.items() for n in calls if n != m}
        return {m for m in reaching if m in self._calls and m not in within and not _prepares(m)}

    def _read(self, node: ast.ClassDef) -> None:
        for method in node.body:
            read: set[str] = set()
            called = set(self._called_in(method, read))
            self.called |= called
            self.handed_on |= read
            entered = method.name if isinstance(method, ast.FunctionDef) else _BODY
            self._reads.setdefault(entered, set()).update(read)
            if isinstance(method, ast.FunctionDef):
                # The nearest class's own method is the one that counts.
                self._calls.setdefault(method.name, called)

    def _called_in(self, body: ast.stmt, read: set[str]) -> Iterator[str]:
        """The names that a method calls; those that it reads for anything else go to `read`."""
        inner: set[int] = set()
        texts: list[ast.Constant] = []
        prefixes: list[ast.AST] = []
        for node in walk(body):
            kind = type(node)
            if kind is ast.Call:
                func = node.func  # type: ignore[attr-defined]
                inner.add(id(func))
                if isinstance(func, ast.Attribute):
                    yield func.attr
                    inner.add(id(func.value))
                    if not (isinstance(func.value, ast.Name) and func.value.id == "self"):
                        self.called_of_others.add(func.attr)
                if _name(func).endswith("prefix"):
                    prefixes.append(node)
            elif kind is ast.Attribute:
                if isinstance(node.ctx, ast.Load) and id(node) not in inner:  # type: ignore[attr-defined]
                    read.add(node.attr)  # type: ignore[attr-defined]
                inner.add(id(node.value))  # type: ignore[attr-defined]
            elif kind is ast.Constant:
                if isinstance(node.value, str):  # type: ignore[attr-defined]
                    texts.append(node)  # type: ignore[arg-type]
            elif kind is ast.keyword and node.arg == "prefix":  # type: ignore[attr-defined]
                prefixes.append(node)
        # Names of weights in a checkpoint are no names of attributes that are read.
        if texts and not (isinstance(body, ast.FunctionDef) and _loads(body.name)):
            weights = {id(part) for node in prefixes for part in walk(node)}
            read.update(str(text.value) for text in texts if id(text) not in weights)


def _name(func: ast.expr) -> str:
    """What a called function is called by, without what it belongs to."""
    if isinstance(func, ast.Attribute):
        return func.attr
    return func.id if isinstance(func, ast.Name) else ""


def _loads(method: str) -> bool:
    """Whether a method loads weights, by its name; what it calls then is no kernel."""
    return "load" in method.split("_") or "loader" in method.split("_")


def _prepares(method: str) -> bool:
    return method.startswith("__") or _loads(method)
