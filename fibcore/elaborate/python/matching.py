"""`match` statements."""

from __future__ import annotations

import ast
from collections.abc import Callable
from functools import partial
from typing import Any

from fibcore.elaborate.python.journal import Status
from fibcore.elaborate.python.part import Handlers, Part
from fibcore.elaborate.python.values import (
    ABSENT,
    Class,
    Env,
    Ext,
    Func,
    Native,
    Obj,
    Raised,
    Value,
    born,
)
from fibcore.elaborate.python.values.exceptions import EXCEPTIONS
from fibcore.elaborate.python.values.iterators import Iterator
from fibcore.model.tree import Alternatives, SourcePlace, Unknown
from fibcore.syntax import walk

_SELF_MATCHING = frozenset((
    "bool", "bytearray", "bytes", "dict", "float", "frozenset", "int", "list", "set", "str",
    "tuple",
))  # fmt: skip
"""Types whose one positional sub-pattern is matched against the whole subject."""

Captures = dict[str, Any]


class Matching(Part):
    """Matches patterns.

    A pattern matches, or does not, or that is not known (None). Names are bound once the whole of
    it has matched.
    """

    def handlers(self) -> Handlers:
        return {
            ast.Match: self.match,
        }

    def match(self, node: ast.Match, env: Env) -> Status:
        case = self.chosen(node, env)
        if isinstance(case, Unknown):
            return self._match_all(node, env)
        return None if case is None else self.ev.statements.block(case.body, env)

    def chosen(self, node: ast.Match, env: Env) -> ast.match_case | Unknown | None:
        """The case that is taken, with its names bound; or why that is not known."""
        subject = self.ev.expressions.eval(node.subject, env)
        unknown = Unknown("an undecided match", env.module.place(node))
        for case in node.cases:
            captures: Captures = {}
            hit = self._matches(case.pattern, subject, captures, env)
            if hit is None:
                return unknown
            if not hit:
                continue
            for name, value in captures.items():
                self.ev.names.bind(env, name, value)
            if case.guard is not None:
                hit = self.ev.operators.truth(self.ev.expressions.eval(case.guard, env))
                if hit is None:
                    return unknown
            if hit:
                return case
        return None

    def _match_all(self, node: ast.Match, env: Env) -> Status:
        sides: list[Callable[[], Status]] = [
            partial(self._side, case, node.subject, env) for case in node.cases
        ]
        last = node.cases[-1]
        if last.guard is not None or not isinstance(last.pattern, ast.MatchAs):
            sides.append(lambda: None)  # perhaps none of them matches
        return self.ev.writes.either(
            sides, env, Unknown("an undecided match", env.module.place(node))
        )

    def _side(self, case: ast.match_case, subject: ast.expr, env: Env) -> Status:
        """A case that may be taken: what its pattern captures is not known."""
        for part in walk(case.pattern):
            name = getattr(part, "rest" if isinstance(part, ast.MatchMapping) else "name", None)
            if isinstance(part, (ast.MatchAs, ast.MatchStar, ast.MatchMapping)) and name:
                captured = Unknown("what an undecided pattern captures", env.module.place(subject))
                self.ev.names.bind(env, name, captured)
        return self.ev.statements.block(case.body, env)

    # -- patterns ------------------------------------------------------------------------------

    def _matches(
        self, pattern: ast.pattern, subject: Any, captures: Captures, env: Env
    ) -> bool | None:
        if isinstance(pattern, ast.MatchAs):
            if pattern.pattern is not None:
                hit = self._matches(pattern.pattern, subject, captures, env)
                if not hit:
                    return hit
            if pattern.name:
                captures[pattern.name] = subject
            return True
        if isinstance(pattern, ast.MatchOr):
            return self._any(pattern, subject, captures, env)
        if isinstance(subject, Unknown):
            return None
        if isinstance(pattern, ast.MatchSingleton):
            return self.ev.operators.truth(
                self.ev.comparisons.compare(
                    ast.Is(), subject, pattern.value, env.module.place(pattern)
                )
            )
        if isinstance(pattern, ast.MatchValue):
            equal = self.ev.comparisons.compare(
                ast.Eq(),
                subject,
                self.ev.expressions.eval(pattern.value, env),
                env.module.place(pattern),
            )
            return self.ev.operators.truth(equal)
        if isinstance(subject, Alternatives):
            return None
        if isinstance(pattern, ast.MatchSequence):
            return self._sequence(pattern, subject, captures, env)
        if isinstance(pattern, ast.MatchMapping):
            return self._mapping(pattern, subject, captures, env)
        if isinstance(pattern, ast.MatchClass):
            return self._class(pattern, subject, captures, env)
        return None

    def _any(self, pattern: ast.MatchOr, subject: Any, captures: Captures, env: Env) -> bool | None:
        for part in pattern.patterns:
            found: Captures = {}
            hit = self._matches(part, subject, found, env)
            if hit is None:
                return None
            if hit:
                captures.update(found)
                return True
        return False

    def _all(
        self, pairs: list[tuple[ast.pattern, Any]], captures: Captures, env: Env
    ) -> bool | None:
        for pattern, value in pairs:
            hit = self._matches(pattern, value, captures, env)
            if not hit:
                return hit
        return True

    def _sequence(
        self, pattern: ast.MatchSequence, subject: Any, captures: Captures, env: Env
    ) -> bool | None:
        if isinstance(subject, Value):
            return False if _is_no_container(subject) else None
        if not isinstance(subject, (list, tuple, range)):
            return False
        items, parts = list(subject), pattern.patterns
        star = next((n for n, p in enumerate(parts) if isinstance(p, ast.MatchStar)), None)
        if star is None:
            if len(items) != len(parts):
                return False
            return self._all(list(zip(parts, items, strict=True)), captures, env)
        after = len(parts) - star - 1
        if len(items) < len(parts) - 1:
            return False
        end = len(items) - after
        pairs = [*zip(parts[:star], items), *zip(parts[star + 1 :], items[end:])]  # noqa: B905
        starred = parts[star]
        assert isinstance(starred, ast.MatchStar)
        if starred.name:
            captures[starred.name] = born(items[star:end])
        return self._all(pairs, captures, env)

    def _mapping(
        self, pattern: ast.MatchMapping, subject: Any, captures: Captures, env: Env
    ) -> bool | None:
        if isinstance(subject, Value):
            return False if _is_no_container(subject) else None
        if not isinstance(subject, dict):
            return False
        left = born(dict(subject))
        pairs: list[tuple[ast.pattern, Any]] = []
        for key_node, part in zip(pattern.keys, pattern.patterns, strict=True):
            key = self.ev.expressions.eval(key_node, env)
            if isinstance(key, (Unknown, Alternatives)):
                return None
            self.ev.layers.pin(key)
            value = left.pop(key, ABSENT)
            if value is ABSENT:
                return False
            if isinstance(value, Alternatives) and ABSENT in value.values:
                return None
            pairs.append((part, value))
        hit = self._all(pairs, captures, env)
        if hit and pattern.rest:
            captures[pattern.rest] = left
        return hit

    def _class(
        self, pattern: ast.MatchClass, subject: Any, captures: Captures, env: Env
    ) -> bool | None:
        cls = self.ev.expressions.eval(pattern.cls, env)
        if not isinstance(cls, (Class, Ext, Native)):
            return None
        of_class = cls.has_instance(subject)
        if not of_class:
            return of_class
        place = env.module.place(pattern)
        pairs: list[tuple[ast.pattern, Any]] = []
        names = list(pattern.kwd_attrs)
        if pattern.patterns:
            if (
                isinstance(cls, Native)
                and cls.name in _SELF_MATCHING
                and len(pattern.patterns) == 1
            ):
                pairs.append((pattern.patterns[0], subject))
            else:
                own = self._match_args(cls, place)
                if own is None:
                    return None
                if len(own) < len(pattern.patterns):
                    message = f"{cls.dotted_name}() accepts {len(own)} positional sub-patterns"
                    raise Raised("TypeError", message, place)
                names = [*own[: len(pattern.patterns)], *names]
        patterns = [*([] if pairs else pattern.patterns), *pattern.kwd_patterns]
        for name, part in zip(names, patterns, strict=True):
            value = self._attribute(subject, name, place)
            if value is ABSENT:
                return False
            if isinstance(value, Alternatives) and ABSENT in value.values:
                return None
            pairs.append((part, value))
        return self._all(pairs, captures, env)

    def _attribute(self, subject: Any, name: str, place: SourcePlace) -> Any:
        try:
            return self.ev.attributes.find(subject, name, place)
        except Raised as error:
            if error.kind != "AttributeError":
                raise
            return ABSENT

    def _match_args(self, cls: Any, place: SourcePlace) -> list[str] | None:
        """The names that positional sub-patterns stand for; None where not known."""
        if not isinstance(cls, Class):
            return [] if isinstance(cls, Native) else None
        found = self.ev.classes.attr(cls, "__match_args__")
        if isinstance(found, tuple) and all(isinstance(name, str) for name in found):
            return list(found)
        if found is not ABSENT:
            return None
        record = self.ev.records.of(cls)
        return [] if record is None else record.positional


def _is_no_container(subject: Value) -> bool:
    """Whether an object is certainly neither a sequence nor a mapping for `match`."""
    if isinstance(subject, (Iterator, Func, Class)):
        return True
    if not isinstance(subject, Obj) or not isinstance(subject.cls, Class):
        return False
    bases = (base for base in subject.cls.mro if isinstance(base, Ext))
    return all(base.name == "object" or base.name in EXCEPTIONS for base in bases)
