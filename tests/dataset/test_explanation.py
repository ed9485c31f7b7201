"""Where the numbers of a definition come from, as the API says it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fibcore.dataset.explanation import explain
from fibcore.errors import DatasetError, UsageError
from fibcore.extraction.run import extract
from fibcore.ops.registry import Registry


def test_explain(
    tiny_source: Path, tiny_config: Path, tmp_path: Path, op_plugins: Registry
) -> None:
    with pytest.raises(DatasetError, match="no dataset"):
        explain("rmsnorm_h64", dataset=tmp_path / "d")
    extract(
        "tiny",
        dataset=tmp_path / "d",
        sglang=str(tiny_source),
        config=tiny_config,
        registry=op_plugins,
    )
    found = explain("rmsnorm_h64", dataset=tmp_path / "d")
    assert found.provenance is not None
    (entry,) = found.provenance.entries
    assert entry.facts["hidden_size"].value == 64
    assert "config:hidden_size" in entry.facts["hidden_size"].origins
    assert json.loads(json.dumps(found.to_dict()))["provenance"][0]["layers"] == 1
    with pytest.raises(UsageError, match="rmsnorm_h64"):
        explain("rmsnorm_h6", dataset=tmp_path / "d")
    (tmp_path / "d/reports/provenance/rmsnorm_h64.json").unlink()
    assert explain("rmsnorm_h64", dataset=tmp_path / "d").provenance is None
