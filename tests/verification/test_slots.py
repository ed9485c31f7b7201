"""Places for the processes of the tests."""

from __future__ import annotations

import pytest

from fibcore.processes import machine
from fibcore.processes.machine import Gpu
from fibcore.processes.sizes import GIB
from fibcore.verification.slots import make_slots


def gpus(*ids: str) -> tuple[Gpu, ...]:
    return tuple(Gpu(i, "A Big GPU", 80 * GIB) for i in ids)


def test_slots_of_gpus() -> None:
    assert [s.label for s in make_slots(gpus("0", "1"), 9)] == ["GPU 0", "GPU 1"]
    assert [s.label for s in make_slots(gpus("0", "1"), 1)] == ["GPU 0"]
    assert [s.label for s in make_slots(gpus("0", "1"), 9, jobs=1)] == ["GPU 0"]
    shared = make_slots(gpus("0", "GPU-7f"), 9, jobs=3)
    assert [s.label for s in shared] == ["GPU 0.0", "GPU GPU-7f", "GPU 0.1"]
    assert [s.environment["CUDA_VISIBLE_DEVICES"] for s in shared] == ["0", "GPU-7f", "0"]
    share = int(0.9 * 40 * GIB)
    assert [s.gpu_memory_bytes for s in shared] == [share, None, share]
    limited = make_slots(gpus("0"), 9, gpu_memory_bytes=GIB)
    assert [s.gpu_memory_bytes for s in limited] == [GIB]


def test_slots_of_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(machine, "cores", lambda: 8)
    monkeypatch.setattr(machine, "free_memory_bytes", lambda: 100 * GIB)
    assert len(make_slots((), 1000)) == 8
    assert len(make_slots((), 3)) == 1  # more processes would only import torch more often
    assert len(make_slots((), 9)) == 3
    assert len(make_slots((), 9, jobs=100)) == 9
    assert [dict(s.environment) for s in make_slots((), 9, jobs=2)] == [
        {"OMP_NUM_THREADS": "4"}
    ] * 2
    assert dict(make_slots((), 9, jobs=1)[0].environment) == {}
    monkeypatch.setattr(machine, "free_memory_bytes", lambda: 9 * GIB)
    assert len(make_slots((), 1000)) == 2
    monkeypatch.setattr(machine, "free_memory_bytes", lambda: GIB)
    assert len(make_slots((), 1000)) == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert dict(make_slots((), 9, jobs=2)[0].environment) == {}  # what the user set stays
