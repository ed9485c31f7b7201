"""`match` statements."""

from __future__ import annotations

import ast
from collections.abc import Callable
from functools import partial
from typing import Any

from fibcore.elaborate.python.journal import Status
from fibcore.elaborate.python.part import Handlers, Part
from fibcore.elaborate.python.values import Env
from fibcore.model.tree import Unknown


class Matching(Part):
    """Matches patterns."""

    def handlers(self) -> Handlers:
        return {
            ast.Match: self.match,
        }

    def match(self, node: ast.Match, env: Env) -> Status:
        subject = self.ev.expressions.eval(node.subject, env)
        for case in node.cases:
            hit = self._matches(case.pattern, subject, env)
            if hit is None:
                return self._match_all(node, env)
            if hit and case.guard is not None:
                hit = self.ev.operators.truth(self.ev.expressions.eval(case.guard, env))
                if hit is None:
                    return self._match_all(node, env)
            if hit:
                return self.ev.statements.block(case.body, env)
        return None

    def _match_all(self, node: ast.Match, env: Env) -> Status:
        sides: list[Callable[[], Status]] = [
            partial(self.ev.statements.block, c.body, env) for c in node.cases
        ]
        last = node.cases[-1]
        if last.guard is not None or not isinstance(last.pattern, ast.MatchAs):
            sides.append(lambda: None)  # perhaps none of them matches
        return self.ev.writes.either(
            sides, env, Unknown("an undecided match", env.module.place(node))
        )

    def _matches(self, pattern: ast.pattern, subject: Any, env: Env) -> bool | None:
        if isinstance(pattern, ast.MatchAs):
            if pattern.pattern is not None:
                hit = self._matches(pattern.pattern, subject, env)
                if not hit:
                    return hit
            if pattern.name:
                self.ev.names.bind(env, pattern.name, subject)
            return True
        if isinstance(pattern, ast.MatchOr):
            hits = [self._matches(p, subject, env) for p in pattern.patterns]
            return True if True in hits else None if None in hits else False
        if isinstance(pattern, ast.MatchSingleton):
            return None if isinstance(subject, Unknown) else subject is pattern.value
        if isinstance(pattern, ast.MatchValue):
            equal = self.ev.comparisons.compare(
                ast.Eq(),
                subject,
                self.ev.expressions.eval(pattern.value, env),
                env.module.place(pattern),
            )
            return self.ev.operators.truth(equal)
        return None
