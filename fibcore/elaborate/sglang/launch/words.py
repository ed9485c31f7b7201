"""The words of a launch line that are the server's: options, and variables of the environment.

People paste what a shell runs, `CUDA_VISIBLE_DEVICES=0 python3 -m sglang.launch_server …` over
several lines, inside of `docker run …` or `bash -c "…"`, behind lines of a script that export
variables, with ` > log 2>&1 &` behind it; or options alone.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence

import attrs

from fibcore.errors import UsageError

WHERE = "--launch"
_MODULES = ("sglang.launch_server", "sglang.srt.entrypoints.http_server")
_SCRIPTS = ("launch_server.py", "launch_server")
_VARIABLE = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_OF_DOCKER = re.compile(r"(?:--env=|-e)(?=[A-Za-z_]\w*=)")
_EXPORTS = ("export", "declare -x", "typeset -x")
_ENDS = frozenset((";", "&", "&&", "||", "|"))
_REDIRECTION = re.compile(r"\d*(>>?|<|>&|&>)(.*)")


@attrs.frozen
class LaunchWords:
    """What a launch line gives the server.

    Attributes:
        options: The words behind the server's name.
        variables: Variables of the environment that stand before it, by name.
    """

    options: tuple[str, ...]
    variables: dict[str, str] = attrs.field(factory=dict, hash=False)


def launch_words(line: str | Sequence[str]) -> LaunchWords:
    """The server's words in a line as a shell takes it, or in words already split.

    Raises:
        UsageError: its quotes do not match, or what it runs is not SGLang's server.
    """
    words = _shell_words(line) if isinstance(line, str) else [str(word) for word in line]
    inner = next((i for i, word in enumerate(words) if _runs_server(word)), None)
    if inner is not None:  # bash -c "python -m sglang.launch_server …"
        words = [*words[:inner], *_shell_words(words[inner])]
    start = _server(words)
    variables: dict[str, str] = {}
    for word in words[:start]:
        match = _VARIABLE.fullmatch(_OF_DOCKER.sub("", word))
        if match is not None:
            variables[match[1]] = match[2]
    return LaunchWords(tuple(words[start:]), variables)


def _shell_words(line: str) -> list[str]:
    # A shell takes the backslash away with the line's end; what follows it in pasted text may be
    # blanks, with which shlex would keep both.
    text = re.sub(r"\\[ \t]*\r?\n", " ", line).strip()
    try:
        words = list(_split(text))
    except ValueError as error:
        raise UsageError(
            "the launch line cannot be split into words",
            where=WHERE,
            expected="quotes that match, as for a shell",
            found=str(error),
        ) from None
    return list(_of_first_command(words))


def _split(text: str) -> Iterator[str]:
    """The words of a shell's text; a line that goes on with no option is a command of its own."""
    quoted = shlex.shlex(_with_ends(text), posix=True, punctuation_chars=";")
    quoted.whitespace_split = True
    return iter(quoted)


def _with_ends(text: str) -> str:
    """A shell's text with `;` in front of lines that begin a command."""
    found: list[str] = []
    inside = ""  # a quote, or # in a comment
    for at, char in enumerate(text):
        found.append(char)
        if char == "\n" and inside in ("", "#"):
            inside = ""
            if not text[at:].lstrip().startswith("-"):
                found.append(";")
        elif inside in ("'", '"'):
            inside = "" if char == inside else inside
        elif not inside and (char in "'\"" or (char == "#" and text[at - 1 : at].strip() == "")):
            inside = char
    return "".join(found)


def _of_first_command(words: list[str]) -> list[str]:
    """The words up to where the shell goes on with another command, without redirections.

    Variables that commands before the server's export stand in front of it.
    """
    kept: list[str] = []
    exported: list[str] = []
    file_follows = False
    for index, word in enumerate(words):
        match = None if word.startswith("-") else _REDIRECTION.fullmatch(word)
        if file_follows:
            file_follows = False
        elif match is not None:
            file_follows = not match[2]
        elif word in _ENDS:
            if any(_is_server(w) for w in kept) or not any(
                _is_server(w) for w in words[index + 1 :]
            ):
                break
            exported += _exported(kept)
            kept = []  # `cd somewhere && python -m sglang.launch_server …`
        else:
            kept.append(word)
    return exported + kept


def _exported(words: Sequence[str]) -> Iterator[str]:
    if " ".join(words).startswith(_EXPORTS):
        yield from (word for word in words if _VARIABLE.fullmatch(word))


def _runs_server(word: str) -> bool:
    """Whether a word is a command line of its own, of the server."""
    parts = word.split()
    return len(parts) > 1 and any(_is_server(part) for part in parts)


def _is_server(word: str) -> bool:
    return word in _MODULES or word.rpartition("/")[2] in _SCRIPTS


def _server(words: Sequence[str]) -> int:
    """The index behind what names the server; behind variables where there are options alone."""
    for index, word in enumerate(words):
        if _is_server(word):
            return index + 1
        if word == "serve" and words[index - 1].rpartition("/")[2] == "sglang" and index:
            return index + 1
    index = 0
    while index < len(words) and _VARIABLE.fullmatch(words[index]):
        index += 1
    if index < len(words) and not words[index].startswith("-"):
        raise UsageError(
            "the launch line does not run SGLang's server",
            where=WHERE,
            expected="python -m sglang.launch_server … or sglang serve …, or options alone",
            found=words[index],
        )
    return index
