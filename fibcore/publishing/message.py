"""The message of a commit: which definitions, by op type, for which models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from fibcore import __version__
from fibcore.model.definition import Definition
from fibcore.publishing.plan import FileChange

_MODELS_IN_TITLE = 3
_LINES = 500
_VERBS = (("added", "add"), ("changed", "change"), ("deleted", "delete"))


def title_of(changes: Sequence[FileChange], definitions: Mapping[str, Definition]) -> str:
    """The first line of the message: `Add 12 definitions (llama-3.1-8b)`."""
    of_definitions = [c for c in changes if _is_definition(c)]
    models = dict.fromkeys(
        model
        for change in of_definitions
        if change.path in definitions
        for model in definitions[change.path].tag_values("model")
    )
    shown = list(models)[:_MODELS_IN_TITLE]
    if len(models) > len(shown):
        shown.append(f"{len(models) - len(shown)} more")
    named = f" ({', '.join(shown)})" if shown else ""
    if of_definitions:
        return f"{_counted(of_definitions, 'definition')}{named}"
    tops = {PurePosixPath(change.path).parts[0] for change in changes}
    return f"{_counted(changes, 'file')} in {', '.join(sorted(tops))}"


def description_of(changes: Sequence[FileChange], definitions: Mapping[str, Definition]) -> str:
    """The rest of the message, in Markdown: every definition by op type, and what else there is."""
    by_op_type: dict[str, list[str]] = {}
    others: Counter[tuple[str, str]] = Counter()
    for change in changes:
        path = PurePosixPath(change.path)
        if not _is_definition(change):
            top = "/".join(path.parts[: 2 if path.parts[0] in ("tests", "reports") else 1])
            others[top, change.kind] += 1
            continue
        definition = definitions.get(change.path)
        models = definition.tag_values("model") if definition is not None else ()
        used = f": {', '.join(models)}" if models else ""
        line = f"- `{path.stem}` ({change.kind}){used}"
        by_op_type.setdefault(path.parts[1], []).append(line)
    lines = []
    for op_type, entries in sorted(by_op_type.items()):
        lines += ["", f"**{op_type}**", "", *entries]
    if others:
        lines += ["", "**Other files**", ""]
        lines += [f"- {top}: {number} {kind}" for (top, kind), number in sorted(others.items())]
    if len(lines) > _LINES:
        lines = [*lines[:_LINES], f"- and {len(lines) - _LINES} lines more"]
    return "\n".join([*lines[1:], "", f"fibcore {__version__}"])


def _is_definition(change: FileChange) -> bool:
    return change.path.startswith("definitions/")


def _counted(changes: Iterable[FileChange], noun: str) -> str:
    """`Add 3 and change 1 definitions`."""
    numbers = Counter(change.kind for change in changes)
    parts = [f"{verb} {numbers[kind]}" for kind, verb in _VERBS if kind in numbers]  # type: ignore[index]
    plural = "" if sum(numbers.values()) == 1 else "s"
    text = f"{' and '.join(parts)} {noun}{plural}"
    return text[0].upper() + text[1:]
