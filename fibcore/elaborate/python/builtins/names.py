"""Builtins that are names alone, and those that nothing is known of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.builtins.table import BUILTINS, builtin
from fibcore.elaborate.python.values import Args, Ext, Kwargs, Native
from fibcore.elaborate.python.values.exceptions import EXCEPTIONS
from fibcore.model.tree import SourcePlace, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator


@builtin("print")
def _print(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
    return None


def _unknowable(name: str) -> None:
    BUILTINS[name] = Native(name, lambda ev, args, kwargs, place: Unknown(name, place))


for _name in (
    "open",
    "input",
    "eval",
    "exec",
    "compile",
    "__import__",
    "globals",
    "locals",
    "dir",
    "memoryview",
    "bytearray",
    "aiter",
    "anext",
    "breakpoint",
    "exit",
    "quit",
    "help",
):
    _unknowable(_name)


for _name in ("object", *EXCEPTIONS):
    BUILTINS[_name] = Ext(_name)


BUILTINS["NotImplemented"] = Ext("NotImplemented")


BUILTINS["Ellipsis"] = Ellipsis


BUILTINS["__debug__"] = True
