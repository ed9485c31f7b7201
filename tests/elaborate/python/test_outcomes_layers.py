"""Each layer has the values that CPython computes for it, whatever is done with its index."""

from __future__ import annotations

from pathlib import Path

import pytest
from outcomes import Snippet, differing, parts, snippets

TEXT = (Path(__file__).parent / "snippets" / "layers.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("some", parts(snippets(TEXT)))
def test_layers_have_values_of_their_own(tmp_path: Path, some: list[Snippet]) -> None:
    found = {snippet.name: differing(tmp_path, snippet) for snippet in some}
    assert len(found) == len(some) > 0
    assert {name: wrong for name, wrong in found.items() if wrong} == {}
