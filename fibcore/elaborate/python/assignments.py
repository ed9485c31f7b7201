"""Assignments to names, attributes, items and patterns of those."""

from __future__ import annotations

import ast
import itertools
from typing import Any

from fibcore.elaborate.python import plain
from fibcore.elaborate.python.journal import Status
from fibcore.elaborate.python.part import Handlers, Part
from fibcore.elaborate.python.plain_types import is_plain
from fibcore.elaborate.python.values import (
    ABSENT,
    OTHER_KEYS,
    Env,
    Obj,
    Raised,
    Value,
    born,
    certain_length,
    deep_unknown,
    hashable,
    is_open,
)
from fibcore.elaborate.python.values.dicts import ClassNames
from fibcore.elaborate.python.values.iterators import Undecided
from fibcore.elaborate.python.values.open_ended import may_be_absent
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
        """`target += value`; what the target consists of is evaluated once."""
        target, place = node.target, env.module.place(node)
        eval_ = self.ev.expressions.eval

        def changed(current: Any) -> Any:
            return self.ev.operators.in_place(type(node.op), current, eval_(node.value, env), place)

        if isinstance(target, ast.Name):
            current = self.ev.names.lookup(target.id, env, target)
            self.ev.names.bind(env, target.id, changed(current))
        elif isinstance(target, ast.Attribute):
            owner = eval_(target.value, env)
            current = self.ev.attributes.get(owner, target.attr, place)
            self.ev.attributes.set(owner, target.attr, changed(current), place)
        else:
            owner, key = eval_(target.value, env), eval_(target.slice, env)
            current = self.ev.operators.subscript(owner, key, place)
            self.set_item(owner, key, changed(current), place)
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
        elif isinstance(owner, Unknown):
            self.ev.exceptions.may_raise(place, "TypeError", "IndexError")
        elif isinstance(owner, Alternatives) or isinstance(key, Alternatives):
            each = self.ev.writes.mapped
            each(owner, lambda o: each(key, lambda k: self.set_item(o, k, value, place)))
        elif isinstance(owner, (dict, list)) and _is_unknown_key(key):
            why = Unknown("something stored at an unknown place", place)
            self.ev.exceptions.may_raise(place, "TypeError", "IndexError")
            if isinstance(owner, dict):
                self.ev.doubts.store(owner, value, why)
            else:
                self.ev.doubts.store_in_list(owner, key, value, why)
        elif isinstance(owner, dict):
            refuse_class_names(owner, place)
            self.ev.layers.pin(key)
            key = self.ev.special_methods.key(owner, key, place)
            if isinstance(key, Unknown):
                return
            self.ev.doubts.order(owner, key, place)
            try:
                self.ev.writes.put(owner, key, value)
            except TypeError as error:
                raise Raised("TypeError", str(error), place) from None
        elif isinstance(owner, list):
            self._set_in_list(owner, key, value, place)
        elif isinstance(owner, plain.PLAIN) and not isinstance(owner, list):
            name = plain.kind_name(owner)
            raise Raised("TypeError", f"{name!r} object does not support item assignment", place)

    def _set_in_list(self, owner: list[Any], key: Any, value: Any, place: SourcePlace) -> None:
        if isinstance(key, slice):
            items = None if isinstance(value, Unknown) else self.ev.operators.items(value)
            if items is None or not is_plain(key):
                why = Unknown("a list of which an unknown slice was replaced", place)
                self.ev.exceptions.may_raise(place, "TypeError", "ValueError")
                self.ev.doubts.lose(owner, why)
                return
            value = items
        if not self._is_certain_place(owner, key):
            why = Unknown("a list of unknown length that was changed", place)
            self.ev.doubts.lose(owner, why)
            return
        self.ev.writes.changing(owner)
        for part in (key.start, key.stop, key.step) if isinstance(key, slice) else (key,):
            self.ev.layers.pin(part)
        try:
            owner[key] = value
        except (IndexError, TypeError, ValueError) as error:
            if isinstance(error, TypeError) and not is_plain(key):
                why = Unknown(
                    f"a list that was changed at a place that is an object: {error}", place
                )
                self.ev.doubts.lose(owner, why)
                return
            raise Raised(type(error).__name__, str(error), place) from None

    def _is_certain_place(self, owner: list[Any], key: Any) -> bool:
        """Whether a position of a list is known to be there."""
        return not is_open(owner) or (isinstance(key, int) and 0 <= key < certain_length(owner))

    def _unpack(self, target: ast.Tuple | ast.List, value: Any, env: Env) -> None:
        """`a, b = value`."""
        place = env.module.place(target)
        count = len(target.elts)
        if isinstance(value, Alternatives):
            # One that cannot be unpacked raises, and is none of them then.
            self.ev.writes.mapped(value, lambda v: self._unpack(target, v, env))
            return
        items = None if isinstance(value, Unknown) else self._items(target.elts, value, place)
        if items is None:
            self.ev.exceptions.may_raise(place, "TypeError", "ValueError")
            reason = value if isinstance(value, Unknown) else Unknown("unpacking", place)
            items = [reason] * count
        else:
            items = _gathered(target.elts, items, place)
        for element, item in zip(target.elts, items, strict=False):
            self.assign(element, item, env)

    def _items(self, elements: list[ast.expr], value: Any, place: SourcePlace) -> list[Any] | None:
        """The items to unpack; of an iterator no more than Python takes to see if they fit."""
        if not isinstance(value, Value) or any(isinstance(e, ast.Starred) for e in elements):
            return self.ev.operators.items(value)
        rounds = self.ev.iteration.rounds(value, place)
        try:
            return None if rounds is None else list(itertools.islice(rounds, len(elements) + 1))
        except Undecided:
            return None

    def delete(self, node: ast.Delete, env: Env) -> Status:
        for target in node.targets:
            self._delete(target, env)
        return None

    def _delete(self, target: ast.expr, env: Env) -> None:
        place = env.module.place(target)
        if isinstance(target, ast.Name):
            if not self.ev.names.unbind(env, target.id):
                kind = "NameError" if env.func is None else "UnboundLocalError"
                raise Raised(kind, f"name {target.id!r} is not defined", place)
        elif isinstance(target, ast.Attribute):
            self.ev.attributes.delete(
                self.ev.expressions.eval(target.value, env), target.attr, place
            )
        elif isinstance(target, ast.Subscript):
            owner = self.ev.expressions.eval(target.value, env)
            self.delete_item(owner, self.ev.expressions.eval(target.slice, env), place)
        elif isinstance(target, (ast.Tuple, ast.List)):
            for part in target.elts:
                self._delete(part, env)

    def delete_item(self, owner: Any, key: Any, place: SourcePlace) -> None:
        """`del owner[key]`."""
        if isinstance(owner, Unknown):
            self.ev.exceptions.may_raise(place, "KeyError", "IndexError", "TypeError")
        elif isinstance(owner, Obj):
            found = owner.special(self.ev, "__delitem__", [key], place)
            if found is ABSENT:
                owner.refuse_item(self.ev, "__delitem__", "__setitem__", place)
        elif isinstance(owner, Alternatives) or isinstance(key, Alternatives):
            each = self.ev.writes.mapped
            each(owner, lambda o: each(key, lambda k: self.delete_item(o, k, place)))
        elif isinstance(owner, (dict, list)) and _is_unknown_key(key):
            why = Unknown("something deleted at an unknown place", place)
            self.ev.exceptions.may_raise(place, "KeyError", "IndexError", "TypeError")
            if isinstance(owner, dict):
                self.ev.doubts.drop(owner, why)
            elif isinstance(key, slice):
                self.ev.doubts.lose(owner, why)
            else:
                self.ev.doubts.drop_from_list(owner, why)
        elif isinstance(owner, dict):
            refuse_class_names(owner, place)
            if not hashable(key):
                raise Raised("TypeError", "an unhashable key", place)
            self.ev.layers.pin(key)
            key = self.ev.special_methods.key(owner, key, place)
            if isinstance(key, Unknown):
                self.ev.doubts.drop(owner, key)
                return
            if may_be_absent(owner.get(key, ABSENT)) or (key not in owner and OTHER_KEYS in owner):
                self.ev.exceptions.may_raise(place, "KeyError")
            if key not in owner and OTHER_KEYS in owner:
                return
            if key not in owner:
                raise Raised("KeyError", repr(key), place, given=(key,))
            self.ev.writes.put(owner, key, ABSENT)
        elif isinstance(owner, list):
            if is_open(owner):
                self.ev.doubts.lose(owner, Unknown("a list of unknown length", place))
                return
            self.ev.layers.pin(key)
            self.ev.writes.changing(owner)
            try:
                del owner[key]
            except (IndexError, TypeError, ValueError) as error:
                raise Raised(type(error).__name__, str(error), place) from None
        elif isinstance(owner, plain.PLAIN):
            name = plain.kind_name(owner)
            raise Raised("TypeError", f"{name!r} object doesn't support item deletion", place)


def refuse_class_names(owner: Any, place: SourcePlace) -> None:
    """Raise for a write to what `cls.__dict__` gives, through which nothing can be written."""
    if type(owner) is ClassNames:
        raise Raised("TypeError", "a mappingproxy does not support item assignment", place)


def _is_unknown_key(key: Any) -> bool:
    parts = [key.start, key.stop, key.step] if isinstance(key, slice) else key
    return deep_unknown(parts) is not None


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
