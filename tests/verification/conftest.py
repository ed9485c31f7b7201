"""Fixtures of the tests of verification."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_tests import SCRIPT, Fake

from fibcore.verification import pytest_process


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Runs definitions in processes that only play the tests."""
    script = tmp_path / "fake_worker.py"
    script.write_text(SCRIPT)
    monkeypatch.setattr(pytest_process, "WORKER", script)
    made = Fake(tmp_path)
    monkeypatch.setenv("FAKE_LOG", str(made.log))
    monkeypatch.setenv("FAKE_SLEEP", made.sleep)
    return made


@pytest.fixture(autouse=True)
def empty_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests run where there is no folder `repos`, whose SGLang they would read."""
    monkeypatch.chdir(tmp_path_factory.mktemp("here"))
