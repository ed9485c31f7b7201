"""What is unknown stays unknown: no outcome of CPython is excluded, whatever the unknown is."""

from __future__ import annotations

from pathlib import Path

import pytest
from outcomes import Snippet, parts, snippets, uncovered

TEXT = (Path(__file__).parent / "snippets" / "unknown.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("some", parts(snippets(TEXT)))
def test_no_outcome_is_excluded(tmp_path: Path, some: list[Snippet]) -> None:
    found = {snippet.name: uncovered(tmp_path, snippet) for snippet in some}
    assert len(found) == len(some) > 0
    assert {name: wrong for name, wrong in found.items() if wrong} == {}
