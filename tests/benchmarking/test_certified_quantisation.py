"""Certificates: every kind of quantisation is told from the wrong ones that the plugin knows."""

from __future__ import annotations

from pathlib import Path

import pytest

import fibcore
from fibcore.plugin import Kernel
from fibcore.testing.shares import a_share

pytest.importorskip("torch")
pytest.importorskip("safetensors")
KINDS = pytest.importorskip("fibcore_op_quantize.kinds").KINDS


# Groups of other sizes run the same lines.
@pytest.mark.parametrize(
    "kind", a_share((kind for kind in KINDS if not kind.endswith(("_g32", "_g64"))), 3)
)
def test_each_kind_is_certified(kind: str, tmp_path: Path) -> None:
    """An output of one byte an element is compared in its format."""
    from fibcore_op_quantize import fibcore_reference
    from fibcore_op_quantize.names import kernel_name

    name = kernel_name(KINDS[kind], 256)
    made = fibcore_reference(Kernel("quantize", name, {"kind": kind, "K": 256}, {}, (), ()))
    path = tmp_path / "definitions" / made.op_type / f"{made.name}.json"
    path.parent.mkdir(parents=True)
    path.write_text(made.to_json(), encoding="utf-8")
    fibcore.add_workloads(dataset=tmp_path, all_=True, limit=2)
    (found,) = fibcore.certify(dataset=tmp_path, all_=True, device="cpu").certificates
    assert found.reasons == ()
    assert found.certified
