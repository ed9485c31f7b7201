"""The errors that fibcore raises: where, what was expected, what was found, what to do."""

from __future__ import annotations

from collections.abc import Iterable


class FibcoreError(Exception):
    """Base of every error that a user can meet.

    Args:
        message: What went wrong, as one sentence.
        where: The file, JSON path, config key, plugin or command option concerned.
        expected: What would have been right.
        found: What was there instead.
        hint: What the user can do about it.
    """

    exit_code = 1

    def __init__(
        self,
        message: str,
        *,
        where: str | None = None,
        expected: str | None = None,
        found: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.expected = expected
        self.found = found
        self.hint = hint

    def __str__(self) -> str:
        lines = [f"{one_line(self.where)}: {self.message}" if self.where else self.message]
        if self.expected is not None:
            lines.append(f"  expected: {indented(self.expected)}")
        if self.found is not None:
            lines.append(f"  found: {indented(self.found)}")
        if self.hint is not None:
            lines.append(f"  to do: {self.hint}")
        return "\n".join(lines)

    @property
    def summary(self) -> str:
        """The error in a line: what went wrong, what was expected, what was found."""
        parts = [self.message]
        parts += [f"expected {self.expected}"] if self.expected else []
        parts += [f"found {self.found}"] if self.found else []
        return "; ".join(parts)

    def to_dict(self) -> dict[str, str]:
        """The parts that are known, for `--json` output and reports."""
        parts = {
            "error": type(self).__name__,
            "message": self.message,
            "where": self.where,
            "expected": self.expected,
            "found": self.found,
            "hint": self.hint,
        }
        return {key: value for key, value in parts.items() if value is not None}


def one_line(place: str) -> str:
    """A place whose name may hold anything, on one line."""
    return place.replace("\n", "\\n").replace("\t", "\\t")


def indented(text: str) -> str:
    """A text whose further lines stand below the first, so that none looks like a line of ours."""
    return text.replace("\n", "\n    ")


class UsageError(FibcoreError):
    """The call itself is wrong: an unknown name, options that exclude each other."""

    exit_code = 2


class UnknownModelError(UsageError):
    """No model, architecture or model file has this name."""


class ConfigError(FibcoreError):
    """A model's config is not JSON, lacks a needed key, or holds numbers that cannot be."""


class ServingError(ConfigError):
    """The parallel sizes do not fit the model (heads, experts or blocks not divisible)."""


class SourceError(FibcoreError):
    """A source tree cannot be had, or is not what it should be."""


class ElaborationError(FibcoreError):
    """The model's source cannot be elaborated at all (a partial result is no error)."""


class DefinitionError(FibcoreError):
    """A kernel definition breaks a rule of the format."""


class DatasetError(FibcoreError):
    """A dataset folder or a file in it cannot be read or written."""


class TraceError(FibcoreError):
    """A dump of FlashInfer's tracing, or a file of it, cannot be read or repaired."""


class WebError(FibcoreError):
    """The web site's list of models cannot be found, read, or edited safely."""


class PublishError(FibcoreError):
    """The Hub does not take what is to be published."""


class MissingPackageError(FibcoreError):
    """A package that a command needs is not installed; the hint names the extra that has it."""


class PluginError(FibcoreError):
    """A plugin raised, or returned what its hook does not allow."""


def nearest(name: str, known: Iterable[str], *, limit: int = 3, at_least: float = 0.0) -> list[str]:
    """The known names that are most like a wrong one, for the message that refuses it.

    Args:
        name: The name that was given.
        known: The names that there are.
        limit: The most names to give.
        at_least: How like a name has to be, from 0 to 100.
    """
    from rapidfuzz import fuzz, process  # 40 ms, for an error message alone

    names = sorted(dict.fromkeys(known))
    # How many letters differ counts alone: other scorers prefer long names that hold a part.
    found = process.extract(name, names, scorer=fuzz.ratio, limit=limit, score_cutoff=at_least)
    return [match for match, _, _ in found]
