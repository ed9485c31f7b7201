"""`fibcore.plugin`: light to import, and all that plugins import of fibcore."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

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
    """The modules of fibcore that a file imports, also inside functions and from strings."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "fibcore":
            names = [f"fibcore.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            continue
        yield from (name for name in names if name == "fibcore" or name.startswith("fibcore."))


def test_plugins_are_looked_at() -> None:
    assert {"op_gemm", "op_gqa", "op_mla", "op_moe", "op_rmsnorm"} <= {
        file.relative_to(PLUGINS).parts[0] for file in FILES
    }


@pytest.mark.parametrize("file", FILES, ids=lambda p: str(p.relative_to(PLUGINS)))
def test_plugins_import_fibcore_plugin_alone_and_their_tests_fibcore_testing(file: Path) -> None:
    allowed = ["fibcore.plugin"]
    if "tests" in file.relative_to(PLUGINS).parts:
        allowed.append("fibcore.testing")
    others = [m for m in imported(file) if not any(f"{m}.".startswith(f"{a}.") for a in allowed)]
    assert others == []
