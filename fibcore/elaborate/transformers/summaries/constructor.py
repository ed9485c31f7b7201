"""Following a constructor statement by statement.

An assignment to an attribute is a step of the summary; local names are replaced by what they hold;
an `if` is a condition of the steps below it. What cannot be followed (loops, methods of the class,
values of other packages) is noted as unclear with all that it writes, so that an attribute is never
taken for what it was before.
"""

from __future__ import annotations

import ast
import copy
import re

from fibcore.elaborate.transformers.summaries.draft import Draft
from fibcore.elaborate.transformers.summaries.rewriter import CHANGING, LOST, Rewriter
from fibcore.elaborate.transformers.summaries.summary import GIVEN, NotExpressibleError
from fibcore.elaborate.transformers.summaries.syntax import (
    default_of,
    method,
    parameters,
    self_attribute,
)
from fibcore.syntax import parse_expression, walk

# Calls that set nothing: logging, and checks, whose refusals are not ours to make.
_HARMLESS = re.compile(
    r"^(logger\.|warnings\.|self\.(_?validate|standardize_rope|_check|set_output_features)"
    r"|(rope_config|layer_type)_validation\(|verify_backbone|requires_backends)"
)
_BASE_CALL = re.compile(r"(super\(\)|PreTrainedConfig)\.__(post_)?init__\(")


def follow(
    draft: Draft,
    level: int,
    passed: dict[str, ast.expr] | None = None,
    guard: str | None = None,
) -> None:
    """Follow the constructor of the class at `level` of the lineage, or of its nearest base.

    Args:
        draft: What it does is noted here.
        level: Where in the lineage to look for one.
        passed: Arguments that a derived class passes on by name.
        guard: The condition under which it runs; None for always.
    """
    lineage = draft.lineage
    classes = lineage.classes
    while level < len(classes) and method(classes[level][0], lineage.constructor) is None:
        level += 1
    rest = dict(passed or {})
    if level == len(classes):
        for key, value in rest.items():
            draft.assign(key, value, guard)
        draft.base(guard)
        return
    function = method(classes[level][0], lineage.constructor)
    assert function is not None
    local: dict[str, ast.expr] = {}
    for parameter, default in parameters(function).items():
        if parameter in rest:
            local[parameter] = rest.pop(parameter)
        elif lineage.modern:
            local[parameter] = default
        else:
            draft.fields.setdefault(parameter, default_of(default, lineage.globals[level]))
            local[parameter] = ast.Name(parameter, ast.Load())
    for key, value in rest.items():
        draft.assign(key, value, guard)
    _Constructor(draft, level, function, local).block(function.body, guard)


