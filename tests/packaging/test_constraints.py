"""The lock holds every package that fibcore, its tests and its linters bring."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]

Closure = Callable[[Iterable[Requirement], Sequence[str]], dict[str, metadata.Distribution]]


def pinned() -> set[str]:
    """What constraints.txt pins for this Python."""
    lines = (line.partition("#")[0] for line in (ROOT / "constraints.txt").read_text().splitlines())
    found = [Requirement(line) for line in lines if line.strip()]
    assert all(str(r.specifier).startswith("==") for r in found)
    return {canonicalize_name(r.name) for r in found if not r.marker or r.marker.evaluate()}


def test_all_that_is_installed_for_tests_and_lint_is_pinned(closure_of: Closure) -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 reads no TOML")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    own = ("all", "bench", "dask", "docs", "lint", "report", "test", "verify", "web")
    texts = [*project["dependencies"], *(text for name in own for text in extras[name])]
    needed = closure_of([Requirement(text) for text in texts], ())
    assert len(needed) > 60
    assert not set(needed) - pinned()
