"""README.md shows what the commands print."""

from __future__ import annotations

import difflib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_blocks_are_what_the_commands_print(
    sglang: Callable[[str], Path],
    installed_plugins: None,  # noqa: ARG001 - asked for what it checks
) -> None:
    path = ROOT / "tools" / "readme_blocks.py"
    spec = importlib.util.spec_from_file_location("readme_blocks", path)
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    if sys.platform == "win32":
        pytest.skip("the tool makes links")
    text = tool.README.read_text("utf-8")
    anew = tool.written_anew(text, sglang(tool.RELEASE))
    changed = "\n".join(
        difflib.unified_diff(text.splitlines(), anew.splitlines(), lineterm="", n=0)
    )
    assert not changed, f"python tools/readme_blocks.py SGLANG writes them anew:\n{changed}"


def test_the_definitions_of_the_evidence_are_counted() -> None:
    folder = ROOT / "data" / "evidence"
    count = len([path for path in folder.rglob("*.json") if "benchmarks" not in path.parts])
    assert f"{count:,} definitions" in (folder / "README.md").read_text("utf-8")
