"""One holder at a time, and no file where nobody holds the lock."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fibcore.processes import locks
from fibcore.processes.locks import FileLock

fcntl = pytest.importorskip("fcntl", reason="this machine has no flock")


def test_the_file_is_there_while_the_lock_is_held(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "x.lock")
    assert lock.acquire()
    assert lock.path.exists()
    other = FileLock(lock.path)
    assert not other.acquire(0)
    lock.release()
    assert list(tmp_path.iterdir()) == []
    assert other.acquire(0)
    lock.release()  # holds nothing, takes nothing away
    assert other.path.exists()
    other.release()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_was_left_behind_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / "x.lock").touch()
    lock = FileLock(tmp_path / "x.lock")
    assert lock.acquire(0)
    lock.release()
    assert list(tmp_path.iterdir()) == []


def test_a_removed_file_is_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between opening and locking, another run ends and a third one starts."""
    path = tmp_path / "x.lock"
    flock, third = fcntl.flock, FileLock(path)
    raced: list[bool] = []

    def late(fd: int, how: int) -> None:
        if not raced:
            raced.append(True)
            path.unlink()
            raced.append(third.acquire(0))
        flock(fd, how)

    monkeypatch.setattr(locks.fcntl, "flock", late)
    lock = FileLock(path)
    assert not lock.acquire(0), "two would hold it"
    assert raced == [True, True]
    third.release()
    assert lock.acquire(0)
    assert os.path.samestat(path.stat(), os.fstat(lock._fd or -1))
    lock.release()


def test_a_link_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / "x.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        FileLock(tmp_path / "x.lock").acquire(0)
    assert not (tmp_path / "elsewhere").exists()


COUNT = """
import sys
from pathlib import Path
from fibcore.processes.locks import FileLock
folder = Path(sys.argv[1])
for _ in range(150):
    lock = FileLock(folder / "x.lock")
    assert lock.acquire(60)
    text = (folder / "count").read_text()
    (folder / "count").write_text(str(int(text) + 1))
    lock.release()
"""


def test_processes_that_take_turns_lose_nothing(tmp_path: Path) -> None:
    (tmp_path / "count").write_text("0")
    command = [sys.executable, "-c", COUNT, str(tmp_path)]
    runs = [subprocess.Popen(command) for _ in range(3)]  # noqa: S603 - our own command line
    assert [run.wait(timeout=120) for run in runs] == [0, 0, 0]
    assert [path.name for path in tmp_path.iterdir()] == ["count"]
    assert (tmp_path / "count").read_text() == "450"
