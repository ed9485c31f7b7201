"""Names that mean one thing in the whole code base."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import fibcore

ONE_MEANING = ("Plan", "Row", "Record", "Progress", "Session")


def test_general_words_name_one_class_each() -> None:
    defined: Counter[str] = Counter()
    for path in Path(fibcore.__file__).parent.rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                defined[node.name] += 1
            elif isinstance(node, ast.Assign):
                defined.update(t.id for t in node.targets if isinstance(t, ast.Name))
    assert {name: defined[name] for name in ONE_MEANING if defined[name] > 1} == {}
