"""The transformers release that goes with a SGLang tree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fibcore.elaborate.transformers import pins
from fibcore.elaborate.transformers.pins import pinned_transformers
from fibcore.errors import (
    SourceError,
)
from fibcore.sources.tree import SourceTree


def test_the_nearest_release_stands_in_for_one_that_cannot_be_had(
    made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fibcore.sources import finding

    def no_network(spec: str, *_: Any, **__: Any) -> SourceTree:
        raise SourceError(f"no route to the index ({spec})")

    monkeypatch.setattr(finding, "find_source", no_network)
    pins.table_of.cache_clear()
    (made.root.parent / "pyproject.toml").write_text('dependencies = ["transformers==4.56.8"]\n')
    model = made.tree(
        "from torch import nn\nclass Model(nn.Module):\n    def __init__(self, config):\n"
        "        super().__init__()\n        self.x = config.rms_norm_eps\n"
        "    def forward(self):\n        pass\nEntryClass = Model\n",
        config={"model_type": "llama"},
    )
    assert model.root.attributes["x"] == 1e-6
    release, sizes = model.warnings
    for part in ("4.57.1", "4.56.8", "no route", "pypi:transformers==4.56.8"):
        assert part in release
    assert "vocab_size is not in the config: the default of LlamaConfig" in sizes
    pins.table_of.cache_clear()


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("sglang-0.5.9.dist-info/METADATA", "Requires-Dist: transformers==4.57.1\n", "4.57.1"),
        ("sglang-0.5.9.dist-info/METADATA", "Requires-Dist: transformers == 5.3.0\n", "5.3.0"),
        ("pyproject.toml", 'dependencies = ["torch==2.9", "transformers==4.57.1"]\n', "4.57.1"),
        ("../pyproject.toml", '  "transformers==4.57.1",\n', "4.57.1"),
        ("pyproject.toml", 'dependencies = ["transformers>=4.57"]\n', None),
        ("other.toml", '"transformers==4.57.1"\n', None),
    ],
)
def test_the_release_that_a_tree_wants(
    tmp_path: Path, file: str, text: str, expected: str | None
) -> None:
    root = tmp_path / "python" / "sglang"
    root.mkdir(parents=True)
    path = root.parent / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    assert pinned_transformers(root) == expected
