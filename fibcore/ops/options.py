"""The options that the op types of a registry declare, together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fibcore.errors import PluginError
from fibcore.keywords import UnknownOptionError
from fibcore.model.options import Option, OptionValue


class DeclaredOptions(Mapping[str, Option[Any]]):
    """Options by name: those of several values first, then by name.

    Op types that need the same option declare it identically.
    """

    def __init__(self, declared: Iterable[tuple[str, Option[Any]]] = ()) -> None:
        """Join what op types declare.

        Args:
            declared: Who declares an option, for an error, and the option.

        Raises:
            PluginError: two declare an option of one name, or of one name in records, differently.
        """
        by_name: dict[str, tuple[str, Option[Any]]] = {}
        recorded: dict[str, tuple[str, Option[Any]]] = {}
        for who, option in declared:
            for known, key in ((by_name, option.name), (recorded, option.recorded_as)):
                other, same = known.setdefault(key, (who, option))
                if same != option:
                    raise PluginError(
                        "two op types declare an option differently",
                        where=f"option {key}",
                        expected="one declaration, or equal ones",
                        found=f"{other}: {same}; {who}: {option}",
                        hint="--disable-plugin goes without one of the plugins",
                    )
        options = [option for _, option in by_name.values()]
        options.sort(key=lambda option: (not option.several, option.name))
        self._options = {option.name: option for option in options}

    def __getitem__(self, name: str) -> Option[Any]:
        return self._options[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._options)

    def __len__(self) -> int:
        return len(self._options)

    @property
    def several(self) -> tuple[Option[Any], ...]:
        """Those with several values, which make a kernel each."""
        return tuple(option for option in self.values() if option.several)

    def asked(self, given: Mapping[str, object]) -> dict[str, OptionValue]:
        """The values that a caller asks for, checked; without those that are left to defaults.

        Raises:
            UnknownOptionError: no op type declares an option of this name.
            UsageError: an option cannot have this value.
        """
        for name in given:
            if name not in self:
                raise UnknownOptionError(name, self)
        return {
            name: option.checked(given[name])
            for name, option in self.items()
            if given.get(name) not in (None, (), [])
        }

    def launched(self, arguments: Mapping[str, object]) -> dict[str, OptionValue]:
        """The values of options that have the names of server arguments that a launch gives.

        Raises:
            UsageError: an option cannot have this value.
        """
        return {
            name: option.checked(arguments[name])
            for name, option in self.items()
            if arguments.get(name) is not None
        }

    def completed(self, *given: Mapping[str, OptionValue]) -> dict[str, OptionValue]:
        """A value for every option: of the first mapping that has one, else the default.

        What a mapping has of options that nothing declares (a dataset's records of a plugin that
        is not installed) is left out.
        """
        return {
            name: next((values[name] for values in given if name in values), option.default)
            for name, option in self.items()
        }

    def recorded(self, values: Mapping[str, OptionValue]) -> dict[str, OptionValue]:
        """What has to be recorded beside kernels: single values that are not the default.

        Of an option with several values each kernel has its own.
        """
        return {
            name: values[name]
            for name, option in self.items()
            if not option.several and name in values and values[name] != option.default
        }

    def command_line(self, values: Mapping[str, OptionValue]) -> tuple[str, ...]:
        """The words that give these values on a command line."""
        return tuple(
            word
            for name, option in self.items()
            if name in values
            for word in (option.flag, option.text(values[name]))
        )

    def describe(self, values: Mapping[str, OptionValue]) -> tuple[str, ...]:
        """What reports say of each value, by name; also where nothing declares it any more."""
        return tuple(
            self[name].describe(value) if name in self else f"{name} {value}"
            for name, value in values.items()
        )
