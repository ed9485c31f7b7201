"""Wheels: whatever Python they are for, only their text, and nothing outside their folder."""

from __future__ import annotations

import importlib.util
import stat
import sys
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from fibcore.errors import SourceError
from fibcore.sources import pypi
from fibcore.sources.pypi import download_wheel, fetch_package, unpack
from fibcore.sources.spec import PypiSource

RELEASE = PypiSource("sglang", "0.5.9")


def wheel_of(folder: Path, files: dict[str, str]) -> Path:
    path = folder / "sglang-0.5.9-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def test_only_text_is_unpacked(tmp_path: Path) -> None:
    wheel = wheel_of(
        tmp_path,
        {
            "sglang/__init__.py": "1",
            "sglang/srt/models/llama.py": "2",
            "sglang/srt/config.json": "{}",
            "sglang/srt/kernel.so": "x",
            "sglang/readme.md": "x",
            "sglang_other/a.py": "x",
            "sglang-0.5.9.dist-info/METADATA": "Version: 0.5.9\n",
            "sglang-0.5.9.dist-info/RECORD": "x",
            "sglang-0.5.9.dist-info/licenses/LICENSE": "Apache",
            "sglang-0.5.9.data/scripts/run.py": "x",
        },
    )
    out = tmp_path / "out"
    out.mkdir()
    unpack(wheel, "sglang", out)
    assert {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()} == {
        "sglang/__init__.py",
        "sglang/srt/models/llama.py",
        "sglang/srt/config.json",
        "sglang-0.5.9.dist-info/METADATA",
        "sglang-0.5.9.dist-info/licenses/LICENSE",
    }


@pytest.mark.parametrize(
    "name",
    ["../evil.py", "/evil.py", "sglang/../../evil.py", "sglang\\..\\..\\evil.py"],
)
def test_paths_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    wheel = wheel_of(tmp_path, {"sglang/__init__.py": "", name: "evil"})
    out = tmp_path / "a" / "b"
    out.mkdir(parents=True)
    with pytest.raises(SourceError, match="leads out of it"):
        unpack(wheel, "sglang", out)
    assert not list(tmp_path.rglob("evil.py"))


def test_links_are_refused(tmp_path: Path) -> None:
    wheel = tmp_path / "x.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        entry = zipfile.ZipInfo("sglang/link.py")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(SourceError, match="or a link"):
        unpack(wheel, "sglang", tmp_path / "out")


@pytest.mark.parametrize("limit", ["MAX_FILE_BYTES", "MAX_TOTAL_BYTES", "MAX_FILES"])
def test_sizes_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    wheel = wheel_of(tmp_path, {f"sglang/{i}.py": "x" * 10 for i in range(4)})
    out = tmp_path / "out"
    out.mkdir()
    monkeypatch.setattr(pypi, limit, {"MAX_FILE_BYTES": 9, "MAX_TOTAL_BYTES": 39}.get(limit, 3))
    with pytest.raises(SourceError, match="too large"):
        unpack(wheel, "sglang", out)


def test_what_is_no_wheel_of_the_package(tmp_path: Path) -> None:
    broken = tmp_path / "broken.whl"
    broken.write_bytes(b"PK\x03\x04 not a zip")
    with pytest.raises(SourceError, match="not a wheel"):
        unpack(broken, "sglang", tmp_path)
    with pytest.raises(SourceError, match="does not hold the package"):
        unpack(wheel_of(tmp_path, {"other/__init__.py": ""}), "sglang", tmp_path)


def test_wheels_of_other_pythons_are_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def run(command: list[str], folder: Path, *_: object) -> str | None:
        assert command[-2:] == ["--", "sglang==0.5.9"]
        assert "manylinux_2_34_x86_64" in command
        asked.append(command[command.index("--python-version") + 1])
        if asked[-1] != "3.13":
            return "ERROR: Could not find a version that satisfies (from versions: none)\n"
        wheel_of(folder, {"sglang/__init__.py": ""})
        return None

    monkeypatch.setattr(pypi, "_pip", lambda: (["pip"], (24, 1)))
    monkeypatch.setattr(pypi, "_run_pip", run)
    root = fetch_package(RELEASE, "sglang", tmp_path, None, "sglang")
    assert asked == ["3.11", "3.12", "3.13"]
    assert root == tmp_path / "sglang"
    assert not list(tmp_path.glob("*.whl"))


@pytest.mark.parametrize(
    ("said", "message", "found"),
    [
        (
            "WARNING: Retrying (Retry(total=4)) after connection broken\nERROR: Could not find a\n",
            "cannot be reached",
            "ERROR: Could not find",
        ),
        (
            "ERROR: Could not find a version (from versions: 1, 2, 3, 4, 5, 6, 7, 8, 9)\n",
            "no wheel of this release",
            "..., 2, 3, 4, 5, 6, 7, 8, 9",
        ),
        ("Traceback\nPermissionError: x\n", "pip failed", "PermissionError: x"),
        (
            "ERROR: https://me:secret@mirror/simple is broken\n",
            "pip failed",
            r"https://\*\*\*@mirror",
        ),
        ("", "pip failed", "no message"),
    ],
)
def test_what_pip_says_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, message: str, found: str
) -> None:
    monkeypatch.setattr(pypi, "_pip", lambda: (["pip"], (23, 2)))
    monkeypatch.setattr(pypi, "_run_pip", lambda *_: said)
    with pytest.raises(SourceError, match=message) as caught:
        download_wheel(RELEASE, tmp_path, None, "sglang")
    assert caught.value.where == "pypi:sglang==0.5.9"
    assert caught.match(found)


