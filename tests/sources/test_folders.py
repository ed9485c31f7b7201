"""Folders and files are complete or absent, whatever interrupts the work on them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from fibcore.errors import SourceError
from fibcore.sources import folders
from fibcore.sources.folders import PARTIAL, cache_root, locked, staged, write_json


def names(folder: Path) -> list[str]:
    return sorted(e.name for e in folder.iterdir())


def test_staged_folder_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "tree"
    with staged(target) as new:
        (new / "a").write_text("1")
        assert not target.exists()
    assert names(tmp_path) == ["tree"]
    assert (target / "a").read_text() == "1"


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, SystemExit])
def test_staged_folder_vanishes_with_an_error(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "tree"
    target.mkdir()
    (target / "old").write_text("1")

    def work() -> None:
        with staged(target) as new:
            (new / "half").write_text("1")
            raise error

    with pytest.raises(error):
        work()
    assert names(tmp_path) == ["tree"]
    assert names(target) == ["old"]


def test_staged_folder_takes_the_place_of_an_older_one(tmp_path: Path) -> None:
    target = tmp_path / "tree"
    target.mkdir()
    (target / "old").write_text("1")
    with staged(target) as new:
        (new / "new").write_text("1")
    assert names(tmp_path) == ["tree"]
    assert names(target) == ["new"]


def test_a_rename_that_fails_puts_the_older_folder_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "tree"
    target.mkdir()
    (target / "old").write_text("1")
    rename = Path.rename

    def failing(self: Path, to: Path) -> Path:
        if self.name.startswith(PARTIAL) and not self.name.endswith("-old"):
            raise OSError(28, "No space left on device")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(SourceError, match="cannot be used"), staged(target) as new:
        (new / "new").write_text("1")
    assert names(tmp_path) == ["tree"]
    assert names(target) == ["old"]


def test_the_lock_removes_what_interrupted_runs_left(tmp_path: Path) -> None:
    (tmp_path / f"{PARTIAL}x").mkdir()
    (tmp_path / f"{PARTIAL}x" / "half").write_text("1")
    (tmp_path / f"{PARTIAL}y").write_text("1")
    (tmp_path / f"{PARTIAL}z").symlink_to(tmp_path / "kept")
    (tmp_path / "kept").mkdir()
    with locked(tmp_path):
        assert names(tmp_path) == [folders.LOCK, "kept"]


def test_a_second_run_waits_and_says_so(tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from fibcore.sources.folders import locked
        with locked(Path(sys.argv[1])):
            print("held", flush=True)
            sys.stdin.readline()
        """
    )
    holder = subprocess.Popen(  # noqa: S603 - our own command line
        [sys.executable, "-c", script, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    said: list[str] = []

    def progress(step: str, *_: float | None) -> None:
        said.append(step)
        holder.communicate("go\n")

    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with locked(tmp_path, progress):
            assert holder.returncode == 0
    finally:
        if holder.poll() is None:
            holder.kill()
            holder.communicate()
    assert len(said) == 1
    assert "waiting" in said[0]


def test_json_is_written_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "a.json"
    write_json(path, {"a": "ü"})
    assert path.read_text(encoding="utf-8") == '{\n  "a": "ü"\n}\n'

    def failing(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(SourceError, match="No space left"):
        write_json(path, {"b": 1})
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": "ü"}
    assert names(path.parent) == ["a.json"]


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SourceError, match="cannot be used"), locked(tmp_path / "file" / "x"):
        pass


def test_cache_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FIBCORE_CACHE", str(tmp_path / "mine"))
    assert cache_root() == tmp_path / "mine"
    monkeypatch.delenv("FIBCORE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_root() == tmp_path / "fibcore"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_root() == tmp_path / ".cache" / "fibcore"
