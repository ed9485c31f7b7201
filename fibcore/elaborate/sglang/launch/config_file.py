"""A file of options, as SGLang takes it with `--config FILE`.

Keys are options without the dashes in front (`tp-size`, `tp_size`); what stands on the command line
wins. SGLang reads YAML, of which JSON is a part.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fibcore.elaborate.sglang.launch.words import WHERE
from fibcore.errors import UsageError
from fibcore.regular_files import read_text

if TYPE_CHECKING:
    from fibcore.elaborate.sglang.launch.command_line import CommandLine

OPTION = "--config"
_YAML = (".yaml", ".yml")


def with_config_file(words: Sequence[str], parser: CommandLine) -> list[str]:
    """Words in which the options of a file stand in front of those of the command line.

    Args:
        words: The words of a launch line.
        parser: The release's command line, which knows which options are switches.

    Raises:
        UsageError: there is no such file, or it holds no options.
    """
    found, rest = _file(words)
    if found is None:
        return list(words)
    given = _read(Path(found))
    return [word for key, value in given.items() for word in _words(key, value, parser)] + rest


def _file(words: Sequence[str]) -> tuple[str | None, list[str]]:
    rest: list[str] = []
    found: list[str] = []
    iterator = iter(words)
    for word in iterator:
        if word == OPTION:
            found.append(next(iterator, ""))
        elif word.startswith(f"{OPTION}="):
            found.append(word.partition("=")[2])
        else:
            rest.append(word)
    if len(found) > 1 or "" in found:
        raise UsageError(
            "the launch line names no file of options, or several",
            where=f"{WHERE} {OPTION}",
            expected="one file",
            found=", ".join(filter(None, found)) or "none",
        )
    return (found[0] if found else None), rest


def _read(path: Path) -> Mapping[str, Any]:
    where = f"{WHERE} {OPTION} {path}"
    try:
        text = read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("cannot read the file of options", where=where, found=str(error)) from None
    try:
        data = _yaml(text) if path.suffix.lower() in _YAML else json.loads(text)
    except ValueError as error:
        raise UsageError(
            "the file of options cannot be read",
            where=where,
            expected="YAML (.yaml, .yml) or JSON",
            found=str(error),
        ) from None
    if data is None:
        return {}
    if not isinstance(data, Mapping) or not all(isinstance(key, str) for key in data):
        raise UsageError(
            "the file holds no options", where=where, expected="names of options with values"
        )
    return data


def _yaml(text: str) -> Any:
    import yaml  # type: ignore[import-untyped]  # huggingface_hub brings it; 15 ms, for these files alone

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


def _words(key: str, value: Any, parser: CommandLine) -> Iterator[str]:
    """An option of a file as the command line has it (`ConfigArgumentMerger`)."""
    flag = "--" + key.replace("_", "-")
    if value is None or value == []:
        return
    if isinstance(value, bool) and parser.is_switch(flag):
        negated = f"--no-{flag[2:]}"
        if value:
            yield flag
        elif parser.is_switch(negated):
            yield negated
        return
    yield flag
    yield from (_text(item) for item in (value if isinstance(value, list) else [value]))


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value) if isinstance(value, Mapping) else str(value)
