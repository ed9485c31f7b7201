"""The source index: files are cut into statements, and read when a name is wanted."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from fibcore.elaborate.python.index import ModuleIndex, SourceModule, imported_from
from fibcore.elaborate.python.joined_index import JoinedIndex
from fibcore.elaborate.sglang.index import SourceIndex
from fibcore.errors import SourceError


def module(tmp_path: Path, text: str) -> SourceModule:
    (tmp_path / "srt").mkdir()
    (tmp_path / "srt" / "m.py").write_bytes(text.encode())
    found = SourceIndex(tmp_path).module("sglang.srt.m")
    assert found is not None
    return found


NAMES = (
    "A",
    "B",
    "C",
    "D",
    "E",
    "F",
    "f",
    "g",
    "h",
    "os",
    "path",
    "alias",
    "i",
    "w",
    "T",
    "hidden",
)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        # what each name is bound by: the lines of the statements (of a definition, of its `def`)
        ("A = 1\nB = 2\n", {"A": [1], "B": [2]}),
        ("\ufeffA = 1\n", {"A": [1]}),
        ("# note\n\n\ndef f():\n    pass\n\nclass C:\n    D = 1\n", {"f": [4], "C": [7], "D": []}),
        ("@decorator\n@other(\n    1,\n)\ndef f():\n    pass\nA = 1\n", {"f": [5], "A": [7]}),
        ("@decorator\nclass C:\n    pass\n", {"C": [2]}),
        ("async def g():\n    hidden = 1\n", {"g": [1], "hidden": []}),
        ('A = """\nB = 1\ndef f(): pass\n"""\nC = 3\n', {"A": [1], "B": [], "f": [], "C": [5]}),
        ("A = '''\nB = 1\n'''\nC = 3\n", {"A": [1], "B": [], "C": [4]}),
        (
            '"""Docs.\n\nB = 1\n"""\nA = "it\'s"\nC = \'"""\'\nD = 1\n',
            {"B": [], "A": [5], "C": [6], "D": [7]},
        ),
        ("A = 1  # it's\nB = 2\n", {"A": [1], "B": [2]}),
        ("A = [\n1,\n2,\n]\nB = {\n'k': 1\n}\n", {"A": [1], "B": [5]}),
        ("A = f(\nB,\n)\nC = 1\n", {"A": [1], "C": [4]}),
        (
            "if A:\n    B = 1\nelif C:\n    B = 2\nelse:\n    D = 3\nE = 4\n",
            {"B": [1], "D": [1], "E": [7]},
        ),
        (
            "try:\n    B = 1\nexcept ImportError:\n    B = 2\nfinally:\n    C = 3\n",
            {"B": [1], "C": [1]},
        ),
        ("for i in range(3):\n    A = i\n", {"i": [1], "A": [1]}),
        ("with f() as w:\n    A = 1\n", {"w": [1], "A": [1]}),
        (
            "import os\nimport os.path as path\nfrom a import b as alias\n",
            {"os": [1], "path": [2], "alias": [3]},
        ),
        (
            "A = B = 1\nC, (D, *E) = f()\nF: int = 3\n",
            {"A": [1], "B": [1], "C": [2], "D": [2], "E": [2], "F": [3]},
        ),
        ("T = {}\nT['a'] = 1\nT.update(b=2)\nT.k = 3\nT += f()\n", {"T": [1, 2, 3, 4, 5]}),
        ("A = 1; B = 2\n", {"A": [1], "B": [1]}),
        ("match T:\n    case 1:\n        A = 1\n", {"A": [1]}),
        ("", {}),
    ],
)
def test_statements_and_what_they_bind(
    tmp_path: Path, text: str, lines: dict[str, list[int]]
) -> None:
    found = module(tmp_path, text)
    for name, expected in lines.items():
        assert [s.nodes[0].lineno for s in found.binding(name) if s.nodes] == expected, name
    for name in set(NAMES) - set(lines):
        assert not [s for s in found.binding(name) if s.nodes], name


