"""The command lines that pages of documentation show, in blocks and within sentences."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import attrs

PROGRAMS = ("fibcore", "flashinfer-bench", "git", "grep", "make", "nox", "pip", "pytest", "python3")
PROGRAMS += ("cd", "python")
SHELLS = ("", "bash", "console", "sh")
_FENCED = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?:\A|\n[ \t]*\n)((?: {4}[^\n]*\n|[ \t]*\n)+)")
_INLINE = re.compile(r"`(fibcore [a-z][^`\n]*)`")
_ASSIGNMENTS = re.compile(r"^(?:[A-Z_]+=\S+ )+")
_SYNOPSIS = re.compile(r"…|\.\.\.|\[|\(-| \| ")


@attrs.frozen
class Shown:
    """A command line as a page shows it.

    Attributes:
        page: The page.
        text: The line without its comment, joined where it goes on in the next one.
        inline: Whether it stands within a sentence.
        block: Which block of the page it is in.
    """

    page: str
    text: str
    inline: bool = False
    block: int = 0

    @property
    def words(self) -> list[str]:
        """The line as a shell would cut it."""
        return shlex.split(self.text, comments=True)

    @property
    def synopsis(self) -> bool:
        """Whether it shows what may be given, rather than a command to type."""
        return self.text.startswith("fibcore") and bool(_SYNOPSIS.search(self.text.split(" #")[0]))


def shown_commands(path: Path, page: str) -> list[Shown]:
    """The command lines of a page, from top to bottom; those within sentences come last.

    In a block that begins with `$`, what does not is what the command prints.
    """
    text = path.read_text("utf-8")
    shells = [found for found in _FENCED.finditer(text) if found[1] in SHELLS]
    blocks = [(found.start(), found[2]) for found in shells]
    outside = _FENCED.sub(lambda found: "\n" * found[0].count("\n"), text)
    for found in _INDENTED.finditer(outside):
        place = text.find(found[1].strip("\n").splitlines()[0]) if found[1].strip() else -1
        if place >= 0:
            blocks.append((place, found[1]))
    texts = enumerate(block for _, block in sorted(blocks))
    shown = [Shown(page, line, block=n) for n, block in texts for line in _lines(block)]
    inline = dict.fromkeys(_INLINE.findall(outside))
    return shown + [Shown(page, line, inline=True) for line in inline]


def _lines(block: str) -> list[str]:
    lines = [line.strip() for line in block.replace("\\\n", " ").splitlines()]
    if any(line.startswith("$ ") for line in lines):
        lines = [line[2:] for line in lines if line.startswith("$ ")]
    return [line for line in lines if _ASSIGNMENTS.sub("", line).split(" ")[0] in PROGRAMS]
