"""The source index and imports: files are cut into statements, and read when a name is wanted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fibcore.elaborate import model_files
from fibcore.elaborate.python.index import SourceModule
from fibcore.elaborate.sglang.index import SourceIndex, entry_classes
from fibcore.errors import ElaborationError, SourceError
from fibcore.model.tree import Unknown
from fibcore.sources.tree import SourceTree

MODEL = """
from torch import nn
{before}

class Model(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.x = {value}

EntryClass = Model
"""


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
    assert index.resolve_relative(norm, 1, "x") == "sglang.srt.layers.x"
    assert index.resolve_relative(norm, 1, None) == "sglang.srt.layers"
    assert index.resolve_relative(norm, 2, "utils") == "sglang.srt.utils"
    assert index.resolve_relative(package, 1, "norm") == "sglang.srt.layers.norm"
    assert index.resolve_relative(package, 2, "utils.a") == "sglang.srt.utils.a"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("class A: pass\nEntryClass = A\n", ("A",)),
        ("EntryClass = [A, B]\n", ("A", "B")),
        ("EntryClass = (\n    A,\n    B,\n)\n", ("A", "B")),
        ("EntryClass: list = [A, A]\n", ("A",)),
        ("class C:\n    EntryClass = A\n", ()),
        ("# EntryClass = A\n", ()),
        ("EntryClass = [A]\nEntryClass += [B]\n", ("A", "B")),
    ],
)
def test_entry_classes(tmp_path: Path, text: str, expected: tuple[str, ...]) -> None:
    assert entry_classes(module(tmp_path, text)) == expected


def test_model_files(made: Any) -> None:
    made.write("srt/models/other.py", "EntryClass = [B, C]\n")
    made.write("srt/models/helper.py", "A = 1\n")
    source = SourceTree(made.root, "0.5.9", None, "made up")
    assert model_files(source) == {"other": ("B", "C"), "tiny": ("TinyForCausalLM",)}
    with pytest.raises(ElaborationError, match="no models"):
        model_files(SourceTree(made.root / "srt", None, None, "made up"))


IMPORTS: dict[str, tuple[dict[str, str], str, str, Any]] = {
    "a name of a module": ({"srt/a.py": "V = 4\n"}, "from sglang.srt.a import V as W", "W", 4),
    "a module": ({"srt/a.py": "V = 4\n"}, "from sglang.srt import a", "a.V", 4),
    "a dotted module": ({"srt/a.py": "V = 4\n"}, "import sglang.srt.a", "sglang.srt.a.V", 4),
    "a dotted module by another name": (
        {"srt/a.py": "V = 4\n"},
        "import sglang.srt.a as b",
        "b.V",
        4,
    ),
    "a relative import": ({"srt/models/a.py": "V = 4\n"}, "from .a import V", "V", 4),
    "a relative import of a module": ({"srt/a.py": "V = 4\n"}, "from .. import a", "a.V", 4),
    "a folder without __init__": (
        {"srt/new/a.py": "V = 4\n"},
        "from sglang.srt.new.a import V",
        "V",
        4,
    ),
    "what a package imports": (
        {"srt/new/__init__.py": "from .a import V\n", "srt/new/a.py": "V = 4\n"},
        "from sglang.srt.new import V",
        "V",
        4,
    ),
    "a star import": ({"srt/a.py": "V = 4\n_H = 1\n"}, "from sglang.srt.a import *", "V", 4),
    "a star import through another": (
        {"srt/a.py": "V = 4\n", "srt/b.py": "from sglang.srt.a import *\n"},
        "from sglang.srt.b import *",
        "V",
        4,
    ),
    "modules that import each other": (
        {
            "srt/a.py": "from sglang.srt import b\nV = 4\ndef f():\n    return b.g()\n",
            "srt/b.py": "from sglang.srt.a import V\ndef g():\n    return V\n",
        },
        "from sglang.srt.a import f",
        "f()",
        4,
    ),
    "an import inside of a function": (
        {"srt/a.py": "V = 4\n"},
        "def f():\n    from sglang.srt.a import V\n    return V",
        "f()",
        4,
    ),
    "an absent module of the tree": (
        {},
        "try:\n    from sglang.srt.absent import V\nexcept ImportError:\n    V = 'absent'",
        "V",
        "absent",
    ),
    "an absent package": (
        {},
        "try:\n    import vllm\n    V = 'there'\nexcept ImportError:\n    V = 'absent'",
        "V",
        "absent",
    ),
    "an absent package's module": (
        {},
        "try:\n    from aiter.ops import x\n    V = 1\nexcept ModuleNotFoundError:\n    V = 'no'",
        "V",
        "no",
    ),
    "a package that is there": (
        {},
        "try:\n    import sgl_kernel\n    V = 'there'\nexcept ImportError:\n    V = 'absent'",
        "V",
        "there",
    ),
    "imports for type checkers": (
        {},
        "import typing\nV = 1\nif typing.TYPE_CHECKING:\n    from sglang.srt.absent import V",
        "V",
        1,
    ),
    "a name with a byte-order mark before it": (
        {"srt/a.py": "\ufeffV = 4\n"},
        "from sglang.srt.a import V",
        "V",
        4,
    ),
    "names bound under a condition": (
        {"srt/a.py": "import sys\nif sys.platform == 'win32':\n    V = 1\nelse:\n    V = 4\n"},
        "from sglang.srt.a import V",
        "V",
        4,
    ),
    "a registry that other statements fill": (
        {"srt/a.py": "R = {}\ndef register(k):\n    R[k] = 4\nregister('k')\nR['l'] = 5\n"},
        "from sglang.srt.a import R",
        "R['l']",
        5,
    ),
    "a name that the file needs a newer interpreter for elsewhere": (
        {"srt/a.py": "V = 4\ndef f():\n    1 = = 2\n"},
        "from sglang.srt.a import V",
        "V",
        4,
    ),
}


@pytest.mark.parametrize("name", IMPORTS)
def test_imports(made: Any, name: str) -> None:
    files, before, value, expected = IMPORTS[name]
    for path, text in files.items():
        made.write(path, text)
    tree = made.tree(MODEL.format(before=before, value=value))
    assert tree.root.attributes["x"] == expected


def test_a_name_that_a_module_does_not_have_is_not_known(made: Any) -> None:
    made.write("srt/a.py", "V = 4\n")
    tree = made.tree(MODEL.format(before="from sglang.srt.a import W", value="W"))
    found = tree.root.attributes["x"]
    assert isinstance(found, Unknown)
    assert "sglang.srt.a has no W" in found.reason


def test_a_model_file_that_does_not_parse(made: Any) -> None:
    with pytest.raises(SourceError) as caught:
        made.tree("from torch import nn\nclass Model(nn.Module)\n    pass\nEntryClass = Model\n")
    assert caught.value.where == "sglang/srt/models/made.py:2"


def test_what_raises_at_import_is_not_known(made: Any) -> None:
    before = "def check():\n    raise RuntimeError('no driver')\nV = check()"
    found = made.tree(MODEL.format(before=before, value="V")).root.attributes["x"]
    assert isinstance(found, Unknown)
    assert "no driver" in found.reason


def test_a_name_that_an_import_binds_before_a_class_does(made: Any) -> None:
    # Resolving `Other` runs the import, which binds `Layer` to the base class as well.
    made.write(
        "srt/models/base.py",
        """
        from torch import nn

        class Layer(nn.Module):
            size = 1

        class Other:
            pass
        """,
    )
    found = made.attributes(
        "self.other = Other is not None\nself.size = Layer.size",
        before="from sglang.srt.models.base import Layer, Other\n"
        "class Layer(Layer):\n    size = 2\n",
    )
    assert found["size"] == 2
