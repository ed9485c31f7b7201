"""Options of serving that op types declare: page sizes, shapes, whatever kernels depend on.

The core knows tensor- and expert-parallel sizes and stages. Everything else that says how a model
is served, and that one op type alone has a use for, is an `Option` of its `OpType`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import attrs

from fibcore.errors import UsageError
from fibcore.keywords import listed

OptionValue = int | str | tuple[int, ...] | tuple[str, ...]
"""What an option can be set to."""

AskedValue = int | str | Sequence[int] | Sequence[str] | None
"""What callers may give: one value stands for a sequence of one, None or () for the default."""

Value = TypeVar("Value", int, str, tuple[int, ...], tuple[str, ...])

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


@attrs.frozen
class Option(Generic[Value]):
    """An option that an op type declares; the command line and the API have it by themselves.

    The type of `default` says what values the option has: one or several positive integers, one or
    several words out of `choices`.

    * An option with several values makes a kernel for each, which holds its value as the const
      axis `name`, and as a fact with `origin` among its origins. The catalogue may give a model
      other defaults.
    * An option that has the name of an argument of SGLang's server has the value that a launch line
      gives that.
    * An option with one value changes the kernels of a model as a whole. It is recorded with the
      tensor- and expert-parallel sizes where it is not the default.

    Attributes:
        name: The keyword of the API, `block_size`; the command line has `--block-size`.
        default: The value where none is asked for.
        help: A line for `--help`, without the default.
        choices: The words that a word can be, each with what reports call it; for words alone.
        recorded_as: Its name in origins and in lists of values, where that is not `name`.
        metavar: Stands for the value in `--help`, where the usual one would not do.
        of_a_rank: The value at which kernels are what one rank runs, for reports about what a GPU
            does; None where every value is.
    """

    name: str
    default: Value
    help: str
    choices: Mapping[str, str] = attrs.field(factory=dict)
    recorded_as: str = attrs.field()
    metavar: str | None = None
    of_a_rank: Value | None = None

    @recorded_as.default
    def _name(self) -> str:
        return self.name

    @property
    def several(self) -> bool:
        """Whether it has several values at once."""
        return isinstance(self.default, tuple)

    @property
    def words(self) -> bool:
        """Whether its values are words; they are positive integers otherwise."""
        first = self.default[:1] if isinstance(self.default, tuple) else (self.default,)
        return isinstance(first[0], str)

    @property
    def flag(self) -> str:
        """Its name on the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def title(self) -> str:
        """Its name for people: `block size`."""
        return self.name.replace("_", " ")

    @property
    def origin(self) -> str:
        """The origin of constants that it sets, as a `Fact` has it."""
        return f"serving:{self.recorded_as}"

    def text(self, value: OptionValue) -> str:
        """A value as the command line takes it."""
        return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)

    def describe(self, value: OptionValue) -> str:
        """What reports call a value."""
        if isinstance(value, str) and value in self.choices:
            return self.choices[value]
        return f"{self.title} {self.text(value)}"

    def checked(self, value: object) -> Value:
        """A value that somebody gave, in the form of the default.

        Raises:
            UsageError: it is no value of this option.
        """
        items = listed(value)
        if not items or (len(items) > 1 and not self.several) or not all(map(self.takes, items)):
            raise UsageError(
                "the option cannot have this value",
                where=self.flag,
                expected=self._expected(),
                found=repr(value),
            )
        result: Any = items if self.several else items[0]
        return result  # type: ignore[no-any-return]

    def problem(self) -> str | None:
        """What is wrong with the declaration itself, as a sentence; None where nothing is."""
        for name in (self.name, self.recorded_as):
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                return f"an option is named {name!r}, not like block_size"
        if not isinstance(self.help, str) or not self.help.strip():
            return f"the option {self.name} has no help"
        if isinstance(self.default, bool) or not isinstance(self.default, int | str | tuple):
            return f"the default of the option {self.name} is {self.default!r}"
        if self.default == ():
            return f"the option {self.name} has no default"
        if self.words != bool(self.choices):
            return f"the option {self.name} has words and no choices, or numbers with choices"
        if self.of_a_rank is not None and not self.takes(self.of_a_rank):
            return f"the option {self.name} cannot be {self.of_a_rank!r}, which is to be a rank's"
        try:
            same = self.checked(self.default) == self.default
        except UsageError:
            same = False
        return None if same else f"the default of the option {self.name} is {self.default!r}"

    def takes(self, item: object) -> bool:
        """Whether `item` can be the value, or one of several."""
        if self.words:
            return item in self.choices
        return isinstance(item, int) and not isinstance(item, bool) and item > 0

    def _expected(self) -> str:
        what = f"out of {', '.join(self.choices)}" if self.words else "that is a positive integer"
        return f"{'one or several values' if self.several else 'one value'} {what}"