class _Constructor:
    """Follows the statements of one constructor.

    Args:
        draft: What they do is noted here.
        level: The class of the lineage that has the constructor.
        function: The constructor.
        local: The values of its parameters, over names of attributes.
    """

    def __init__(
        self, draft: Draft, level: int, function: ast.FunctionDef, local: dict[str, ast.expr]
    ) -> None:
        self.draft = draft
        self.level = level
        self.local = local
        self.kwargs = function.args.kwarg.arg if function.args.kwarg is not None else ""

    def rewrite(self, node: ast.expr) -> ast.expr:
        """An expression over names of attributes."""
        rewriter = Rewriter(self.draft, self.level, self.local, self.kwargs)
        rewritten: ast.expr = rewriter.visit(copy.deepcopy(node))
        return rewritten

    def block(self, body: list[ast.stmt], guard: str | None) -> bool:
        """Follow statements; whether the last one returns or raises."""
        for position, node in enumerate(body):
            if isinstance(node, (ast.Return, ast.Raise)):
                return True
            if isinstance(node, ast.If) and _returns(node.body) and not node.orelse:
                condition = self._condition(node.test, guard)
                if condition is None:
                    self._unclear(body[position:])
                    return True
                self.block(node.body, _both(guard, condition))
                return self.block(body[position + 1 :], _both(guard, f"not {condition}"))
            try:
                self._statement(node, guard)
            except NotExpressibleError:
                self._unclear([node])
        return False

    def _statement(self, node: ast.stmt, guard: str | None) -> None:
        if isinstance(node, ast.If):
            self._if(node, guard)
        elif isinstance(node, ast.Assign):
            value = None if _chained(node.value) else self.rewrite(node.value)
            if value is None:
                raise NotExpressibleError(ast.unparse(node))
            for target in node.targets:
                self._assign(target, value, guard)
        elif isinstance(node, ast.AnnAssign):
            if node.value is not None:
                self._assign(node.target, self.rewrite(node.value), guard)
        elif isinstance(node, ast.AugAssign):
            load = copy.deepcopy(node.target)
            load.ctx = ast.Load()
            both = ast.BinOp(load, node.op, node.value)
            self._assign(node.target, self.rewrite(both), guard)
        elif isinstance(node, ast.Expr):
            self._expression(node.value, guard)
        elif not isinstance(node, (ast.Assert, ast.Pass, ast.Import, ast.ImportFrom)):
            raise NotExpressibleError(ast.unparse(node))

    def _if(self, node: ast.If, guard: str | None) -> None:
        if not any(_writes(s) for s in (*node.body, *node.orelse)):
            return
        condition = self._condition(node.test, guard)
        if condition is None:
            raise NotExpressibleError(ast.unparse(node.test))
        before = dict(self.local)
        self.block(node.body, _both(guard, condition))
        after, self.local = self.local, dict(before)
        self.block(node.orelse, _both(guard, f"not {condition}"))
        for name in {*after, *self.local}:
            yes, no = after.get(name), self.local.get(name)
            if yes is None or no is None:
                self.local[name] = yes or no or ast.Constant(None)
            elif ast.dump(yes) != ast.dump(no):
                self.local[name] = ast.IfExp(ast.Name(condition, ast.Load()), yes, no)

    def _condition(self, test: ast.expr, guard: str | None) -> str | None:
        """The name under which a condition's truth is kept; None where it is not clear."""
        try:
            value = self.rewrite(self._bind(test))
        except NotExpressibleError:
            return None
        return self.draft.keep_truth(value, guard)

    def _bind(self, test: ast.expr) -> ast.expr:
        """A condition without `:=`, whose names are bound."""
        follower = self

        class Binder(ast.NodeTransformer):
            def visit_NamedExpr(self, node: ast.NamedExpr) -> ast.expr:
                follower.local[node.target.id] = follower.rewrite(node.value)
                return ast.Name(node.target.id, ast.Load())

        bound: ast.expr = Binder().visit(copy.deepcopy(test))
        return bound

    def _assign(self, target: ast.expr, value: ast.expr, guard: str | None) -> None:
        """Note what an assignment, or a method that changes an object, gives a target."""
        if isinstance(target, ast.Name):
            self.local[target.id] = value
        elif isinstance(target, ast.Attribute) and self_attribute(target):
            self._assign_attribute(self.draft.lineage.kept(target.attr), value, guard)
        elif isinstance(target, ast.Subscript):
            self._assign_item(target, value, guard)
        elif isinstance(target, ast.Attribute) and self_attribute(target.value):
            outer = ast.unparse(self.rewrite(target.value))
            self.draft.assign_inside(f"{outer}.{target.attr}", value, guard)
        else:
            raise NotExpressibleError(ast.unparse(target))

    def _assign_attribute(self, name: str, value: ast.expr, guard: str | None) -> None:
        for other, held in list(self.local.items()):
            # A local name that still means what the attribute was.
            if other != name and isinstance(held, ast.Name) and held.id == name:
                before = self.draft.keep_before(name, guard)
                self.local[other] = ast.Name(before, ast.Load())
        if name in self.draft.lineage.properties:
            # The setter keeps it somewhere else; what is read, the property says.
            self.draft.unclear.add(name)
            return
        self.draft.assign(name, value, guard)
        # The parameter of this name was passed on by a derived class as another attribute's value;
        # what follows may as well read the attribute.
        if isinstance(self.local.get(name), ast.Name) and not (
            isinstance(value, ast.Name) and value.id == name
        ):
            self.local[name] = ast.Name(name, ast.Load())

    def _assign_item(self, target: ast.Subscript, value: ast.expr, guard: str | None) -> None:
        key = self.rewrite(target.slice)
        if self.kwargs and isinstance(target.value, ast.Name) and target.value.id == self.kwargs:
            # The base class makes attributes of what is left in `**kwargs`.
            if not isinstance(key, ast.Constant):
                raise NotExpressibleError(ast.unparse(target))
            self.draft.assign(str(key.value), value, guard)
            return
        held = self.rewrite(target.value)
        self._assign(target.value, _changed(held, key, value), guard)

    def _expression(self, node: ast.expr, guard: str | None) -> None:
        """Note what a statement does that is an expression alone: as a rule, a call."""
        text = ast.unparse(node)
        if _HARMLESS.match(text) or isinstance(node, ast.Constant):
            return
        if not isinstance(node, ast.Call):
            raise NotExpressibleError(text)
        if _BASE_CALL.match(text):
            passed = {}
            for keyword in node.keywords:
                if keyword.arg is not None:
                    passed[keyword.arg] = self.rewrite(keyword.value)
                elif ast.unparse(keyword.value) != self.kwargs:
                    raise NotExpressibleError(text)
            follow(self.draft, self.level + 1, passed, guard)
        elif not (self._changes_kwargs(node, guard) or self._changes_object(node, guard)):
            raise NotExpressibleError(text)

    def _changes_kwargs(self, node: ast.Call, guard: str | None) -> bool:
        """Note `kwargs.pop(key)` or `kwargs.setdefault(key, value)`; whether it is one of them."""
        func = node.func
        if not (
            isinstance(func, ast.Attribute)
            and self.kwargs
            and ast.unparse(func.value) == self.kwargs
        ):
            return False
        key = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
        if not isinstance(key, str):
            return False
        if func.attr == "pop":
            self.draft.dropped.add(key)
            return True
        if func.attr != "setdefault":
            return False
        default = self.rewrite(node.args[1])
        get = parse_expression(f"{GIVEN}.get({key!r})")
        assert isinstance(get, ast.Call)
        get.args.append(default)
        self.draft.assign(key, get, guard)
        return True

    def _changes_object(self, node: ast.Call, guard: str | None) -> bool:
        """Note `x.update(y)` or `x.setdefault(k, v)` as a new `x`; whether it is one of them."""
        func = node.func
        if not (isinstance(func, ast.Attribute) and func.attr in ("update", "setdefault")):
            return False
        held = self.rewrite(func.value)
        args = [self.rewrite(a) for a in node.args]
        if func.attr == "update" and len(args) == 1:
            self._assign(func.value, ast.Dict([None, None], [held, args[0]]), guard)
            return True
        if func.attr == "setdefault" and len(args) == 2:
            self._assign(func.value, ast.Dict([args[0], None], [args[1], held]), guard)
            return True
        return False

    def _unclear(self, nodes: list[ast.stmt]) -> None:
        """Note all that statements write that cannot be followed."""
        for outer in nodes:
            for node in walk(outer):
                if isinstance(node, (ast.Attribute, ast.Name)) and isinstance(node.ctx, ast.Store):
                    self._lose(node)
                elif isinstance(node, ast.Call) and "super().__" in ast.unparse(node.func):
                    follow(self.draft, self.level + 1)
                elif (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and node.func.attr in CHANGING
                ):
                    held = node.func.value
                    while isinstance(held, ast.Subscript):
                        held = held.value
                    self._lose(held)

    def _lose(self, node: ast.expr) -> None:
        """Note that an attribute or a local name holds what cannot be followed."""
        if isinstance(node, ast.Attribute) and self_attribute(node):
            self.draft.give_up(node.attr)
        elif isinstance(node, ast.Name):
            self.local[node.id] = ast.Name(LOST, ast.Load())


