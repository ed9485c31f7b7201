"""Files that are read: regular ones, up to a size; nothing else is opened, let alone waited for."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from fibcore.regular_files import check_regular, read_bytes, read_text

pytestmark = pytest.mark.skipif(os.name != "posix", reason="FIFOs and devices are POSIX's")


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(os.fspath(path))


NO_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a FIFO": (os.mkfifo, "a FIFO, which is no regular file"),
    "a folder": (Path.mkdir, "a folder, which is no regular file"),
    "a socket": (_socket, "a socket, which is no regular file"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "a device, which is no regular file"),
    "nothing": (lambda _: None, "No such file or directory"),
    "a link to nothing": (lambda path: path.symlink_to("nowhere"), "No such file or directory"),
    "a link to itself": (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
}


@pytest.mark.parametrize("kind", NO_FILES)
def test_what_is_no_regular_file_is_refused_at_once(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    make, reason = NO_FILES[kind]
    make(Path("x"))
    for read in (read_bytes, read_text, check_regular):
        with pytest.raises(OSError, match=reason) as caught:
            read("x")
        assert caught.value.filename == "x"


def test_a_fifo_that_takes_the_place_of_a_file_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fifo, file = tmp_path / "fifo", tmp_path / "file"
    os.mkfifo(fifo)
    file.write_text("x")
    looks = file.stat()
    monkeypatch.setattr(Path, "stat", lambda _: looks)
    with pytest.raises(OSError, match="a FIFO"):
        read_bytes(fifo)


def test_a_file_is_read_whole_up_to_the_bound(tmp_path: Path) -> None:
    file = tmp_path / "x"
    for size in (0, 1, 10, 3_000_000):
        data = os.urandom(size)
        file.write_bytes(data)
        assert read_bytes(file, size) == data
    with pytest.raises(OSError, match="3000000 bytes, where at most 2999999 are read"):
        read_bytes(file, 2_999_999)


def test_a_file_that_does_not_tell_its_size_is_bounded() -> None:
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("no /proc")
    assert status.stat().st_size == 0
    assert b"VmHWM" in read_bytes(status)
    with pytest.raises(OSError, match="at most 100 are read"):
        read_bytes(status, 100)


def test_a_name_with_a_nul_is_an_error_of_the_system() -> None:
    with pytest.raises(OSError, match="null"):
        read_bytes("a\0b")


def test_text_has_line_feeds_alone(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"\xef\xbb\xbfa\r\nb\rc\nd")
    assert read_text(file, encoding="utf-8-sig") == "a\nb\nc\nd"
    file.write_bytes(b"\xff")
    with pytest.raises(UnicodeDecodeError):
        read_text(file)
    assert read_text(file, errors="replace") == "\ufffd"
