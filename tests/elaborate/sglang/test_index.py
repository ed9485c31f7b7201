"""The index of a SGLang tree: model files and the architectures that they register."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fibcore.elaborate import model_files
from fibcore.elaborate.python.index import SourceModule
from fibcore.elaborate.sglang.index import SourceIndex, entry_classes
from fibcore.errors import ElaborationError, SourceError
from fibcore.sources.tree import SourceTree


def module(tmp_path: Path, text: str) -> SourceModule:
    (tmp_path / "srt").mkdir()
    (tmp_path / "srt" / "m.py").write_bytes(text.encode())
    found = SourceIndex(tmp_path).module("sglang.srt.m")
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("class A: pass\nEntryClass = A\n", ("A",)),
        ("EntryClass = [A, B]\n", ("A", "B")),
        ("EntryClass = (\n    A,\n    B,\n)\n", ("A", "B")),
        ("EntryClass: list = [A, A]\n", ("A",)),
        ("class C:\n    EntryClass = A\n", ()),
        ("# EntryClass = A\n", ()),
        ("EntryClass = [A]\nEntryClass += [B]\n", ("A", "B")),
    ],
)
def test_entry_classes(tmp_path: Path, text: str, expected: tuple[str, ...]) -> None:
    assert entry_classes(module(tmp_path, text)) == expected


def test_model_files(made: Any) -> None:
    made.write("srt/models/other.py", "EntryClass = [B, C]\n")
    made.write("srt/models/helper.py", "A = 1\n")
    source = SourceTree(made.root, "0.5.9", None, "made up")
    assert model_files(source) == {"other": ("B", "C"), "tiny": ("TinyForCausalLM",)}
    with pytest.raises(ElaborationError, match="no models"):
        model_files(SourceTree(made.root / "srt", None, None, "made up"))


def test_a_model_file_that_does_not_parse(made: Any) -> None:
    with pytest.raises(SourceError) as caught:
        made.tree("from torch import nn\nclass Model(nn.Module)\n    pass\nEntryClass = Model\n")
    assert caught.value.where == "sglang/srt/models/made.py:2"
