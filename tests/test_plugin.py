"""`fibcore.plugin`: light to import, and all that plugins import of fibcore."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path, PurePath

import pytest

from fibcore import plugin

PLUGINS = Path(__file__).parents[1] / "plugins"
FILES = sorted(PLUGINS.rglob("*.py"))


def test_every_name_is_there_and_in_order() -> None:
    assert sorted(plugin.__all__, key=lambda n: (not n.isupper(), not n[0].isupper(), n)) == (
        plugin.__all__
    )
    assert all(getattr(plugin, name) is not None for name in plugin.__all__)
    with pytest.raises(AttributeError, match="no attribute 'missing'"):
        plugin.missing  # noqa: B018


def test_importing_it_loads_nothing_heavy_until_it_is_used() -> None:
    code = (
        "import sys, fibcore.plugin\n"
        "heavy = {'numpy', 'torch', 'transformers', 'rapidfuzz', 'fibcore.elaborate', 'click'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "from fibcore.plugin import generator\n"
        "assert 'numpy' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 - our own


def imported(file: Path) -> Iterator[str]:
    """The modules that a file imports, also inside functions and below TYPE_CHECKING."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "fibcore":
            yield from (f"fibcore.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative imports are not followed here"
            yield node.module or ""


EMITTED = ("ground_truths/*.py", "references/*.py", "*test_template.py")
"""Files of a plugin's package that emitted tests hold; nothing imports them."""

ALLOWED = {
    "torch": EMITTED,
    # What draws the numbers of workloads; functions of it import NumPy when they are called. And
    # what hands NumPy to functions of SGLang's that need it.
    "numpy": ("references/*.py", "workloads.py", "drawn_*.py", "ground_truths/sglang_*.py"),
    "ml_dtypes": ("workloads.py", "drawn_*.py"),
    "flashinfer": ("ground_truths/*.py",),
    **dict.fromkeys(("safetensors", "sglang", "transformers", "triton"), ()),
}
"""Heavy packages, and those compared with: the files of a plugin's package that may have them."""


def wrong_imports(file: Path) -> list[str]:
    """What a file of a plugin imports and may not."""
    plugin, folder, *rest = file.relative_to(PLUGINS).parts
    own, is_test = f"fibcore_{plugin}", folder == "tests"
    ours = ("fibcore.plugin", "fibcore.testing") if is_test else ("fibcore.plugin",)
    found = []
    for module in imported(file):
        package = module.partition(".")[0]
        if package == "fibcore":
            right = any(f"{module}.".startswith(f"{one}.") for one in ours)
        elif package.startswith("fibcore_op_"):
            right = package == own
        else:
            where = ALLOWED.get(package, ("*", "*/*"))
            right = is_test or any(PurePath(*rest).match(one) for one in where)
        if not right:
            found.append(module)
    return found


def test_plugins_are_looked_at() -> None:
    assert {path.parent.name for path in PLUGINS.glob("*/pyproject.toml")} <= {
        file.relative_to(PLUGINS).parts[0] for file in FILES
    }


def test_plugins_import_fibcore_plugin_and_nothing_heavy_and_no_other_plugin() -> None:
    found = {str(file.relative_to(PLUGINS)): wrong_imports(file) for file in FILES}
    assert {file: wrong for file, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize(
    ("place", "statement"),
    [
        ("fibcore_op_x/matcher.py", "from fibcore.model import tree"),
        ("fibcore_op_x/matcher.py", "import fibcore"),
        ("fibcore_op_x/matcher.py", "from fibcore.testing import trees"),
        ("fibcore_op_x/matcher.py", "from fibcore_op_y import names"),
        ("fibcore_op_x/matcher.py", "def f():\n    import torch.nn"),
        ("fibcore_op_x/cost.py", "import numpy as np"),
        ("fibcore_op_x/test_template.py", "from flashinfer.norm import rmsnorm"),
        ("tests/test_matcher.py", "from fibcore.ops import registry"),
        ("tests/test_matcher.py", "import fibcore_op_y"),
    ],
)
def test_a_wrong_import_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, statement: str
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "PLUGINS", tmp_path)
    file = tmp_path / "op_x" / place
    file.parent.mkdir(parents=True)
    file.write_text(f"import fibcore_op_x\nfrom fibcore.plugin import render\n{statement}\n")
    assert len(wrong_imports(file)) == 1
