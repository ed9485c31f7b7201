"""Evaluating the expressions of summaries: over the attributes of the config that is being made."""

from __future__ import annotations

import ast
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.index import SourceModule
from fibcore.elaborate.python.values import Env, Ext, ModuleSpace, Raised
from fibcore.elaborate.transformers.summaries.summary import BASE_NAMES, GIVEN, OWN, ClassSummary
from fibcore.model.tree import Alternatives, Unknown, origins_of
from fibcore.syntax import parse_expression

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.elaborate.transformers.config_object import ConfigObject


def evaluate(evaluator: Evaluator, expression: str, names: Names, owner: str, version: str) -> Any:
    """The value of a summary's expression.

    Args:
        evaluator: Evaluates it as it does any source.
        expression: The expression.
        names: What its names hold.
        owner: The class that it is of, for reasons.
        version: The release of transformers, likewise.
    """
    try:
        node = _parsed(expression)
    except SyntaxError:  # pragma: no cover - a table that was made by hand
        return Unknown(f"{owner} in the table of transformers {version}")
    space = ModuleSpace(_NoFile(f"transformers {version} {owner}"))
    env = Env(space, space.env)
    env.vars = names
    try:
        found = evaluator.expressions.eval(node, env)
    except Raised as error:
        return Unknown(f"{owner} raised {error.kind}: {error.message}", error.place)
    if isinstance(found, Alternatives):
        return Unknown(f"{expression} of {owner}")
    return found


class Names(dict[str, Any]):
    """The variables of a summary's expressions, looked up when they are read.

    Attributes may change from step to step, so that a copy of them would be outdated.

    Args:
        evaluator: Gives what stands for names of transformers.
        classes: The names of all config classes.
        config: The config that is being made.
        summary: Its class.
        given: The keys of the file that the class does not take.

    Attributes:
        taken: The attributes that the file has keys for.
        temporaries: Values that later expressions read.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        classes: frozenset[str],
        config: ConfigObject,
        summary: ClassSummary,
        given: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self._ev = evaluator
        self._classes = classes
        self._config = config
        self._constants = summary.constants
        self._given = dict(given)
        self.taken = {
            name
            for name, value in config.values.items()
            if any(o.startswith("config:") for o in origins_of(value))
        }
        self.temporaries: dict[str, Any] = {}

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a name."""
        if key in self:  # bound by the expression itself
            return self[key]
        for place in (self.temporaries, self._config.values, self._constants):
            if key in place:
                return place[key]
        kept = self._config.key(key)
        if kept in self._config.values:  # a parameter that the class keeps under another name
            return self._config.values[kept]
        if key == GIVEN:
            return self._given
        if key == OWN:
            return {**self._constants, **self._config.values}
        if key == "CONFIG_MAPPING":
            return self._ev.libraries.value("transformers.CONFIG_MAPPING")
        if key in self._classes or key in ("AutoConfig", *BASE_NAMES):
            return Ext(f"transformers.{key}")
        if key == "math":
            return Ext("math")
        return default


class _NoFile(SourceModule):
    """The module that expressions stand in: no file of a tree."""

    text = ""

    def __init__(self, file: str) -> None:
        super().__init__("transformers", Path(), file, False)


@functools.lru_cache(maxsize=4096)
def _parsed(expression: str) -> ast.expr:
    return parse_expression(expression)
