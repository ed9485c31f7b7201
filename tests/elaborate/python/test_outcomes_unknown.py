"""What is unknown stays unknown: no outcome of CPython is excluded, whatever the unknown is."""

from __future__ import annotations

from pathlib import Path

import pytest
from outcomes import Snippet, snippets, uncovered

TEXT = (Path(__file__).parent / "snippets" / "unknown.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("snippet", snippets(TEXT), ids=lambda s: s.name)
def test_no_outcome_is_excluded(tmp_path: Path, snippet: Snippet) -> None:
    assert uncovered(tmp_path, snippet) == []
