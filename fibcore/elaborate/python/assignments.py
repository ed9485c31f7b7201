"""Assignments to names, attributes, items and patterns of those."""

from __future__ import annotations

import ast
from typing import Any

from fibcore.elaborate.python.journal import Status
from fibcore.elaborate.python.part import Handlers, Part
from fibcore.elaborate.python.values import ABSENT, Env, Obj, Raised, Value, born, hashable, merge
from fibcore.model.tree import Alternatives, SourcePlace, Unknown


class Assignments(Part):
    """Assigns and deletes."""

    def handlers(self) -> Handlers:
        return {
            ast.Assign: self.assignment,
            ast.AnnAssign: self.annassign,
            ast.AugAssign: self.augassign,
            ast.Delete: self.delete,
        }

    def assignment(self, node: ast.Assign, env: Env) -> Status:
        value = self.ev.expressions.eval(node.value, env)
        for target in node.targets:
            self.assign(target, value, env)
        return None

    def annassign(self, node: ast.AnnAssign, env: Env) -> Status:
        if node.value is not None:
            self.assign(node.target, self.ev.expressions.eval(node.value, env), env)
        return None

    def augassign(self, node: ast.AugAssign, env: Env) -> Status:
        target = node.target
        current = self.ev.expressions.eval(_loading(target), env)
        value = self.ev.expressions.eval(node.value, env)
        if isinstance(current, list) and isinstance(node.op, ast.Add):
            # In place: other names of the list see it too.
            items = self.ev.operators.items(value)
            if items is None:
                items = [Unknown("unknown items", env.module.place(node))]
            self.ev.writes.changing(current)
            current.extend(items)
            return None
        self.assign(target, self.ev.operators.binary(type(node.op), current, value, node, env), env)
        return None

    def assign(self, target: ast.expr, value: Any, env: Env) -> None:
        """Assign to a name, attribute, item or a pattern of those."""
        if isinstance(target, ast.Name):
            self.ev.names.bind(env, target.id, value)
        elif isinstance(target, ast.Attribute):
            owner = self.ev.expressions.eval(target.value, env)
            self.ev.attributes.set(owner, target.attr, value, env.module.place(target))
        elif isinstance(target, ast.Subscript):
            owner = self.ev.expressions.eval(target.value, env)
            key = self.ev.expressions.eval(target.slice, env)
            self.set_item(owner, key, value, env.module.place(target))
        elif isinstance(target, (ast.Tuple, ast.List)):
            self._unpack(target, value, env)
        elif isinstance(target, ast.Starred):
            self.assign(target.value, value, env)

    def set_item(self, owner: Any, key: Any, value: Any, place: SourcePlace) -> None:
        """`owner[key] = value`."""
        if isinstance(owner, Value):
            owner.set_item(self.ev, key, value, place)
        elif isinstance(owner, dict):
            if isinstance(key, (Unknown, Alternatives)):
                return  # a limit: which of its entries it is cannot be said of a dict
            self.ev.layers.pin(key)
            try:
                self.ev.writes.put(owner, key, value)
            except TypeError as error:
                raise Raised("TypeError", str(error), place) from None
        elif isinstance(owner, list) and isinstance(key, (int, slice)):
            self.ev.writes.changing(owner)
            for part in (key.start, key.stop, key.step) if isinstance(key, slice) else (key,):
                self.ev.layers.pin(part)
            try:
                owner[key] = value
            except (IndexError, TypeError, ValueError) as error:
                raise Raised(type(error).__name__, str(error), place) from None

    def _unpack(self, target: ast.Tuple | ast.List, value: Any, env: Env) -> None:
        """`a, b = value`; of several sequences, each name gets one of their items."""
        place = env.module.place(target)
        count = len(target.elts)
        if isinstance(value, Alternatives):
            rows = [self._row(v, count) for v in value.values if v is not ABSENT]
            columns = zip(*rows, strict=False)
            for element, column in zip(target.elts, columns, strict=False):
                self.assign(element, merge(column), env)
            return
        items = None if isinstance(value, Unknown) else self.ev.operators.items(value)
        if items is None:
            reason = value if isinstance(value, Unknown) else Unknown("unpacking", place)
            items = [reason] * count
        else:
            items = _gathered(target.elts, items, place)
        for element, item in zip(target.elts, items, strict=False):
            self.assign(element, item, env)

    def _row(self, value: Any, count: int) -> list[Any]:
        items = None if isinstance(value, Unknown) else self.ev.operators.items(value)
        if items is None or len(items) != count:
            return [value if isinstance(value, Unknown) else Unknown("unpacking")] * count
        return items

    def delete(self, node: ast.Delete, env: Env) -> Status:
        for target in node.targets:
            if isinstance(target, ast.Name):
                self.ev.writes.put(env.vars, target.id, ABSENT)
            elif isinstance(target, ast.Attribute):
                owner = self.ev.expressions.eval(target.value, env)
                if isinstance(owner, Obj):
                    self.ev.writes.put(owner.attrs, target.attr, ABSENT)
            elif isinstance(target, ast.Subscript):
                container = self.ev.expressions.eval(target.value, env)
                key = self.ev.expressions.eval(target.slice, env)
                known = not isinstance(key, (Unknown, Alternatives)) and hashable(key)
                if isinstance(container, dict) and known:
                    self.ev.writes.put(container, key, ABSENT)
                elif isinstance(container, list) and isinstance(key, (int, slice)):
                    self.ev.writes.changing(container)
                    self.ev.layers.pin(key)
                    del container[key]
        return None


def _gathered(elements: list[ast.expr], items: list[Any], place: SourcePlace) -> list[Any]:
    """One item for each element of a pattern; a starred one gets the list of what is left."""
    count = len(elements)
    star = next((i for i, e in enumerate(elements) if isinstance(e, ast.Starred)), None)
    if star is None:
        if len(items) != count:
            raise Raised("ValueError", f"expected {count} values, got {len(items)}", place)
        return items
    after = count - star - 1
    if len(items) < count - 1:
        raise Raised("ValueError", f"expected at least {count - 1} values", place)
    middle = born(items[star : len(items) - after])
    return [*items[:star], middle, *items[len(items) - after :]]


def _loading(node: ast.expr) -> ast.expr:
    """The same target as an expression that is read."""
    if isinstance(node, ast.Name):
        new: ast.expr = ast.Name(id=node.id, ctx=ast.Load())
    elif isinstance(node, ast.Attribute):
        new = ast.Attribute(value=node.value, attr=node.attr, ctx=ast.Load())
    elif isinstance(node, ast.Subscript):
        new = ast.Subscript(value=node.value, slice=node.slice, ctx=ast.Load())
    else:
        new = node
    return ast.copy_location(new, node)
