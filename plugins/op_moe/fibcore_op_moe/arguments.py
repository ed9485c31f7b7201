"""Constructor arguments of a module, and what stands between it and a definition."""

from __future__ import annotations

from typing import Any

import attrs

from fibcore.plugin import Alternatives, ModuleNode, Named, Unknown


@attrs.define
class Findings:
    """What stands between a layer and its definition.

    Attributes:
        unsupported: Features that no definition describes, as noun phrases.
        undecided: What could not be known, as sentences.
    """

    unsupported: list[str] = attrs.field(factory=list)
    undecided: list[str] = attrs.field(factory=list)

    @property
    def clear(self) -> bool:
        """Whether nothing stands in the way."""
        return not (self.unsupported or self.undecided)


def is_known(value: object) -> bool:
    """Whether elaboration decided on one value."""
    return not isinstance(value, (Unknown, Alternatives))


def spelled(value: object) -> str:
    """A value for people: the last part of a name, the reason of what is unknown."""
    if isinstance(value, Named):
        return value.name.rpartition(".")[2]
    if isinstance(value, Alternatives):
        return "one of " + ", ".join(spelled(v) for v in value.values)
    return str(value) if isinstance(value, (Unknown, str)) else repr(value)


def listed(words: list[str]) -> str:
    """Words for people: "a, b or c"."""
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def arguments_of(node: ModuleNode) -> dict[str, Any]:
    """The bound constructor arguments, with those of a `**kwargs` beside the others."""
    arguments = dict(node.arguments)
    extra = arguments.pop("kwargs", None)
    if isinstance(extra, dict):
        arguments.update(extra)
    return arguments


class Arguments:
    """The constructor arguments of one module, read with a record of what is not known."""

    def __init__(self, node: ModuleNode, findings: Findings) -> None:
        self.node = node
        self.findings = findings
        self._values = arguments_of(node)

    def get(self, name: str, default: Any = None) -> Any:
        """The argument, `default` where the class has none; None and a record if undecided."""
        value = self._values.get(name, default)
        if is_known(value):
            return value
        self._undecided(name, value)
        return None

    def integer(self, name: str) -> int | None:
        """A needed positive integer; None and a record where it is not one."""
        value = self.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
        if is_known(self._values.get(name)):
            self._undecided(name, value)
        return None

    def number(self, name: str) -> float | None:
        """A number or None; a record where it is something else."""
        value = self.get(name)
        if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
            return value
        self._undecided(name, value)
        return None

    def word(self, name: str, default: str) -> str | None:
        """A string; None and a record where it is something else."""
        value = self.get(name, default)
        if isinstance(value, str):
            return value
        if is_known(self._values.get(name, default)):
            self._undecided(name, value)
        return None

    def flag(self, name: str, default: bool = False) -> bool:
        """A truth value."""
        value = self.get(name, default)
        if value is None or isinstance(value, (bool, int)):
            return bool(value)
        self._undecided(name, value)
        return default

    def only(self, known: frozenset[str]) -> None:
        """Record arguments that this plugin does not know and that are switched on."""
        for name, value in self._values.items():
            if name in known or value is None or value is False or value == 0 or value == "":
                continue
            self._undecided(name, value, "which this plugin does not know")

    def _undecided(self, name: str, value: object, why: str = "") -> None:
        sentence = f"argument {name} of {self.node.class_name} is {spelled(value)}"
        if sentence not in self.findings.undecided:
            self.findings.undecided.append(f"{sentence}, {why}" if why else sentence)
