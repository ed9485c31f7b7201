"""tools/at_work.py, which shows what the Makefile's set-up is at."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "at_work.py"


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("print('Successfully installed a-1 b-2')", 0, ["Setting up", "2 packages installed"]),
        ("print('words')", 0, ["Setting up", "done"]),
        ("print('why'); raise SystemExit(3)", 3, ["Setting up", "failed (exit status 3)", "why"]),
    ],
)
def test_a_command_is_named_and_its_words_are_shown_where_it_fails(
    code: str, status: int, said: list[str]
) -> None:
    command = [sys.executable, str(TOOL), "Setting up", sys.executable, "-c", code]
    done = subprocess.run(  # noqa: S603 - our own command line
        command, capture_output=True, text=True, check=False
    )
    assert done.returncode == status
    lines = done.stderr.splitlines()
    assert [line.rpartition("  Setting up: ")[2] for line in lines] == said
    assert done.stdout == ""


def test_long_silence_is_filled(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(TOOL.parent))
    import at_work

    monkeypatch.setattr(at_work, "EVERY_S", 0.2)
    code = "import time; print('Collecting torch', flush=True); time.sleep(1)"
    assert at_work.main(["Setting up", sys.executable, "-c", code]) == 0
    assert "s  Setting up: Collecting torch\n" in capfd.readouterr().err