def _changed(held: ast.expr, key: ast.expr, value: ast.expr) -> ast.expr:
    """A dict or list with one entry changed, as a new one: an expression changes nothing."""
    try:
        position = ast.literal_eval(key)
    except ValueError:
        position = None
    if not isinstance(position, int):
        return ast.Dict([None, key], [held, value])
    text = ast.unparse(held)
    before = parse_expression(f"{text}[:{position}]")
    after = parse_expression(f"{text}[{position + 1}:]")
    parts: list[ast.expr] = [ast.Starred(before, ast.Load()), value]
    if position != -1:
        parts.append(ast.Starred(after, ast.Load()))
    return ast.List(parts, ast.Load())


def _both(outer: str | None, inner: str) -> str:
    return inner if outer is None else f"{outer} and {inner}"


def _chained(node: ast.expr) -> bool:
    """Whether an assigned value changes something besides (`x = kwargs.pop(...)` is no such)."""
    return isinstance(node, (ast.NamedExpr, ast.Await, ast.Yield))


def _returns(body: list[ast.stmt]) -> bool:
    return bool(body) and isinstance(body[-1], ast.Return)


def _writes(node: ast.stmt) -> bool:
    """Whether a statement can change an attribute or name."""
    for inner in walk(node):
        if isinstance(inner, (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Delete, ast.For)):
            return True
        if isinstance(inner, ast.Expr) and not (
            _HARMLESS.match(ast.unparse(inner)) or isinstance(inner.value, ast.Constant)
        ):
            return True
    return False
