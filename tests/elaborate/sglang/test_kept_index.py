"""The parsed files of a source are kept for the next model, and read anew where one changed."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from fibcore.elaborate.sglang import index as indices
from fibcore.elaborate.sglang.index import index_of

SOURCE = "from torch import nn\nclass Model(nn.Module):\n    def __init__(self, config):\n        "
SOURCE += "super().__init__()\n        self.size = config.hidden_size + {}\nEntryClass = Model\n"


@pytest.fixture
def root(tiny_source: Path) -> Path:
    return tiny_source / "sglang"


def test_a_source_that_did_not_change_is_not_read_again(root: Path) -> None:
    first = index_of(root)
    module = first.module("sglang.srt.models.tiny")
    assert module is not None
    assert index_of(root) is first
    assert index_of(root).module("sglang.srt.models.tiny") is module


@pytest.mark.parametrize("change", ["written", "removed", "added"])
def test_a_change_is_seen(root: Path, change: str) -> None:
    first = index_of(root)
    first.module("sglang.srt.models.tiny")
    first.module("sglang.srt.models.other")
    file = root / "srt/models/tiny.py"
    if change == "written":
        file.write_text(file.read_text() + "\n")
    elif change == "removed":
        file.unlink()
    else:
        (root / "srt/models/other.py").write_text("x = 1\n")
    assert index_of(root) is not first


def test_a_file_of_the_same_size_is_read_again(made: Any) -> None:
    sizes = [int(made.tree(SOURCE.format(number)).root.attributes["size"]) for number in (1, 2)]
    assert sizes == [65, 66]


def test_another_source_and_another_thread_have_their_own(root: Path, made: Any) -> None:
    first = index_of(root)
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(index_of(root)))
    thread.start()
    thread.join()
    assert found[0] is not first
    assert index_of(made.root) is not first


def test_no_more_is_kept_than_one_large_model_takes(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = index_of(root)
    module = first.module("sglang.srt.models.tiny")
    assert module is not None
    assert first.size == 0
    assert first.size == 0 < len(module.text) == first.size
    monkeypatch.setattr(indices, "_MAX_KEPT", 0)
    assert index_of(root) is not first
