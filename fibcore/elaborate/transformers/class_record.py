"""One config class's record, made by following its constructor over expressions."""

from __future__ import annotations

import ast
import copy
import re
from typing import Any

from fibcore.elaborate.transformers.class_facts import (
    GIVEN,
    KEEPS_ROPE,
    UNCLEAR,
    ClassFacts,
    UnclearError,
)
from fibcore.elaborate.transformers.class_rewriter import CHANGING, Rewriter, Scope
from fibcore.elaborate.transformers.class_syntax import (
    dict_items,
    global_data,
    is_data,
    is_docstring,
    literal,
    method,
    parameters,
    plain,
    self_attribute,
)

# Parallel plans, file names and the like: long, and no part of what a model reads.
_LEFT_OUT = re.compile(r"^(base_model_\w+_plan|keys_to_ignore_at_inference|_auto_class|__\w+__)$")
_HARMLESS = re.compile(
    r"^(logger\.|warnings\.|self\.(_?validate|standardize_rope|_check|set_output_features)"
    r"|(rope_config|layer_type)_validation\(|verify_backbone|requires_backends)"
)


class Record(Scope):
    """Makes the record of a class.

    Args:
        lineage: The class and those that it derives from, nearest first, each with its module.
    """

    def __init__(self, lineage: list[tuple[ast.ClassDef, ast.Module]]) -> None:
        self.classes = lineage
        self.globals = [global_data(tree) for _, tree in self.classes]
        self.constants: dict[str, Any] = {}
        self.renamed: dict[str, str] = {}
        self.nested: dict[str, str] = {}
        self.nodes: dict[str, ast.expr] = {}
        self.properties: dict[str, ast.FunctionDef] = {}
        for (cls, _), data in zip(reversed(self.classes), reversed(self.globals), strict=True):
            self._class_body(cls, data)
        self.model_type = str(self.constants.pop("model_type", ""))
        self.modern = not any(
            parameters(init)
            for cls, _ in self.classes
            if (init := method(cls, "__init__")) is not None
        )
        self.fields: dict[str, Any] = {}
        self.steps: list[tuple[str, str, str | None]] = []
        self.dropped: set[str] = set()
        self.unclear: set[str] = set()
        self.conditions = 0
        self.based = False

    def _class_body(self, cls: ast.ClassDef, data: dict[str, Any]) -> None:
        for node in cls.body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                self._class_constant(node.targets[0].id, node.value, data)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                name = node.target.id
                if "ClassVar" in ast.unparse(node.annotation) or name == "model_type":
                    if node.value is not None:
                        self._class_constant(name, node.value, data)
                else:
                    self.nodes[name] = node.value or ast.Constant(None)
                    self.constants.pop(name, None)
                    self.properties.pop(name, None)
            elif isinstance(node, ast.FunctionDef):
                kinds = [ast.unparse(d).rpartition(".")[2] for d in node.decorator_list]
                body = [s for s in node.body if not is_docstring(s)]
                if node.name == "convert_rope_params_to_dict" and len(body) == 1:
                    self.constants[KEEPS_ROPE] = isinstance(body[0], ast.Return)
                if any(k in ("property", "cached_property") for k in kinds):
                    self.properties[node.name] = node
                    self.nodes.pop(node.name, None)

    def _class_constant(self, name: str, value: ast.expr, data: dict[str, Any]) -> None:
        if name == "sub_configs":
            found = {key: ast.unparse(node).rpartition(".")[2] for key, node in dict_items(value)}
            self.nested = {k: v for k, v in found.items() if v != "AutoConfig"}
        if _LEFT_OUT.match(name) or name == "sub_configs":
            return
        try:
            held = literal(value)
        except ValueError:
            if not (isinstance(value, ast.Name) and value.id in data):
                return
            held = data[value.id]
        if name == "attribute_map":
            self.renamed = {**self.renamed, **held} if isinstance(held, dict) else self.renamed
        elif is_data(held):
            self.constants[name] = held
            self.nodes.pop(name, None)
            self.properties.pop(name, None)

    def facts(self) -> ClassFacts:
        """The finished record."""
        if self.modern:
            for name, node in self.nodes.items():
                self.fields[name] = plain(node)
        self.enter(0)
        if not self.based:
            self.steps.append(("", "", None))
        properties: dict[str, str] = {}
        for name in self.properties:
            try:
                value = self.property_value(name)
                rewritten = Rewriter(self, len(self.classes) - 1, {}).visit(value)
                properties[name] = ast.unparse(rewritten)
            except UnclearError:  # noqa: PERF203 - each on its own
                self.unclear.add(name)
        return ClassFacts(
            name=self.classes[0][0].name,
            model_type=self.model_type,
            bases=[cls.name for cls, _ in self.classes[1:]],
            renamed=self.renamed,
            nested=self.nested,
            constants=self.constants,
            fields=self.fields,
            steps=tuple(self.steps),
            properties=properties,
            dropped=sorted(self.dropped),
            unclear=sorted(self.unclear),
        )

    # -- following the constructor --------------------------------------------------------------

    def enter(
        self, level: int, given: dict[str, ast.expr] | None = None, guard: str | None = None
    ) -> None:
        """Follow the constructor of the class at `level` of the lineage, or of a base class.

        Args:
            level: Where in the lineage to look for one.
            given: Arguments that a derived class passes on by name; None at the start.
            guard: The condition under which it runs.
        """
        name = "__post_init__" if self.modern else "__init__"
        while level < len(self.classes) and method(self.classes[level][0], name) is None:
            level += 1
        extra = dict(given or {})
        if level == len(self.classes):
            for key, value in extra.items():
                self.step(key, value, guard)
            self.steps.append(("", "", guard))
            self.based = True
            return
        function = method(self.classes[level][0], name)
        assert function is not None
        local: dict[str, ast.expr] = {}
        for parameter, default in parameters(function).items():
            if parameter in extra:
                local[parameter] = extra.pop(parameter)
            elif self.modern:
                local[parameter] = default
            else:
                if parameter not in self.fields:
                    self.fields[parameter] = plain(default, self.globals[level])
                local[parameter] = ast.Name(parameter, ast.Load())
        for key, value in extra.items():
            self.step(key, value, guard)
        _Follower(self, level, local).block(function.body, guard)

    def give_up(self, name: str) -> None:
        """Note that an attribute comes about in a way that cannot be followed."""
        slot = self.renamed.get(name, name)
        if slot in self.nested:
            # A config inside of this one is made of the file's keys all the same.
            if (slot, UNCLEAR, None) not in self.steps:
                self.steps.append((slot, UNCLEAR, None))
        else:
            self.unclear.add(slot)

    def step(self, slot: str, value: ast.expr, guard: str | None) -> None:
        """Note that an attribute gets a value, under a condition."""
        slot = self.renamed.get(slot, slot)
        text = ast.unparse(ast.fix_missing_locations(value))
        if text != slot or (guard is None and slot not in self.fields):
            self.steps.append((slot, text, guard))