def test_versions_are_those_with_a_wheel_for_any_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wheels of newer releases are for one Python, those of older ones for all."""

    def run(command: list[str], *_: object) -> str:
        built = command[command.index("--python-version") + 1] == "3.11"
        there = "0.5.2, 0.5.10, 0.5.15" if built else "0.5.2, 0.5.10"
        return f"ERROR: Could not find a version (from versions: {there})\n"

    monkeypatch.setattr(pypi, "_pip", lambda: (["pip"], (24, 1)))
    monkeypatch.setattr(pypi, "_run_pip", run)
    with pytest.raises(SourceError, match="no wheel of this release") as caught:
        download_wheel(RELEASE, tmp_path, None, "sglang")
    assert caught.value.found == "versions with a wheel: 0.5.2, 0.5.10, 0.5.15"


@pytest.mark.parametrize(
    ("index_says", "message", "found"),
    [
        ("ERROR: No matching distribution found for sglang\n", "no such package", "sglang"),
        (None, "no wheel of this release", "versions with a wheel: none"),
    ],
)
def test_a_package_that_does_not_exist_is_not_one_without_wheels(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    index_says: str | None,
    message: str,
    found: str,
) -> None:
    def run(command: list[str], *_: object) -> str | None:
        if "index" in command:
            assert command[-2:] == ["--", "sglang"]
            return index_says
        return "ERROR: Could not find a version (from versions: none)\n"

    monkeypatch.setattr(pypi, "_pip", lambda: (["pip"], (24, 1)))
    monkeypatch.setattr(pypi, "_run_pip", run)
    with pytest.raises(SourceError, match=message) as caught:
        download_wheel(RELEASE, tmp_path, None, "sglang")
    assert caught.value.found == found


def test_progress_and_interruption_of_pip(tmp_path: Path) -> None:
    seen: list[tuple[object, ...]] = []
    script = "print('Collecting x'); print('Downloading x'); print('Progress 5 of 10')"
    assert (
        pypi._run_pip([sys.executable, "-c", script], tmp_path, lambda *s: seen.append(s), "x")
        is None
    )
    assert seen == [
        ("x: asking the package index", None, None),
        ("x: downloading", None, None),
        ("x: downloading", 5.0, 10.0),
    ]

    def interrupt(step: str, *_: float | None) -> None:
        if step == "x: downloading":
            raise KeyboardInterrupt

    forever = "import time; print('Downloading x', flush=True); time.sleep(600)"
    with pytest.raises(KeyboardInterrupt):
        pypi._run_pip([sys.executable, "-c", forever], tmp_path, interrupt, "x")
    failing = "print('ERROR: no'); raise SystemExit(1)"
    assert pypi._run_pip([sys.executable, "-c", failing], tmp_path, None, "x") == "ERROR: no\n"


def test_environment_without_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ensurepip = importlib.util.find_spec("ensurepip")
    if ensurepip is None or not ensurepip.origin:
        pytest.skip("this Python comes without ensurepip")
    if not list((Path(ensurepip.origin).parent / "_bundled").glob("pip-*.whl")):
        pytest.skip("this Python's ensurepip carries no wheel of pip")
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    monkeypatch.setattr(sys, "executable", str(python))
    command, version = pypi._pip()
    assert command[0] == str(python)
    assert command[1].endswith(".whl/pip")
    assert version > (20, 0)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SourceError, match="pip is needed") as caught:
        pypi._pip()
    assert caught.value.where == str(python)


def test_a_release_from_the_configured_index(tmp_path: Path) -> None:
    steps: list[str] = []
    try:
        root = fetch_package(
            PypiSource("iniconfig", "2.0.0"),
            "iniconfig",
            tmp_path,
            lambda step, *_: steps.append(step),
            "iniconfig",
        )
    except SourceError as error:
        pytest.skip(f"PyPI cannot be asked: {error.found}")
    assert "def " in (root / "__init__.py").read_text()
    assert (tmp_path / "iniconfig-2.0.0.dist-info" / "METADATA").is_file()
    assert "iniconfig: downloading" in steps


def _corrupt(wheel: Path) -> None:
    data = bytearray(wheel.read_bytes())
    at = data.find(b"sglang/c.py")
    data[at + 16 : at + 40] = b"\xff" * 24
    wheel.write_bytes(data)


def _encrypted(wheel: Path) -> None:
    data = bytearray(wheel.read_bytes())
    for mark, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = data.find(mark)
        while at >= 0:
            data[at + flags] |= 1
            at = data.find(mark, at + 4)
    wheel.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("sglang/c.py", _corrupt, "decompress"),
        ("sglang/c.py", _encrypted, "is encrypted"),
        ("sglang/" + "d/" * 1000 + "x.py", None, "at most 50 folders"),
        ("sglang/" + "d" * 2000 + ".py", None, "1000 characters"),
        ("sglang/" + "d" * 500 + ".py", None, "name too long"),
        ("sglang/__init__.py/x.py", None, "cannot be unpacked"),
    ],
)
def test_a_wheel_that_is_broken_is_an_error(
    tmp_path: Path, name: str, spoil: Callable[[Path], None] | None, message: str
) -> None:
    wheel = tmp_path / "sglang-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("sglang/__init__.py", "")
        archive.writestr(name, "hello world " * 1000)
    if spoil is not None:
        spoil(wheel)
    with pytest.raises(SourceError) as caught:
        pypi.unpack(wheel, "sglang", tmp_path / "out")
    assert message in str(caught.value)
