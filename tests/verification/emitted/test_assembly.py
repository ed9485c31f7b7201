"""The emitted conftest.py as a whole, and what keeps modules from being joined."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest

from fibcore.verification import emitted
from fibcore.verification.emitted import conftest_text
from fibcore.verification.emitted.assembly import (
    MODULES,
    PACKAGE,
    AssemblyError,
    assemble,
)

FOLDER = Path(emitted.__file__).parent
ROOT = Path(__file__).parents[3]
A, B = f"{PACKAGE}.a", f"{PACKAGE}.b"


def join(one: str, two: str = "") -> str:
    return assemble({"first": one, "second": two}, {"first": A, "second": B})


def refusal(one: str, two: str = "") -> str:
    with pytest.raises(AssemblyError) as caught:
        join(one, two)
    return str(caught.value)


def test_every_module_is_in_it_once() -> None:
    modules = {path.stem for path in FOLDER.glob("*.py")} - {"__init__", "assembly"}
    assert set(MODULES) == modules


def test_it_is_the_same_every_time() -> None:
    assert conftest_text() == conftest_text()


def test_everything_that_the_modules_bind_is_bound_once() -> None:
    def bound(text: str) -> Counter[str]:
        names: Counter[str] = Counter()
        for node in ast.parse(text).body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                names[node.name] += 1
            elif isinstance(node, ast.Assign):
                names.update(t.id for t in node.targets if isinstance(t, ast.Name))
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                names[node.target.id] += 1
        return names

    wanted: Counter[str] = Counter()
    for name in MODULES:
        wanted += bound((FOLDER / f"{name}.py").read_text(encoding="utf-8"))
    assert bound(conftest_text()) == wanted
    assert set(wanted.values()) == {1}


def test_it_imports_torch_and_pytest_alone() -> None:
    text = conftest_text()
    roots = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            roots |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            roots.add((node.module or "").partition(".")[0])
    assert roots - sys.stdlib_module_names == {"torch", "pytest"}
    assert text.count("from __future__") == 1
    assert "import fibcore" not in text
    assert "from fibcore" not in text


def test_it_has_the_hooks_and_fixtures() -> None:
    names = {n.name for n in ast.parse(conftest_text()).body if isinstance(n, ast.FunctionDef)}
    assert {n for n in names if n.startswith("pytest_")} == {
        "pytest_addoption",
        "pytest_collection_modifyitems",
        "pytest_configure",
        "pytest_generate_tests",
        "pytest_report_header",
        "pytest_report_teststatus",
    }
    assert {"definition_file", "agreement", "property_check"} <= names


@pytest.mark.skipif(find_spec("ruff") is None, reason="ruff is not installed")
@pytest.mark.parametrize("command", [("check", "--no-cache"), ("format", "--check", "--no-cache")])
def test_it_is_what_a_formatter_would_write(tmp_path: Path, command: tuple[str, ...]) -> None:
    path = tmp_path / "conftest.py"
    path.write_text(conftest_text(), encoding="utf-8")
    done = subprocess.run(  # noqa: S603  (our own command)
        [sys.executable, "-m", "ruff", *command, "--config", ROOT / "pyproject.toml", path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_text_needs_neither_torch_nor_pytest() -> None:
    code = f"import sys\nfrom {PACKAGE} import conftest_text\nconftest_text()\n"
    code += "print({'torch', 'pytest'} & set(sys.modules))"
    done = subprocess.run(  # noqa: S603  (our own command)
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


def test_modules_become_sections() -> None:
    one = '"""First of two.\n\nIt has one."""\n\nfrom __future__ import annotations\n\n'
    one += "import os\nfrom typing import Any\n\nONE: Any = os\n"
    two = f"from __future__ import annotations\n\nimport ast\n\nfrom {A} import ONE\n"
    two += "\n\ndef two():\n    return ast, ONE\n"
    text = join(one, two).rpartition('"""\n')[2]
    assert text.splitlines() == [
        "",
        "from __future__ import annotations",
        "",
        "import ast",
        "import os",
        "from typing import Any",
        "",
        "# --- first ".ljust(100, "-"),
        "# First of two.",
        "#",
        "# It has one.",
        "",
        "ONE: Any = os",
        "",
        "",
        "# --- second ".ljust(100, "-"),
        "",
        "",
        "def two():",
        "    return ast, ONE",
    ]


@pytest.mark.parametrize("name", ["_private", "public"])
def test_name_of_two_modules(name: str) -> None:
    said = refusal(f"def {name}(): ...\n", f"{name} = 1\n")
    assert "two parts of the emitted conftest.py bind the same name" in said
    assert f"found: {name} in first and in second" in said


def test_import_that_another_module_binds_otherwise() -> None:
    assert "found: os: imported, and bound in second" in refusal("import os\n", "os = 1\n")
    said = refusal("from a import x\n", "from b import x\n")
    assert "found: x from a.x and from b.x" in said


@pytest.mark.parametrize(
    "statement",
    [
        f"from {A} import missing",
        f"from {A} import ONE as OTHER",
        f"from {B} import TWO",
        f"import {A}",
        "import fibcore",
        "from fibcore.errors import FibcoreError",
    ],
)
def test_import_that_the_joined_file_could_not_serve(statement: str) -> None:
    said = refusal("ONE = 1\n", f"{statement}\nTWO = 2\n")
    assert "imports what no module above it binds" in said
    assert "found: second: " in said


@pytest.mark.parametrize("statement", [f"from {A} import ONE", f"import {A}"])
def test_import_inside_a_function(statement: str) -> None:
    said = refusal("ONE = 1\n", f"def two():\n    {statement}\n")
    assert "not at the top level" in said
    assert "found: second, line 2" in said


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("from . import a\n", "no package to import from"),
        ("from os import *\n", "no star imports"),
        ("import os; X = 1\n", "shares its line"),
        ("def (:\n", "second is not Python"),
    ],
)
def test_source_that_cannot_be_joined(source: str, said: str) -> None:
    assert said in refusal("ONE = 1\n", source)
