"""Evidence and status, written as tests end."""

from __future__ import annotations

from typing import Any

import pytest
import scale_toy as toy
from fake_tests import Fake

from fibcore.dataset import Dataset
from fibcore.verification import add_reference_tests, recording, verify


def test_many_definitions_are_recorded_together(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = fake.folder / "dataset"
    names = [f"scale_{i:02}" for i in range(30)]
    toy.write(dataset, *(toy.definition(name) for name in names))
    toy.write_sglang(fake.folder / "sglang")
    add_reference_tests(dataset=dataset, all_=True, registry=toy.registry())
    taken = 0
    locked = Dataset.locked

    def counted(self: Dataset) -> Any:
        nonlocal taken
        taken += not self._depth
        return locked(self)

    monkeypatch.setattr(Dataset, "locked", counted)
    # The share decides, not this machine's speed: after the first, nothing is due before the end.
    monkeypatch.setattr(recording, "WRITING_SHARE", 1e9)
    report = verify(dataset=dataset, device="cpu", registry=toy.registry(), jobs=1)
    assert [d.name for d in report.definitions] == names
    assert 1 <= taken < 5
