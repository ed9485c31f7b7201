"""Variables of the environment before a launch line, as a release takes them.

A variable whose name is SGLang's own has to be one that its source knows; `environ.py` turns names
of before into those of now when it is imported.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.values import Env, Raised
from fibcore.elaborate.sglang.launch.words import WHERE
from fibcore.errors import UsageError, nearest

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.elaborate.sglang.environment import Environment

_MODULE = "srt.environ"
_OWN = re.compile(r"(?:SGLANG|SGL)_[A-Za-z0-9_]+")


def process_variables(
    ev: Evaluator, environment: Environment, given: Mapping[str, str], release: str
) -> dict[str, Any]:
    """The variables of the server's process, by the names that the release reads.

    Args:
        ev: An evaluator of the release's source.
        environment: Its environment, which is given the variables.
        given: The variables before the launch line.
        release: What the release is called.

    Raises:
        UsageError: a variable has a name of SGLang's that the source does not know; the nearest
            names are given.
    """
    for name in given:
        if _OWN.fullmatch(name) and not _is_known(ev, name):
            raise UsageError(
                f"{release} reads no such variable of the environment",
                where=f"{WHERE} {name}",
                expected=", ".join(nearest(name, sorted(_names(ev)))),
                found=repr(name),
                hint="variables differ between releases; --sglang names another one",
            )
    environment.give_variables(given)
    _rename(ev)
    return environment.variables.values


def _is_known(ev: Evaluator, name: str) -> bool:
    """Whether a release knows a name, or the one that it makes of an old prefix."""
    renamed = name.replace("SGL_", "SGLANG_", 1) if name.startswith("SGL_") else name
    module = ev.index.module(f"{ev.index.package}.{_MODULE}")
    text = "" if module is None else module.text
    pattern = re.compile(rf"\b(?:{re.escape(name)}|{re.escape(renamed)})\b")
    return bool(pattern.search(text)) or bool({name, renamed} & _names(ev))


def _names(ev: Evaluator) -> frozenset[str]:
    """Every name of a variable of SGLang's in a source tree; read where one is to be looked up."""
    found: set[str] = set()
    for path in ev.index.root.rglob("*.py"):
        found.update(_OWN.findall(path.read_text(encoding="utf-8", errors="replace")))
    return frozenset(found)


def _rename(ev: Evaluator) -> None:
    """Run what `environ.py` calls of its own functions when it is imported."""
    space = ev.modules.space(f"{ev.index.package}.{_MODULE}")
    if space is None:
        return
    env = Env(space, space.env)
    for statement in _calls(space.source.whole):
        try:
            ev.statements.block([statement], env)
        except Raised:  # a variable of the old name stays as it is  # noqa: PERF203
            continue


def _calls(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in body:
        call = statement.value if isinstance(statement, ast.Expr) else None
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
            yield statement
