"""Each layer has the values that CPython computes for it, whatever is done with its index."""

from __future__ import annotations

from pathlib import Path

import pytest
from outcomes import Snippet, differing, snippets

TEXT = (Path(__file__).parent / "snippets" / "layers.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("snippet", snippets(TEXT), ids=lambda s: s.name)
def test_layers_have_values_of_their_own(tmp_path: Path, snippet: Snippet) -> None:
    assert differing(tmp_path, snippet) == []
