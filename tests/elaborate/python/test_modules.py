"""Imports, and names that modules bind."""

from __future__ import annotations

from typing import Any

import pytest

from fibcore.model.tree import Unknown

MODEL = """
from torch import nn
{before}

class Model(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.x = {value}

EntryClass = Model
"""


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


def test_a_module_asks_the_package_that_has_all_its_names_for_another_of_its_modules(
    made: Any,
) -> None:
    made.write("srt/box/__init__.py", "from .entry import *\nfrom . import own\n")
    made.write("srt/box/entry.py", "from sglang.srt.box import tools\nVALUE = tools.NUMBER\n")
    made.write("srt/box/tools.py", "NUMBER = 3\n")
    made.write("srt/box/own.py", "NUMBER = 4\n")
    found = made.attributes(
        "self.x = (VALUE, tools.NUMBER, own.NUMBER)",
        before="from sglang.srt.box import VALUE, tools, own",
    )
    assert found["x"] == (3, 3, 4)