class _Follower:
    """Follows the statements of one constructor."""

    def __init__(self, record: Record, level: int, local: dict[str, ast.expr]) -> None:
        self.record = record
        self.level = level
        self.local = local
        function = method(
            record.classes[level][0], "__post_init__" if record.modern else "__init__"
        )
        assert function is not None
        self.kwargs = function.args.kwarg.arg if function.args.kwarg is not None else ""

    def rewrite(self, node: ast.expr) -> ast.expr:
        rewritten: ast.expr = Rewriter(self.record, self.level, self.local, self.kwargs).visit(
            copy.deepcopy(node)
        )
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
            except UnclearError:
                self._unclear([node])
        return False

    def _statement(self, node: ast.stmt, guard: str | None) -> None:
        if isinstance(node, ast.If):
            self._if(node, guard)
        elif isinstance(node, ast.Assign):
            value = None if _chained(node.value) else self.rewrite(node.value)
            if value is None:
                raise UnclearError(ast.unparse(node))
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
            raise UnclearError(ast.unparse(node))

    def _if(self, node: ast.If, guard: str | None) -> None:
        if not any(_writes(s) for s in (*node.body, *node.orelse)):
            return
        condition = self._condition(node.test, guard)
        if condition is None:
            raise UnclearError(ast.unparse(node.test))
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
        except UnclearError:
            return None
        name = f"_if{self.record.conditions}"
        self.record.conditions += 1
        self.record.steps.append((name, ast.unparse(ast.fix_missing_locations(value)), guard))
        return name

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
        if isinstance(target, ast.Name):
            self.local[target.id] = value
        elif self_attribute(target):
            assert isinstance(target, ast.Attribute)
            slot = self.record.renamed.get(target.attr, target.attr)
            for name, held in list(self.local.items()):
                # A local name that still means what the attribute was.
                if name != slot and isinstance(held, ast.Name) and held.id == slot:
                    self.record.steps.append((f"_was_{slot}", slot, guard))
                    self.local[name] = ast.Name(f"_was_{slot}", ast.Load())
            if slot in self.record.properties:
                # The setter keeps it somewhere else; what is read, the property says.
                self.record.unclear.add(slot)
                return
            self.record.step(slot, value, guard)
            if isinstance(self.local.get(slot), ast.Name) and not (
                isinstance(value, ast.Name) and value.id == slot
            ):
                self.local[slot] = ast.Name(slot, ast.Load())
        elif isinstance(target, ast.Subscript):
            key = self.rewrite(target.slice)
            if (
                self.kwargs
                and isinstance(target.value, ast.Name)
                and target.value.id == self.kwargs
            ):
                if not isinstance(key, ast.Constant):
                    raise UnclearError(ast.unparse(target))
                self.record.step(str(key.value), value, guard)
                return
            held = self.rewrite(target.value)
            self._assign(target.value, _changed(held, key, value), guard)
        elif isinstance(target, ast.Attribute) and self_attribute(target.value):
            outer = ast.unparse(self.rewrite(target.value))
            self.record.steps.append(
                (f"{outer}.{target.attr}", ast.unparse(ast.fix_missing_locations(value)), guard)
            )
        else:
            raise UnclearError(ast.unparse(target))

    def _expression(self, node: ast.expr, guard: str | None) -> None:
        text = ast.unparse(node)
        if _HARMLESS.match(text) or isinstance(node, ast.Constant):
            return
        if not isinstance(node, ast.Call):
            raise UnclearError(text)
        if re.match(r"(super\(\)|PreTrainedConfig)\.__(post_)?init__\(", text):
            given = {}
            for keyword in node.keywords:
                if keyword.arg is not None:
                    given[keyword.arg] = self.rewrite(keyword.value)
                elif ast.unparse(keyword.value) != self.kwargs:
                    raise UnclearError(text)
            self.record.enter(self.level + 1, given, guard)
            return
        func = node.func
        if (
            isinstance(func, ast.Attribute)
            and self.kwargs
            and ast.unparse(func.value) == self.kwargs
        ):
            key = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else 0
            if func.attr == "pop" and isinstance(key, str):
                self.record.dropped.add(key)
                return
            if func.attr == "setdefault" and isinstance(key, str):
                default = self.rewrite(node.args[1])
                get = ast.parse(f"{GIVEN}.get({key!r})", mode="eval").body
                assert isinstance(get, ast.Call)
                get.args.append(default)
                self.record.step(key, get, guard)
                return
        if isinstance(func, ast.Attribute) and func.attr in ("update", "setdefault"):
            held = self.rewrite(func.value)
            args = [self.rewrite(a) for a in node.args]
            if func.attr == "update" and len(args) == 1:
                self._assign(func.value, ast.Dict([None, None], [held, args[0]]), guard)
                return
            if func.attr == "setdefault" and len(args) == 2:
                self._assign(func.value, ast.Dict([args[0], None], [args[1], held]), guard)
                return
        raise UnclearError(text)

    def _unclear(self, nodes: list[ast.stmt]) -> None:
        """Note what statements write that cannot be followed."""
        for outer in nodes:
            for node in ast.walk(outer):
                if isinstance(node, ast.Attribute) and self_attribute(node):
                    if isinstance(node.ctx, ast.Store):
                        self.record.give_up(node.attr)
                elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                    self.local[node.id] = ast.Name("unclear", ast.Load())
                elif isinstance(node, ast.Call) and "super().__" in ast.unparse(node.func):
                    self.record.enter(self.level + 1, {}, None)
                elif (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and node.func.attr in CHANGING
                ):
                    held = node.func.value
                    while isinstance(held, ast.Subscript):
                        held = held.value
                    if self_attribute(held):
                        assert isinstance(held, ast.Attribute)
                        self.record.give_up(held.attr)
                    elif isinstance(held, ast.Name):
                        self.local[held.id] = ast.Name("unclear", ast.Load())


def _changed(held: ast.expr, key: ast.expr, value: ast.expr) -> ast.expr:
    """A dict or list with one entry changed."""
    try:
        position = ast.literal_eval(key)
    except ValueError:
        position = None
    if not isinstance(position, int):
        return ast.Dict([None, key], [held, value])
    text = ast.unparse(held)
    before = ast.parse(f"{text}[:{position}]", mode="eval").body
    after = ast.parse(f"{text}[{position + 1}:]", mode="eval").body
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
    for inner in ast.walk(node):
        if isinstance(inner, (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Delete, ast.For)):
            return True
        if isinstance(inner, ast.Expr) and not (
            _HARMLESS.match(ast.unparse(inner)) or isinstance(inner.value, ast.Constant)
        ):
            return True
    return False