def test_places_are_those_of_the_file(tmp_path: Path) -> None:
    text = "A = 1\n\n\n@decorator\ndef f():\n    return 1\n\n\nB = [\n2]\nC = 3\n"
    found = module(tmp_path, text)
    assert found.binding("f")[0].nodes[0].lineno == 5
    assert found.binding("B")[0].nodes[0].lineno == 9
    assert found.binding("C")[0].nodes[0].lineno == 11


def test_only_what_is_wanted_is_parsed(tmp_path: Path) -> None:
    # `type X = int` and the like: syntax that an older interpreter does not know.
    found = module(tmp_path, "A = 1\ndef f():\n    1 = = 2\nB = 2\n")
    assert found.binding("B")[0].nodes
    with pytest.raises(SourceError) as caught:
        _ = found.binding("f")[0].nodes
    assert caught.value.where == "sglang/srt/m.py:3"


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "srt").mkdir()
    (tmp_path / "srt" / "m.py").write_bytes(b"A = '\xff'\n")
    found = SourceIndex(tmp_path).module("sglang.srt.m")
    assert found is not None
    with pytest.raises(SourceError, match="cannot be read"):
        _ = found.text


def test_modules_and_folders(tmp_path: Path) -> None:
    (tmp_path / "srt" / "models" / "deep").mkdir(parents=True)
    (tmp_path / "srt" / "models" / "one.py").write_text("")
    (tmp_path / "srt" / "models" / "deep" / "__init__.py").write_text("")
    index = SourceIndex(tmp_path)
    one, deep = index.module("sglang.srt.models.one"), index.module("sglang.srt.models.deep")
    assert one is not None
    assert deep is not None
    assert (one.file, one.is_package) == ("sglang/srt/models/one.py", False)
    assert deep.is_package
    assert index.module("sglang.srt.models") is None  # no __init__.py
    assert index.is_package_folder("sglang.srt.models")
    for name in ("torch", "sglang.srt.nothing", "other.srt", "other.srt.models"):
        assert index.module(name) is None
        assert not index.is_package_folder(name)


def test_names_cannot_lead_out_of_the_tree(tmp_path: Path) -> None:
    (tmp_path / "secret.py").write_text("A = 1\n")
    (tmp_path / "sglang" / "srt").mkdir(parents=True)
    index = SourceIndex(tmp_path / "sglang")
    for name in (
        "sglang.../secret",
        "sglang...secret",
        "sglang./../secret",
        "secret",
        "sglang..srt",
    ):
        assert index.module(name) is None


def test_relative_imports_are_resolved(tmp_path: Path) -> None:
    (tmp_path / "srt" / "layers").mkdir(parents=True)
    for file in ("srt/layers/__init__.py", "srt/layers/norm.py"):
        (tmp_path / file).write_text("")
    index = SourceIndex(tmp_path)
    package, norm = index.module("sglang.srt.layers"), index.module("sglang.srt.layers.norm")
    assert package is not None
    assert norm is not None
    for module, statement, expected in (
        (norm, "from .x import y", "sglang.srt.layers.x"),
        (norm, "from . import y", "sglang.srt.layers"),
        (norm, "from ..utils import y", "sglang.srt.utils"),
        (norm, "from ..... import y", ""),
        (norm, "from other.x import y", "other.x"),
        (package, "from .norm import y", "sglang.srt.layers.norm"),
        (package, "from ..utils.a import y", "sglang.srt.utils.a"),
    ):
        (node,) = ast.parse(statement).body
        assert isinstance(node, ast.ImportFrom)
        assert imported_from(module, node) == expected


def test_files_around_a_module_are_those_of_its_own_folder(tmp_path: Path) -> None:
    for file in ("one/part/a.py", "two/part/b.py"):
        (tmp_path / file).parent.mkdir(parents=True)
        (tmp_path / file).write_text("def register(x):\n    pass\n")
    program = ModuleIndex(tmp_path / "one", "one")
    joined = JoinedIndex(program, [ModuleIndex(tmp_path / "two", "two")])
    for name in ("one.part.a", "two.part.b"):
        area = joined.area(name)
        assert area is not None
        assert list(area.files) == [name]
    assert joined.area("three.part.c") is None
    assert joined.area("one.part.a") is program.area("one.part.a")
    (tmp_path / "two" / "part" / "c.py").write_text("x = 1\n")
    assert not joined.is_current()
