"""Source files are taken apart and their imports merged."""

from __future__ import annotations

import pytest

from fibcore.errors import PluginError
from fibcore.verification.joining import WIDTH, Joiner, banner

JOINER = Joiner("a file", "here", PluginError, expected="other names", hint="rename it")


def test_part() -> None:
    source = (
        '"""About."""\n\nfrom __future__ import annotations\n\nimport os.path\nimport ast as a\n'
    )
    source += "from typing import Any as Every\n\n\n\n\nX: Every = 1\n\n\ndef f():\n    y = 2\n"
    part = JOINER.take_apart(source, "it")
    assert part.docstring == "About."
    assert part.future == {"annotations"}
    assert part.imports == {
        "os.path": ("os.path", None),
        "a": ("ast", None),
        "Every": ("typing", "Any"),
    }
    assert part.names == {"X", "f"}
    assert part.text == "X: Every = 1\n\n\ndef f():\n    y = 2\n"


def test_blank_lines_in_a_string_stay() -> None:
    source = 'X = """a\n\n\n\nb"""\n\n\n\n\nY = 1\n'
    assert JOINER.take_apart(source, "it").text == 'X = """a\n\n\n\nb"""\n\n\nY = 1\n'


def test_line_ends_of_another_system() -> None:
    part = JOINER.take_apart("import os\r\n\r\nX = os\r\n", "it")
    assert part.text == "X = os\n"


def test_imports_are_merged_and_sorted() -> None:
    one = JOINER.take_apart("import torch\nimport os\nfrom typing import cast\n", "one")
    two = JOINER.take_apart("import ast\nimport torch\nfrom typing import Any\n", "two")
    assert JOINER.merge_imports([one, two]).splitlines() == [
        "import ast",
        "import os",
        "from typing import Any, cast",
        "",
        "import torch",
        "",
    ]


def test_long_import_is_wrapped() -> None:
    names = [f"a_rather_long_name_{n}" for n in range(6)]
    part = JOINER.take_apart(f"from torch import {', '.join(names)}\n", "it")
    lines = JOINER.merge_imports([part]).splitlines()
    assert lines[0] == "from torch import ("
    assert lines[1] == f"    {names[0]},"
    assert lines[7] == ")"


def test_no_imports_are_no_block() -> None:
    assert JOINER.merge_imports([JOINER.take_apart("X = 1\n", "it")]) == ""


def test_taken_names() -> None:
    part = JOINER.take_apart("X = 1\n", "it")
    with pytest.raises(PluginError) as caught:
        JOINER.merge_imports([part], {"X": "the tables"})
    assert str(caught.value).splitlines() == [
        "here: two parts of a file bind the same name",
        "  expected: other names",
        "  found: X in the tables and in it",
        "  to do: rename it",
    ]


def test_section() -> None:
    source = '"""' + "word " * 30 + '"""\n\n\ndef f(): ...\n'
    lines = JOINER.take_apart(source, "it").section().splitlines()
    assert lines[0] == banner("it").strip() == "# --- it " + "-" * (WIDTH - 9)
    assert [line[:7] for line in lines[1:3]] == ["# word ", "# word "]
    assert lines[3:] == ["", "", "def f(): ..."]
    assert max(len(line) for line in lines) <= WIDTH
