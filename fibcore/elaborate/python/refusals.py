"""What functions of Python raise of arguments that are not known.

Inside of a `try` whose handlers would catch it, both ways are followed.
"""

from __future__ import annotations

from typing import Any

from fibcore.elaborate.python.part import Part
from fibcore.elaborate.python.values import Args, Kwargs, deep_unknown
from fibcore.model.tree import Alternatives, SourcePlace, Unknown

_NONE: tuple[str, ...] = ()
_USUAL = ("TypeError", "ValueError")
_KINDS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("print", "str", "repr", "ascii", "type", "id", "bool", "append"), _NONE),
    **dict.fromkeys(("callable", "partial", "dataclass", "locals"), _NONE),
    **dict.fromkeys(("add", "get", "setdefault", "hash", "len", "iter", "sum"), ("TypeError",)),
    **dict.fromkeys(("list", "tuple", "any", "all", "extend", "sorted"), ("TypeError",)),
    **dict.fromkeys(("remove", "discard"), ("KeyError", "ValueError", "TypeError")),
    **dict.fromkeys(("pop", "__getitem__", "__delitem__", "__setitem__"),
                    ("IndexError", "KeyError", "TypeError")),
    **dict.fromkeys(("encode", "decode"), ("LookupError", *_USUAL)),
    **dict.fromkeys(("getattr", "setattr", "delattr", "__getattribute__"),
                    ("AttributeError", "TypeError")),
    **dict.fromkeys(("next", "send"), ("StopIteration", *_USUAL)),
    **dict.fromkeys(("int", "float", "round", "pow", "divmod", "chr"),
                    ("OverflowError", "ZeroDivisionError", *_USUAL)),
    "open": ("OSError", "FileNotFoundError", *_USUAL),
}  # fmt: skip
"""The exceptions of functions and methods, where they are not the usual ones."""
_SECOND = frozenset(("isinstance", "issubclass", "hasattr", "getattr", "setattr", "delattr"))
"""Functions that take anything for their first argument, or whose first one does not matter."""
_GO_THROUGH = frozenset((
    "sum", "max", "min", "sorted", "sort", "join", "dict", "set", "frozenset", "update", "fromkeys",
    "format", "bytes", "fsum", "prod", "OrderedDict", "defaultdict", "reduce", "chain",
    "from_iterable", "starmap", "itemgetter",
))  # fmt: skip
"""Functions that do something with the items of what they are given."""


class Refusals(Part):
    """Notes what calls of Python's own functions may raise."""

    def note(self, name: str, args: Args, kwargs: Kwargs, place: SourcePlace) -> None:
        """Note what a call of a function may raise of its arguments, before it does anything.

        Args:
            name: The name of the function; that of a method, with its type before it or not.
            args: Its positional arguments.
            kwargs: Its keyword arguments.
            place: Where it stands.
        """
        name = name.rpartition(".")[2]
        given = [*args[1:], *kwargs.values()] if name in _SECOND else [*args, *kwargs.values()]
        if name in _GO_THROUGH or name in _SECOND:
            doubtful = deep_unknown(given) is not None
        else:
            doubtful = any(isinstance(arg, (Unknown, Alternatives)) for arg in given)
        if doubtful:
            kinds = _KINDS.get(name, _USUAL)
            if name in ("str", "type") and len(given) > 1:
                kinds = ("LookupError", *_USUAL)
            self.ev.exceptions.may_raise(place, *kinds)

    def note_unknown(self, args: Args, kwargs: Kwargs, found: Any, place: SourcePlace) -> None:
        """Note that a call may have raised whose arguments are known, and its result is not."""
        if isinstance(found, Unknown) and deep_unknown((args, kwargs)) is None:
            self.ev.exceptions.may_raise_anything(place)  # what is not followed may be refused
