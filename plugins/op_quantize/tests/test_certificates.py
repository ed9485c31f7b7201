"""Certificates: every kind of quantisation is told from the wrong ones that the plugin knows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import fibcore
from fibcore.plugin import Definition
from fibcore_op_quantize.kinds import KINDS

pytest.importorskip("torch")
pytest.importorskip("safetensors")


# Groups of other sizes run the same lines.
@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.endswith(("_g32", "_g64"))])
def test_each_kind_is_certified(
    definition: Callable[..., Definition], kind: str, tmp_path: Path
) -> None:
    """An output of one byte an element is compared in its format."""
    made = definition(kind, 512)
    path = tmp_path / "definitions" / made.op_type / f"{made.name}.json"
    path.parent.mkdir(parents=True)
    path.write_text(made.to_json(), encoding="utf-8")
    fibcore.add_workloads(dataset=tmp_path, all_=True, limit=3)
    (found,) = fibcore.certify(dataset=tmp_path, all_=True, device="cpu").certificates
    assert found.reasons == ()
    assert found.certified
