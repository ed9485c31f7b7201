"""What `argparse` is given for an option of the source: its type, its action, its choices.

Functions and actions that the source defines itself are elaborated with the text that a launch line
gives; functions of Python's library are called.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.python.values import ABSENT, Class, Ext, Func, Namespace, Native, Raised
from fibcore.elaborate.sglang.launch.declarations import Declared
from fibcore.model.tree import Alternatives, Unknown

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator

_LIBRARY: Mapping[str, Callable[[str], Any]] = {
    "str": str,
    "int": int,
    "float": float,
    "json.loads": json.loads,
}
_SWITCHES = ("store_true", "store_false", "store_const", "count")
_PLAIN = ("nargs", "const", "metavar", "required")


def add_option(parser: argparse.ArgumentParser, ev: Evaluator, option: Declared) -> None:
    """Give a parser an option as the source declares it; without a default."""
    settings: dict[str, Any] = {
        key: value
        for key, value in option.settings.items()
        if key in _PLAIN and not isinstance(value, Unknown)
    }
    # A launch line need not name the model, and the server's defaults are the source's affair.
    settings.update(required=False, default=argparse.SUPPRESS)
    if option.settings.get("dest") is not None:
        settings["dest"] = str(option.settings["dest"])
    action = option.settings.get("action")
    if isinstance(action, str) and action in _SWITCHES:
        settings.pop("nargs", None)
        settings["action"] = action
    elif isinstance(action, Ext) and action.name == "argparse.BooleanOptionalAction":
        settings["action"] = argparse.BooleanOptionalAction
    else:
        settings.update(_valued(ev, option))
        if isinstance(action, Class):
            settings["action"] = _action(ev, action, option)
            settings.setdefault("nargs", _own_nargs(ev, action))
        elif isinstance(action, str):
            settings["action"] = action
    parser.add_argument(*option.names, **settings)


def _valued(ev: Evaluator, option: Declared) -> dict[str, Any]:
    found: dict[str, Any] = {}
    choices = option.settings.get("choices")
    if isinstance(choices, (list, tuple, set, frozenset, dict)) and not any(
        isinstance(choice, Unknown) for choice in choices
    ):
        found["choices"] = list(choices)
    kind = option.settings.get("type")
    if kind is not None:
        found["type"] = _reader(ev, kind)
    return found


def _reader(ev: Evaluator, kind: Any) -> Callable[[str], Any]:
    """What turns the text of an option into its value."""
    name = str(getattr(kind, "name", "")).removeprefix("builtins.")
    if not isinstance(kind, Func) and name in _LIBRARY:
        return _LIBRARY[name]

    def read(text: str) -> Any:
        try:
            value = ev.calls.call(kind, [text], {}, getattr(kind, "place", None))
        except Raised as error:
            raise argparse.ArgumentTypeError(error.message or error.kind) from None
        return value if _known(value) else text

    read.__name__ = name or "value"
    return read


def _own_nargs(ev: Evaluator, action: Class) -> Any:
    """How many words an action of the source takes: the default of its constructor."""
    init = ev.classes.attr(action, "__init__")
    default = init.defaults.get("nargs", ABSENT) if isinstance(init, Func) else ABSENT
    return None if default is ABSENT or isinstance(default, Unknown) else default


def _action(ev: Evaluator, cls: Class, option: Declared) -> type[argparse.Action]:
    """An action that runs the one of the source, and keeps what that stores."""

    class SourceAction(argparse.Action):
        def __call__(
            self,
            parser: argparse.ArgumentParser,
            namespace: argparse.Namespace,
            values: Any,
            option_string: str | None = None,
        ) -> None:
            own = {
                **dict.fromkeys(("new_flag", "const_value", "error_message")),
                **option.settings,
                "dest": self.dest,
            }
            stored: dict[str, Any] = {}
            stand_in = Namespace("parser", {"error": Native("error", _refuse)})
            call = ev.classes.attr(cls, "__call__")
            given = [Namespace("action", own), stand_in, Namespace("arguments", stored), values]
            try:
                ev.calls.call_function(call, [*given, option_string], {}, cls.place)
            except Raised as error:
                raise argparse.ArgumentError(self, error.message or error.kind) from None
            for name, value in stored.items():
                setattr(namespace, name, value if _known(value) else values)

    return SourceAction


def _known(value: Any) -> bool:
    """Whether nothing in a value is unknown."""
    if isinstance(value, (list, tuple)):
        return all(map(_known, value))
    return not isinstance(value, (Unknown, Alternatives))


def _refuse(ev: Evaluator, args: list[Any], kwargs: dict[str, Any], place: Any) -> Any:
    raise Raised("SystemExit", str(args[0]) if args else "", place)
