"""Comprehensions, which build the layers of most models."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

from fibcore.elaborate.python.part import Handlers, Part
from fibcore.elaborate.python.values import Env, born
from fibcore.model.tree import Alternatives, Unknown

REPEATS_FROM = 2
"""A comprehension of at least this many elements looks for layers that repeat."""


class Comprehensions(Part):
    """Evaluates comprehensions and generator expressions."""

    def handlers(self) -> Handlers:
        return {
            ast.ListComp: self.listcomp,
            ast.GeneratorExp: self.listcomp,
            ast.SetComp: self.listcomp,
            ast.DictComp: self.dictcomp,
        }

    def listcomp(self, node: ast.ListComp | ast.GeneratorExp | ast.SetComp, env: Env) -> Any:
        result: list[Any] = born([])
        done = self._comprehend(node.generators, 0, env, lambda e: node.elt, result)
        if isinstance(done, Unknown):
            return done
        if isinstance(node, ast.SetComp):
            return self.ev.operators.make_set(result, env.module.place(node))
        return result

    def dictcomp(self, node: ast.DictComp, env: Env) -> Any:
        pairs: list[Any] = []
        both = ast.Tuple(elts=[node.key, node.value], ctx=ast.Load())
        ast.copy_location(both, node)
        done = self._comprehend(node.generators, 0, env, lambda e: both, pairs)
        if isinstance(done, Unknown):
            return done
        if any(isinstance(k, (Unknown, Alternatives)) for k, _ in pairs):
            return Unknown("a dict with an unknown key", env.module.place(node))
        for key, _ in pairs:
            self.ev.layers.pin(key)
        return born(dict(pairs))

    def _comprehend(
        self,
        generators: list[ast.comprehension],
        level: int,
        env: Env,
        element: Callable[[Env], ast.expr],
        result: list[Any],
    ) -> Unknown | None:
        generator = generators[level]
        iterable = self.ev.expressions.eval(generator.iter, env)
        items = self.ev.operators.items(iterable)
        if items is None:
            if isinstance(iterable, Unknown):
                return iterable
            return Unknown("iteration over something unknown", env.module.place(generator.iter))
        last = level == len(generators) - 1
        # Layers are made like this: `[Layer(i) for i in range(n)]`. A condition would have to be
        # asked of each index, so that nothing is gained.
        if last and not generator.ifs and len(items) >= REPEATS_FROM and _is_count(items):

            def one(item: Any) -> Any:
                scope = Env(env.module, env)
                self.ev.assignments.assign(generator.target, item, scope)
                return self.ev.expressions.eval(element(scope), scope)

            result.extend(self.ev.layers.repeated(items, one))
            return None
        for item in items:
            self.ev.budget.step()
            inner = Env(env.module, env)  # closures keep the variables of their own round
            self.ev.assignments.assign(generator.target, item, inner)
            keep: bool | None = True
            for condition in generator.ifs:
                keep = self.ev.operators.truth(self.ev.expressions.condition(condition, inner))
                if not keep:
                    break
            if keep is None:
                return Unknown(
                    "a comprehension with an unknown condition", env.module.place(generator.iter)
                )
            if not keep:
                continue
            if last:
                result.append(self.ev.expressions.eval(element(inner), inner))
            else:
                done = self._comprehend(generators, level + 1, inner, element, result)
                if done is not None:
                    return done
        return None


def _is_count(items: list[Any]) -> bool:
    return all(isinstance(i, int) and not isinstance(i, bool) for i in items)
