"""The device that references run on."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
from fibcore.verification.emitted.devices import (  # noqa: E402 - needs torch
    device_of,
    machine,
)


class Config:
    """Stands in for pytest's."""

    def __init__(self, device: str | None) -> None:
        self.device = device

    def getoption(self, name: str, default: Any = None) -> Any:
        return self.device if name == "--device" else default


@pytest.mark.parametrize(
    ("wanted", "gpu", "device", "reason"),
    [
        ("auto", True, "cuda", False),
        ("auto", False, "cpu", False),
        (None, False, "cpu", False),
        ("cpu", True, "cpu", False),
        ("cuda", True, "cuda", False),
        ("cuda", False, "cpu", True),
    ],
)
def test_device(
    monkeypatch: pytest.MonkeyPatch, wanted: str | None, gpu: bool, device: str, reason: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    config: Any = Config(wanted)
    found, why = device_of(config)
    assert found.type == device
    assert (why is not None) is reason


def test_machine() -> None:
    found = machine(torch.device("cpu"))
    assert found["device"]["type"] == "cpu"
    assert found["device"]["name"].startswith("CPU (")
    assert list(found["software"]) == ["python", "torch", "system"]


def test_machine_with_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "GPU")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    # A device of its own: what was found for one is kept.
    found = machine(torch.device("cuda", 17))
    assert found["device"] == {"type": "cuda", "name": "GPU", "capability": [9, 0]}
    assert "cuda" in found["software"]
