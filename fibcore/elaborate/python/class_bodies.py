"""Class bodies: most are evaluated name by name, as far as somebody asks."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.effects import changes_class
from fibcore.elaborate.python.import_time import used_at_import
from fibcore.elaborate.python.index import bound_names, walrus_names
from fibcore.elaborate.python.local_names import bound_in
from fibcore.elaborate.python.part import Part
from fibcore.elaborate.python.quiet import put_off
from fibcore.elaborate.python.values import ABSENT, Class, Env, Func, Raised, Value
from fibcore.model.tree import Unknown
from fibcore.syntax import walk

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_PLAIN = (
    *_FUNCTIONS,
    ast.ClassDef,
    ast.Assign,
    ast.AnnAssign,
    ast.Pass,
    ast.Import,
    ast.ImportFrom,
)
_BIND_OWN = frozenset(_PLAIN) - {ast.Assign}
_WITHOUT_EFFECT = frozenset((
    "field", "Field", "auto", "property", "staticmethod", "classmethod", "dict", "list", "set",
    "tuple", "frozenset", "range", "len", "int", "float", "str", "TypeVar", "ConfigDict", "compile",
))  # fmt: skip
_REDEFINES = frozenset(("setter", "deleter", "getter", "overload"))


class ClassBodies(Part):
    """Evaluates the bodies of classes."""

    def __init__(self, evaluator: Evaluator) -> None:
        super().__init__(evaluator)
        self._waiting: list[Class] = []  # those of whose bodies statements were put off

    def prepare(self, cls: Class, env: Env) -> None:
        """Note what a body binds; run it where the order of its statements matters."""
        walrus = cls.module.source.has_walrus
        others = False
        for statement in cls.node.body:
            only = _only_name(statement, walrus=walrus)
            if only is not None:  # of most
                cls.names.setdefault(only, []).append(statement)
                continue
            others |= type(statement) not in _BIND_OWN and _changes_others(statement)
            found = bound_names([statement])
            if walrus and not isinstance(statement, _FUNCTIONS) and _has_walrus(statement):
                found |= walrus_names([statement])
            for name in found if len(found) < 2 else _in_order_of_text(found, statement):
                cls.names.setdefault(name, []).append(statement)
        if others:
            # `registry.append(...)` and the like change what others bind.
            own = bound_in(cls.node.body, walrus=walrus)
            for name in [name for name in cls.names if name not in own]:
                del cls.names[name]
        if self._in_order(cls, env):
            if env.outer is None and not (cls.metaclass or cls.metaclass_name or cls.decorators):
                cls.put_off = put_off(cls.node.body, cls.module.source)
            if cls.put_off:
                self._waiting.append(cls)
            self.run(cls)

    def _in_order(self, cls: Class, env: Env) -> bool:
        """Whether evaluating a body name by name may come to something else than Python does."""
        if env.outer is not None or self.ev.modules.order.running or self.ev.mode.caught:
            return True
        if cls.metaclass is not None or not all(map(_is_plain, cls.node.body)):
            return True
        if any(len(s) > 1 and not all(map(_redefines, s[1:])) for s in cls.names.values()):
            return True
        reads = any(
            isinstance(s, (ast.Assign, ast.AnnAssign)) and s.value is not None
            and not isinstance(s.value, ast.Constant) and used_at_import([s])
            for s in cls.node.body
        )  # fmt: skip
        return reads and changes_class(cls.module.source, cls.name)

    def run(self, cls: Class) -> None:
        """Run a body from its first statement to its last one, as far as it has not been run."""
        if cls.complete:
            return
        cls.complete = True
        scope = ClassScope(cls, cls.attrs)
        waiting = {id(statement) for statement in cls.put_off.values()}
        for statement in cls.node.body:
            if id(statement) in waiting:
                continue
            try:
                self.ev.statements.execute(statement, scope)
            except Raised as error:
                in_function = cls.env.func is not None and not self.ev.mode.forward
                if self.ev.mode.caught or in_function:
                    raise
                self._lose(cls, statement, error)
        for name, value in list(cls.attrs.items()):
            held = _in_class(value)
            if held is ABSENT:
                del cls.attrs[name]
            else:
                cls.attrs[name] = held
                self.adopt(cls, name, held)

    def run_put_off(self) -> None:
        """Run all statements that wait for their names to be read, in the order of the source."""
        while self._waiting:
            cls = self._waiting.pop(0)
            with self.ev.apart(), self._at(cls):
                for name in list(cls.put_off):
                    self.ev.classes.own_attr(cls, name)

    def complete(self, cls: Class) -> None:
        """Run what is left of a body that was evaluated by names until now."""
        if cls.complete:
            return
        with self.ev.apart(), self._at(cls):
            for name in list(cls.names):
                self.ev.classes.own_attr(cls, name)

    def _lose(self, cls: Class, statement: ast.stmt, error: Raised) -> None:
        why = Unknown(f"{error.kind} in a class body: {error.message}", error.place)
        for name in bound_names([statement]):
            cls.attrs[name] = why

    def attr(self, cls: Class, name: str) -> Any:
        """What a body binds to a name, or ABSENT; runs the statements that bind it."""
        if name not in cls.names or (cls.complete and name not in cls.put_off):
            return ABSENT
        # Until it is known, so that a body that refers to itself comes to an end.
        cls.attrs[name] = Unknown(f"{cls.name}.{name} refers to itself", cls.place)
        # A class is made when its module is imported: in no branch, and before any forward pass.
        with self.ev.aside(), self._at(cls):
            value = self._evaluated(cls, name)
            cls.attrs[name] = value
            if value is ABSENT:
                del cls.attrs[name]
            self.adopt(cls, name, value)
        return value

    def _evaluated(self, cls: Class, name: str) -> Any:
        scope = ClassScope(cls, _BodyNames(self, cls))
        value: Any = ABSENT
        for statement in cls.names[name]:
            scope.vars.line = statement.lineno  # type: ignore[attr-defined]
            try:
                self.ev.statements.execute(statement, scope)
            except Raised as error:
                why = f"{error.kind} in a class body: {error.message}"
                value = Unknown(why, error.place)
            value = dict.get(scope.vars, name, value)
        return _in_class(value)

    def expression(self, cls: Class, node: ast.expr) -> Any:
        """An expression of a body, as it was when the class was made."""
        scope = ClassScope(cls, _BodyNames(self, cls))
        scope.vars.line = node.lineno  # type: ignore[attr-defined]
        with self._at(cls):
            return self.ev.expressions.eval(node, scope)

    @contextlib.contextmanager
    def _at(self, cls: Class) -> Iterator[None]:
        """Let the names of the module be what they were when the class was made."""
        module = cls.module
        outer, module.at = module.at, cls.position
        try:
            with self.ev.layers.tracking(None):  # and of no layer
                yield
        finally:
            module.at = outer

    def adopt(self, cls: Class, name: str, value: Any) -> None:
        """Tell a value of a body that it is an attribute of the class."""
        if isinstance(value, Func):
            if value.cls is None and not isinstance(value.node, ast.Lambda):
                value.cls = cls  # a function that the body got in another way than by `def`
        else:
            self.ev.classes.set_name(cls, name, value)


def _in_class(value: Any) -> Any:
    """What a class holds of a value that its body binds: of a field, the default."""
    return value.in_class if isinstance(value, Value) else value


def _is_plain(node: ast.stmt) -> bool:
    """Whether a statement of a body does nothing but bind names of its own."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    if not isinstance(node, _PLAIN):
        return False
    if isinstance(node, _FUNCTIONS):
        return True
    if isinstance(node, (ast.Assign, ast.AnnAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if not all(isinstance(t, ast.Name) for t in targets):
            return False
        return node.value is None or not _may_have_effects(node.value)
    return True


def _may_have_effects(node: ast.expr) -> bool:
    for inner in walk(node):
        if isinstance(inner, ast.NamedExpr):
            return True
        if isinstance(inner, ast.Call):
            func = inner.func
            name = func.id if isinstance(func, ast.Name) else getattr(func, "attr", "")
            if name not in _WITHOUT_EFFECT:
                return True
    return False


def _only_name(node: ast.stmt, *, walrus: bool) -> str | None:
    """The name that a function or `name = value` binds; None of other statements."""
    kind = type(node)
    if kind is ast.FunctionDef:
        return node.name  # type: ignore[attr-defined, no-any-return]
    if kind is not ast.Assign or walrus:
        return None
    target, *more = node.targets  # type: ignore[attr-defined]
    return None if more or type(target) is not ast.Name else target.id


def _in_order_of_text(names: frozenset[str], node: ast.stmt) -> Collection[str]:
    """Names in the order in which a statement binds them."""
    found = [part.id for part in walk(node) if isinstance(part, ast.Name) and part.id in names]
    return dict.fromkeys([*found, *sorted(names)])


def _changes_others(node: ast.stmt) -> bool:
    """Whether a statement, no mere definition, may change what names of others hold."""
    if isinstance(node, ast.Expr):
        return not isinstance(node.value, ast.Constant)
    if isinstance(node, ast.Assign):
        return any(type(target) is not ast.Name for target in node.targets)
    return True


def _has_walrus(node: ast.stmt) -> bool:
    return any(isinstance(inner, ast.NamedExpr) for inner in walk(node))


def _redefines(node: ast.stmt) -> bool:
    """Whether a further definition of a name goes on from the one before: a setter."""
    return isinstance(node, _FUNCTIONS) and any(
        (d.attr if isinstance(d, ast.Attribute) else getattr(d, "id", "")) in _REDEFINES
        for d in node.decorator_list
    )


class ClassScope(Env):
    """The scope of a class body: names of the class itself, then those around it."""

    __slots__ = ("_owner",)
    is_class = True

    def __init__(self, cls: Class, names: dict[str, Any]) -> None:
        super().__init__(cls.module, cls.env)
        self.vars = names
        self._owner = cls

    @property
    def owner(self) -> Class:
        return self._owner


class _BodyNames(dict[str, Any]):
    """Looks a name up in the class body when it is first asked for.

    A body is evaluated in the order of questions and not of lines, because most of what classes of
    models hold is never asked for; what stands behind the line that asks is not bound yet.
    """

    def __init__(self, bodies: ClassBodies, cls: Class) -> None:
        super().__init__()
        self._bodies = bodies
        self._cls = cls
        self.line = 0

    def get(self, key: str, default: Any = None) -> Any:
        """The class attribute, evaluated on demand."""
        if dict.__contains__(self, key):
            return self[key]
        statements = self._cls.names.get(key)
        if not statements or statements[0].lineno >= self.line:
            return default
        value = self._bodies.ev.classes.own_attr(self._cls, key)
        return default if value is ABSENT else value

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self.get(key, ABSENT) is not ABSENT
