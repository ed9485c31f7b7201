"""Words of a launch line as values of server arguments, or an error that says what is wrong."""

from __future__ import annotations

import argparse
import ast
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from fibcore.elaborate.python.values import ABSENT, Func
from fibcore.elaborate.sglang.launch.actions import add_option
from fibcore.elaborate.sglang.launch.declarations import (
    Declared,
    declared_options,
    server_args_class,
)
from fibcore.elaborate.sglang.launch.words import WHERE
from fibcore.errors import UsageError, nearest

if TYPE_CHECKING:
    from fibcore.elaborate.python.evaluator import Evaluator


class CommandLine:
    """The command line of one release's server.

    Args:
        ev: An evaluator of its source.

    Raises:
        SourceError: the source does not say which options there are.
    """

    def __init__(self, ev: Evaluator, release: str) -> None:
        self.options: list[Declared] = declared_options(ev)
        self._release = release
        # A registration that comes later replaces an earlier one of the same spelling: some fields
        # are registered by their annotation and once more by hand.
        self.parser = _Parser(
            prog="sglang", add_help=False, conflict_handler="resolve", exit_on_error=False
        )
        self._renamed = _renamed(ev)
        for option in self.options:
            add_option(self.parser, ev, option)

    @property
    def flags(self) -> list[str]:
        """All spellings of options."""
        return sorted({name for option in self.options for name in option.names})

    def is_switch(self, flag: str) -> bool:
        """Whether an option takes no value."""
        action = self.parser._option_string_actions.get(flag)
        return action is not None and action.nargs == 0

    def values(self, words: Sequence[str]) -> dict[str, Any]:
        """What words give, by the name of the server argument; what they leave out is not there.

        Raises:
            UsageError: an option is unknown (the nearest ones are named), or cannot have its value.
        """
        found, unknown = self.parser.parse_known_args(list(words))
        if unknown:
            raise self._unknown(unknown[0])
        return {self._renamed.get(name, name): value for name, value in vars(found).items()}

    def _unknown(self, word: str) -> UsageError:
        name = word.partition("=")[0]
        if not word.startswith("-"):
            return UsageError(
                "a word of the launch line belongs to no option",
                where=WHERE,
                expected=f"an option of {self._release}",
                found=repr(word),
            )
        return UsageError(
            f"the server of {self._release} has no such option",
            where=f"{WHERE} {name}",
            expected=", ".join(nearest(name, self.flags)),
            found=repr(name),
            hint="options differ between releases; --sglang names another one",
        )


def _renamed(ev: Evaluator) -> dict[str, str]:
    """Fields that `from_cli_args` fills from options of other names (`args.tp_size = args.…`)."""
    cls = server_args_class(ev)
    method = ABSENT if cls is None else ev.classes.attr(cls, "from_cli_args")
    found: dict[str, str] = {}
    body = method.node.body if isinstance(method, Func) else []
    for statement in body if isinstance(body, list) else []:
        if not isinstance(statement, ast.Assign):
            continue
        target, value = statement.targets[0], statement.value
        if isinstance(target, ast.Attribute) and isinstance(value, ast.Attribute):
            found[value.attr] = target.attr
    return found


class _Parser(argparse.ArgumentParser):
    """argparse's parser, whose errors are ours."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse words; the error of an option names it and what it takes."""
        try:
            return super().parse_known_args(args, namespace)
        except argparse.ArgumentError as error:
            raise self._refused(error) from None

    def _refused(self, error: argparse.ArgumentError) -> UsageError:
        name = error.argument_name or ""
        action = next((a for a in self._actions if name == "/".join(a.option_strings)), None)
        expected = None
        if action is not None and action.choices is not None:
            expected = ", ".join(map(str, action.choices))
        elif action is not None and callable(action.type):
            expected = f"a value that {getattr(action.type, '__name__', 'its type')} takes"
        return UsageError(
            "an option of the launch line cannot have this value",
            where=f"{WHERE} {name}".strip(),
            expected=expected,
            found=error.message.partition(" (choose from")[0],
        )

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would end the process with."""
        raise UsageError("the launch line cannot be read", where=WHERE, found=message)
