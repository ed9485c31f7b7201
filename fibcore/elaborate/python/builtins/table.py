"""The table of Python's builtins."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.values import Args, Kwargs, Native, Raised

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator
    from fibcore.model.tree import SourcePlace

BUILTINS: dict[str, Any] = {}
_ARITY = {
    **dict.fromkeys(("abs", "all", "any", "ascii", "bin", "callable", "chr", "hash"), (1, 1)),
    **dict.fromkeys(("hex", "id", "len", "oct", "ord", "repr", "reversed"), (1, 1)),
    **dict.fromkeys(("bool", "dict", "frozenset", "list", "set", "tuple", "vars"), (0, 1)),
    **dict.fromkeys(("divmod", "filter", "hasattr", "isinstance", "issubclass"), (2, 2)),
    **dict.fromkeys(("enumerate", "format", "iter", "next", "round", "sum"), (1, 2)),
    **dict.fromkeys(("range", "slice", "type"), (1, 3)),
    "delattr": (2, 2),
    "float": (0, 1),
    "getattr": (2, 3),
    "int": (0, 2),
    "pow": (2, 3),
    "setattr": (3, 3),
    "sorted": (1, 1),
    "super": (0, 2),
    **dict.fromkeys(("map",), (2, 1 << 30)),
    **dict.fromkeys(("max", "min"), (1, 1 << 30)),
}
"""The positional arguments that builtins take, fewest and most; those of others are not counted."""


def builtin(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter a function for a builtin."""

    def register(fn: Callable[..., Any]) -> Callable[..., Any]:
        enter(name, fn)
        return fn

    return register


def enter(name: str, fn: Callable[..., Any]) -> None:
    """Enter a function for a builtin, to be called with as many arguments as Python takes."""
    least, most = _ARITY.get(name, (0, 1 << 30))

    def called(ev: Evaluator, args: Args, kwargs: Kwargs, place: SourcePlace) -> Any:
        # Some of the first can be given by name, too.
        if len(args) > most or len(args) + len(kwargs) < least:
            raise Raised("TypeError", f"{name}() with {len(args)} arguments", place)
        return fn(ev, args, kwargs, place)

    BUILTINS[name] = Native(name, called)
