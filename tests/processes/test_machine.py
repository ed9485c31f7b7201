"""What this machine has: cores, memory, GPUs."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path

import pytest

from fibcore.errors import FibcoreError
from fibcore.processes import machine
from fibcore.processes.machine import Gpu, visible_ids
from fibcore.processes.sizes import GIB


def test_memory_of_processes_and_machine() -> None:
    if not Path("/proc/self/statm").exists():
        pytest.skip("there is no /proc")
    own = machine.resident_bytes(os.getpid())
    assert own is not None
    assert 5 << 20 < own < 100 * GIB
    assert machine.resident_bytes(2**22 + 1) is None
    free = machine.free_memory_bytes()
    assert free is not None
    assert 0 < free < 100_000 * GIB
    assert machine.cores() >= 1


@pytest.mark.parametrize(
    ("variable", "count", "ids"),
    [
        (None, 2, ["0", "1"]),
        ("", 0, []),
        ("5,3", 2, ["5", "3"]),
        ("GPU-aa, GPU-bb", 2, ["GPU-aa", "GPU-bb"]),
        ("0,1,-1,2", 2, ["0", "1"]),
    ],
)
def test_visible_gpus(variable: str | None, count: int, ids: list[str]) -> None:
    assert visible_ids(variable, count) == ids


def test_gpus_are_asked_of_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "torch"
    package.mkdir()
    (package / "version.py").write_text("cuda: Optional[str] = '13.0'\nhip: Optional[str] = None\n")
    (package / "__init__.py").write_text(
        textwrap.dedent(
            """
            from types import SimpleNamespace as N

            cuda = N(
                is_available=lambda: True,
                device_count=lambda: 2,
                get_device_properties=lambda i: N(
                    name=f"GPU no. {i}", total_memory=1024, major=9, minor=i
                ),
            )
            """
        )
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "6,4,2")
    monkeypatch.setattr(
        "fibcore.processes.machine.importlib.util.find_spec",
        lambda _: type("Spec", (), {"origin": str(package / "__init__.py")}),
    )
    assert machine.find_gpus() == (
        Gpu("6", "GPU no. 0", 1024, (9, 0)),
        Gpu("4", "GPU no. 1", 1024, (9, 1)),
    )
    (package / "version.py").write_text("cuda: Optional[str] = None\nhip: Optional[str] = None\n")
    assert machine.find_gpus() == ()
    (package / "version.py").write_text("cuda: Optional[str] = '13.0'\n")
    (package / "__init__.py").write_text("raise ImportError('no libcudart')\n")
    with pytest.raises(FibcoreError, match="cannot say which GPUs") as caught:
        machine.find_gpus()
    assert "no libcudart" in (caught.value.found or "")
