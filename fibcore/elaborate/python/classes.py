"""Class bodies, enumerations and `super()`."""

from __future__ import annotations

import ast
from typing import Any

from fibcore.elaborate.python.definitions import method_kind
from fibcore.elaborate.python.part import Part
from fibcore.elaborate.python.values import (
    ABSENT,
    Class,
    EnumMember,
    Env,
    Ext,
    Func,
    Obj,
    Raised,
    Super,
)
from fibcore.model.tree import SourcePlace, Unknown

_ENUM_BASES = ("Enum", "IntEnum", "StrEnum", "Flag", "IntFlag")


class Classes(Part):
    """Evaluates class bodies, name by name, as far as somebody asks."""

    def attr(self, cls: Class, name: str, after: Class | None = None) -> Any:
        """What the MRO holds under `name` (functions unbound), or ABSENT; starts behind `after`."""
        mro = cls.mro
        start = mro.index(after) + 1 if after is not None and after in mro else 0
        for base in mro[start:]:
            if isinstance(base, Class):
                value = self.own_attr(base, name)
                if value is not ABSENT:
                    return value
        return ABSENT

    def own_attr(self, cls: Class, name: str) -> Any:
        """What the class body itself binds to `name`, or ABSENT."""
        if name in cls.attrs:
            return cls.attrs[name]
        if name not in cls.names:
            return ABSENT
        # Until it is known, so that a body that refers to itself comes to an end.
        cls.attrs[name] = Unknown(f"{cls.name}.{name} refers to itself", cls.place)
        # A class is made when its module is imported: in no branch, and before any forward pass.
        with self.ev.aside():
            value = self._run_body(cls, name)
        if isinstance(value, Func) and value.cls is None and not isinstance(value.node, ast.Lambda):
            value.cls = cls  # a function that the body got in another way than by `def`
        cls.attrs[name] = value
        if value is ABSENT:
            del cls.attrs[name]
        elif (
            isinstance(value, Obj)
            and isinstance(value.cls, Class)
            and self.attr(value.cls, "__set_name__") is not ABSENT
        ):
            value.attrs.setdefault("name", name)  # what descriptors do with their name
        return value

    def _run_body(self, cls: Class, name: str) -> Any:
        """Run the statements of a class body that bind one name; what they bind it to."""
        scope = Env(cls.module, _ClassScope(self, cls))
        value: Any = ABSENT
        for statement in cls.names[name]:
            if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
                kind = method_kind(statement)
                if kind is not None:
                    # A method does not see the names of the class body, but those around it.
                    value = self.ev.definitions.function(
                        statement, cls.env, statement.name, cls, kind
                    )
                continue
            try:
                self.ev.statements.execute(statement, scope)
            except Raised as error:
                value = Unknown(f"{error.kind} in a class body: {error.message}", error.place)
            value = scope.vars.get(name, value)
        return value

    def enum_members(self, cls: Class) -> tuple[EnumMember, ...] | None:
        """The members of an enumeration; None for any other class."""
        if not cls.derives(*_ENUM_BASES):
            return None
        if cls.members is not None:
            return tuple(cls.members)
        members: list[EnumMember] = []
        cls.members = members  # first, because a value may refer to members before it
        count = 0
        for name, statements in cls.names.items():
            if name.startswith("_") or not isinstance(statements[-1], (ast.Assign, ast.AnnAssign)):
                continue
            value = self.own_attr(cls, name)
            cls.attrs.pop(name, None)  # the class holds the member under the name, not the value
            if isinstance(value, Obj) and value.class_name.endswith("auto"):
                count += 1
                value = name.lower() if cls.derives("StrEnum") else count
            elif isinstance(value, int):
                count = value
            members.append(EnumMember(cls, name, value))
        return tuple(members)

    def make_super(self, env: Env, place: SourcePlace) -> Any:
        """`super()` in the method that `env` belongs to."""
        # Comprehensions and functions inside of a method have scopes of their own.
        scope: Env | None = env
        while scope is not None and (scope.func is None or scope.func.cls is None):
            scope = scope.outer
        if scope is None or scope.func is None or isinstance(scope.func.node, ast.Lambda):
            return Unknown("super() outside of a method", place)
        args = scope.func.node.args
        first = [*args.posonlyargs, *args.args][0].arg
        cls = scope.func.cls
        assert cls is not None
        return Super(scope.vars.get(first), cls)

    def is_module(self, cls: Class) -> bool:
        """Whether instances of a class are `torch.nn.Module`s."""
        bases = self.ev.environment.module_bases
        return any(
            isinstance(c, Ext) and (c.name.startswith("torch.nn.") or c.short in bases)
            for c in cls.mro
        )


class _ClassScope(Env):
    """The scope of a class body: names of the class itself, then those around it."""

    __slots__ = ()

    def __init__(self, classes: Classes, cls: Class) -> None:
        super().__init__(cls.module, cls.env)
        self.vars = _ClassVars(classes, cls)


class _ClassVars(dict[str, Any]):
    """Looks a name up in the class body when it is first asked for.

    A body is evaluated name by name, in the order of questions and not of lines, because most of
    what classes of models hold is never asked for.
    """

    def __init__(self, classes: Classes, cls: Class) -> None:
        super().__init__()
        self._classes = classes
        self._cls = cls

    def get(self, key: str, default: Any = None) -> Any:
        """The class attribute, evaluated on demand."""
        value = self._classes.own_attr(self._cls, key)
        return default if value is ABSENT else value

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self.get(key, ABSENT) is not ABSENT
