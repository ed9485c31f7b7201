"""The pictures of docs/: as tools/pictures.py draws them, whole, and shown by a page."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Each picture anew, by the name of its file."""
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import pictures

    return {f"{name}.svg": pictures.drawn(text) for name, text in pictures.PICTURES.items()}


def test_pictures_are_as_their_text_says(drawn: dict[str, str]) -> None:
    there = {p.name: p.read_text("utf-8") for p in (ROOT / "docs/pictures").iterdir()}
    assert there == drawn, "python tools/pictures.py draws them anew"
    pages = "".join(page.read_text("utf-8") for page in (ROOT / "docs").glob("*.md"))
    for name in drawn:
        assert f"](pictures/{name})" in pages


def test_texts_fit_their_boxes(drawn: dict[str, str]) -> None:
    for name, text in drawn.items():
        for line in ET.fromstring(text).iter(f"{SVG}text"):  # noqa: S314 - our own
            assert line.text is not None
            assert len(line.text) * 6.6 <= 236, f"{name}: {line.text}"
