"""Makes the test template of one op type out of the file that holds those of both."""

from __future__ import annotations

import ast
import re
from importlib.resources import files

from fibcore.plugin import FibcoreError


def test_template(op_type: str) -> str:
    """The common part of `test_template.py` and the section of an op type, as one source.

    Raises:
        FibcoreError: the file has no such section.
    """
    text = (files(__package__) / "test_template.py").read_text(encoding="utf-8")
    common, *marked = re.split(r"^# --- (\w+) ---\n\n", text, flags=re.MULTILINE)
    sections = dict(zip(marked[::2], marked[1::2], strict=True))
    if op_type not in sections:
        raise FibcoreError(
            "a test template lacks the section of an op type",
            where="test_template.py",
            expected=f"# --- {op_type} ---",
            found=", ".join(sections),
        )
    docstring, section = _after_docstring(sections[op_type])
    _, common = _after_docstring(common)
    made = f"{docstring}\n{common.rstrip()}\n\n\n{section.strip()}\n"
    return re.sub(rf"_of_{op_type}\b", "", made)


test_template.__test__ = False  # type: ignore[attr-defined]  # no test, in spite of its name


def _after_docstring(text: str) -> tuple[str, str]:
    """The docstring at the beginning of a source, and what follows it."""
    end = ast.parse(text).body[0].end_lineno or 0
    lines = text.splitlines(keepends=True)
    return "".join(lines[:end]).rstrip("\n"), "".join(lines[end:])
