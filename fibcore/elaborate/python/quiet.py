"""Constructors that nobody hears of: what they do is known without running them.

A registry of settings is a class of hundreds of `NAME = Setting(default)`, of which a model reads
a handful. Where the constructor only stores its arguments in the new object, it does not matter
when it is run, and those of settings that nobody reads need not be run at all.
"""

from __future__ import annotations

import ast

from fibcore.elaborate.python.import_time import used_at_import
from fibcore.elaborate.python.index import SourceModule

_MANY = 16
"""From so many quiet statements on it is worth to put them off."""
_HOOKS = frozenset((
    "__new__", "__setattr__", "__getattribute__", "__getattr__", "__del__", "__init_subclass__",
    "__slots__", "__set__", "__delete__", "__call__",
))  # fmt: skip
_LOOKS_AROUND = frozenset(("locals", "vars", "dir", "globals", "exec", "eval"))


def put_off(body: list[ast.stmt], module: SourceModule) -> dict[str, ast.Assign]:
    """The statements of a class body that can wait until their name is read, by that name.

    Args:
        body: The body.
        module: The module that it stands in.
    """
    names = [_name_of(statement, module) for statement in body]
    quiet = {
        name: statement
        for name, statement in zip(names, body, strict=True)
        if name is not None and isinstance(statement, ast.Assign)
    }
    if len(quiet) < _MANY or len(quiet) < sum(name is not None for name in names):
        return {}
    used = used_at_import([s for s, name in zip(body, names, strict=True) if name is None])
    given = {n.id for s in quiet.values() for n in _arguments(s) if isinstance(n, ast.Name)}
    return {} if used & (_LOOKS_AROUND | quiet.keys()) or given & quiet.keys() else quiet


def _name_of(statement: ast.stmt, module: SourceModule) -> str | None:
    """The name that a quiet statement binds; None for any other."""
    if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
        return None
    (target,), value = statement.targets, statement.value
    if not isinstance(target, ast.Name) or not isinstance(value, ast.Call):
        return None
    if not isinstance(value.func, ast.Name) or not _is_quiet(value.func.id, module):
        return None
    plain = all(isinstance(n, (ast.Constant, ast.Name, ast.Lambda)) for n in _arguments(statement))
    return target.id if plain else None


def _arguments(statement: ast.Assign) -> list[ast.expr]:
    call = statement.value
    assert isinstance(call, ast.Call)
    given = [*call.args, *(k.value for k in call.keywords)]
    return [n.operand if isinstance(n, ast.UnaryOp) else n for n in given]


def _is_quiet(name: str, module: SourceModule) -> bool:
    """Whether a class of a module does nothing but store, when it is called and named."""
    known = module.quiet_classes.get(name)
    if known is None:
        module.quiet_classes[name] = False  # of one that derives from itself
        known = module.quiet_classes[name] = _stores_alone(name, module)
    return known


def _stores_alone(name: str, module: SourceModule) -> bool:
    node = _definition(name, module)
    if node is None or node.decorator_list or node.keywords:
        return False
    if not all(isinstance(b, ast.Name) and _is_quiet(b.id, module) for b in node.bases):
        return False
    for member in node.body:
        if isinstance(member, (ast.FunctionDef, ast.AsyncFunctionDef)):
            if member.name in _HOOKS or (member.decorator_list and member.name.startswith("__")):
                return False
            if member.name in ("__init__", "__set_name__") and not _stores(member, module):
                return False
        elif isinstance(member, ast.Assign):
            if not all(isinstance(t, ast.Name) and t.id not in _HOOKS for t in member.targets):
                return False
            if not isinstance(member.value, ast.Constant):
                return False  # a descriptor, perhaps
        elif not isinstance(member, ast.Pass) and not (
            isinstance(member, ast.Expr) and isinstance(member.value, ast.Constant)
        ):
            return False
    return True


def _stores(method: ast.FunctionDef | ast.AsyncFunctionDef, module: SourceModule) -> bool:
    """Whether a method assigns to attributes of its object, and does nothing else."""
    spec = method.args
    if isinstance(method, ast.AsyncFunctionDef) or spec.vararg or spec.kwarg:
        return False
    parameters = {a.arg for a in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs)}
    defaults = [*spec.defaults, *(d for d in spec.kw_defaults if d is not None)]
    if not all(isinstance(d, ast.Constant) for d in defaults):
        return False
    return all(_is_store(statement, parameters, module) for statement in method.body)


def _is_store(statement: ast.stmt, parameters: set[str], module: SourceModule) -> bool:
    if isinstance(statement, ast.Assert):
        return _is_plain(statement.test, parameters, module)
    if isinstance(statement, ast.Expr):
        value = statement.value
        if isinstance(value, ast.Constant):
            return True
        given = [*value.args, *(k.value for k in value.keywords)] if _calls_super(value) else None  # type: ignore[attr-defined]
        return given is not None and all(_is_plain(g, parameters, module) for g in given)
    if not isinstance(statement, (ast.Assign, ast.AnnAssign)) or statement.value is None:
        return False
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    return all(
        isinstance(t, ast.Attribute) and isinstance(t.value, ast.Name) and t.value.id == "self"
        for t in targets
    ) and _is_plain(statement.value, parameters, module)


def _calls_super(node: ast.expr) -> bool:
    """Whether syntax is `super().__init__(...)`."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("__init__", "__set_name__")
        and isinstance(node.func.value, ast.Call)
        and isinstance(node.func.value.func, ast.Name)
        and node.func.value.func.id == "super"
        and not node.func.value.args
    )


def _is_plain(node: ast.expr, parameters: set[str], module: SourceModule) -> bool:
    """Whether an expression is a constant, a parameter, or an attribute of a class of the module.

    What classes hold is remembered by the statement that changed it (`Class.former`), so that it
    does not matter when that is read.
    """
    if isinstance(node, ast.Constant):
        return True
    if isinstance(node, ast.Name):
        return node.id in parameters
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.Not) and _is_plain(node.operand, parameters, module)
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        of_class = _definition(node.value.id, module) is not None
        return of_class and node.value.id not in parameters
    return False


def _definition(name: str, module: SourceModule) -> ast.ClassDef | None:
    """The class that a name of a module always is; None for any other name."""
    if name in module.declared_global:
        return None
    nodes = [node for statement in module.binding(name) for node in statement.nodes]
    if not nodes or not all(map(_sets_flag, nodes[1:])):
        return None
    return nodes[0] if isinstance(nodes[0], ast.ClassDef) else None


def _sets_flag(node: ast.stmt) -> bool:
    """Whether a statement changes a class in nothing but an attribute: `Setting.frozen = True`."""
    return (
        isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Constant)
        and all(
            isinstance(t, ast.Attribute)
            and isinstance(t.value, ast.Name)
            and not t.attr.startswith("__")
            for t in node.targets
        )
    )
