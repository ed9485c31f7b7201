"""Plain source: a folder of .py files, without SGLang and without any facts."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fibcore.elaborate.python.evaluator import Evaluator
from fibcore.elaborate.python.index import ModuleIndex
from fibcore.model.tree import SourcePlace


class PlainSource:
    """A folder of .py files that a test writes, and an evaluator of it.

    `value(text)` evaluates what `text` binds to `x`; `attributes(body)` runs `body` as the
    constructor of a class and gives what it assigns to self. `foreign` is in no folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.evaluator = self.fresh()

    def fresh(self) -> Evaluator:
        """An evaluator that has read nothing of the folder yet."""
        return Evaluator(ModuleIndex(self.root))

    def write(self, path: str, text: str) -> None:
        """Write a file, `package/module.py`."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text), encoding="utf-8")

    def value(self, text: str, name: str = "x") -> Any:
        """The value of a name in the module `made`."""
        self.write("made.py", text)
        return self.fresh().value("made", name)

    def attributes(self, body: str, before: str = "") -> Mapping[str, Any]:
        """What the constructor `body` assigns to self, with the module-level code `before`."""
        self.write(
            "made.py",
            f"import foreign\n{textwrap.dedent(before)}\nclass Made:\n    def __init__(self):\n"
            + textwrap.indent(textwrap.dedent(body), " " * 8),
        )
        evaluator = self.fresh()
        made = evaluator.call("made", "Made")
        here = SourcePlace("made.py", 1)
        return {name: evaluator.attributes.get(made, name, here) for name in made.attrs}


@pytest.fixture
def plain(tmp_path: Path) -> PlainSource:
    """Plain source, evaluated without any environment."""
    return PlainSource(tmp_path)
