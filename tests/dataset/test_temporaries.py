"""Leftovers of writers that were killed: they go, and what is being written stays."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fibcore.dataset import Dataset
from fibcore.dataset.files import write_elsewhere
from fibcore.dataset.temporaries import hold, sweep_abandoned, temporary_name

pytestmark = pytest.mark.skipif(os.name != "posix", reason="locks on files and PIDs as on POSIX")


def leftover(path: Path, age_s: float = 10.0) -> Path:
    """A file that was last written so long ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{")
    then = time.time() - age_s
    os.utime(path, (then, then))
    return path


def ended_pid() -> int:
    """The number of a process that is no more."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_evidence_that_ended_tests_left_goes_and_that_of_others_stays(tmp_path: Path) -> None:
    folder = tmp_path / "reports" / "verification"
    pid = ended_pid()
    gone = [
        leftover(folder / f".gemm_n_640_k_512.{pid}.tmp"),
        leftover(folder / f".a.b-{os.getpid()}.{os.getpid()}.tmp", age_s=7200),
    ]
    kept = [
        leftover(folder / f".gemm_n_640_k_512.{os.getpid()}.tmp"),
        leftover(folder / f".new.{pid}.tmp", age_s=0),
        leftover(folder / "gemm.tmp"),
        leftover(folder / ".x.word.tmp"),
        leftover(tmp_path / "reports" / "provenance" / f".x.{pid}.tmp"),
    ]
    (folder / f".folder.{pid}.tmp").mkdir()
    with Dataset(tmp_path).locked():
        pass
    assert [path for path in gone if path.exists()] == []
    assert [path for path in kept if not path.exists()] == []


def test_pages_that_killed_writers_left_go_with_the_next_page(tmp_path: Path) -> None:
    gone = leftover(tmp_path / temporary_name())
    kept = [
        leftover(tmp_path / temporary_name(), age_s=0),
        leftover(tmp_path / ".other.tmp"),
        leftover(tmp_path / "below" / temporary_name()),
    ]
    link = tmp_path / temporary_name()
    link.symlink_to(kept[1])
    assert write_elsewhere(tmp_path / "page.html", "x")
    assert not gone.exists()
    assert all(path.exists() for path in (*kept, link))


def test_a_file_that_is_being_written_is_no_leftover(tmp_path: Path) -> None:
    path = leftover(tmp_path / temporary_name())
    handle = os.open(path, os.O_WRONLY)
    try:
        hold(handle)
        sweep_abandoned(tmp_path)
        assert path.exists()
    finally:
        os.close(handle)
    sweep_abandoned(tmp_path)
    assert not path.exists()


def test_a_folder_that_is_not_there_has_no_leftovers(tmp_path: Path) -> None:
    sweep_abandoned(tmp_path / "nowhere")
