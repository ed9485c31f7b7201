"""The source text of a release on PyPI: its wheel, without dependencies and without running it.

pip does the download, so that the user's index, mirror, proxy and certificates hold. A source
archive (sdist) is not taken: pip runs an sdist's build code even to download it.
"""

from __future__ import annotations

import importlib.util
import lzma
import re
import stat
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

from packaging.version import InvalidVersion, Version

from fibcore.errors import SourceError
from fibcore.progress import Progress, report
from fibcore.sources.spec import PypiSource, redacted

PYTHONS = ("3.11", "3.12", "3.13", "3.10", "3.14")
"""Python versions that a wheel may be built for, in the order they are tried."""

_GLIBC = range(41, 16, -1)
PLATFORMS = tuple(
    tag
    for machine in ("x86_64", "aarch64")
    for tag in (
        *(f"manylinux_2_{minor}_{machine}" for minor in _GLIBC),
        f"manylinux2014_{machine}",
        f"linux_{machine}",
    )
)
"""Platform tags that a wheel may have; only its text is read, so any will do."""

KEPT_SUFFIXES = (".py", ".json")
MAX_FILE_BYTES = 32 * 2**20
MAX_TOTAL_BYTES = 1024 * 2**20
MAX_FILES = 100_000
MAX_FOLDERS = 50
MAX_PATH = 1000

# RuntimeError: an entry is encrypted, or packed in a way that is not known.
_BROKEN = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, ValueError)
_NO_SUCH = re.compile(r"No matching distribution|Could not find a version")
_FROM_VERSIONS = re.compile(r"\(from versions: ([^)]*)\)")
_UNREACHABLE = re.compile(r"Retrying \(Retry|NewConnectionError|ConnectTimeout|SSLError|ProxyError")
_RAW_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")


def fetch_package(
    source: PypiSource, package: str, folder: Path, progress: Progress | None, step: str
) -> Path:
    """Download a release's wheel and unpack its source text into an empty folder.

    Args:
        source: The release.
        package: The top-level package in the wheel that is wanted, `sglang`.
        folder: Where to unpack; after an error its content is of no use.
        progress: Called during the download.
        step: What progress calls this.

    Returns:
        The package's folder, `folder/package`; the release's METADATA lies beside it.

    Raises:
        SourceError: no such release, no wheel, no connection, no pip, or a wheel that is not
            what it should be.
    """
    wheel = download_wheel(source, folder, progress, step)
    report(progress, f"{step}: unpacking")
    unpack(wheel, package, folder)
    wheel.unlink()
    return folder / package


def download_wheel(source: PypiSource, folder: Path, progress: Progress | None, step: str) -> Path:
    """Download the wheel of a release into `folder`, whatever Python and platform it is for.

    Raises:
        SourceError: see `fetch_package`.
    """
    command, version = _pip()
    raw = ["--progress-bar", "raw"] if version >= (24, 1) else []
    there: set[Version] = set()
    for python in PYTHONS:
        arguments = [
            *("download", "--no-deps", "--only-binary", ":all:", "--no-input"),
            *("--disable-pip-version-check", "--ignore-requires-python", *raw),
            *("--python-version", python, "--dest", "."),
            *(part for tag in PLATFORMS for part in ("--platform", tag)),
            *("--", source.requirement),
        ]
        output = _run_pip([*command, *arguments], folder, progress, step)
        if output is None:
            wheels = list(folder.glob("*.whl"))
            if len(wheels) == 1:
                return wheels[0]
            raise SourceError("pip left no wheel", where=source.origin)
        there.update(_versions(output))
        if _UNREACHABLE.search(output):
            raise SourceError(
                "the package index cannot be reached",
                where=source.origin,
                found=_complaint(output),
                hint="check the network and pip's configuration (pip config list)",
            )
        if not _NO_SUCH.search(output):
            raise SourceError("pip failed", where=source.origin, found=_complaint(output))
    if not there and not _is_known(command, source.name, folder):
        raise SourceError(
            "no such package on the package index",
            where=source.origin,
            expected="the name of a package, as in pypi:sglang==0.5.9",
            found=source.name,
        )
    raise SourceError(
        "no wheel of this release on the package index",
        where=source.origin,
        expected="a release that has a wheel",
        found=f"versions with a wheel: {_newest(there)}",
        hint="unpack a source archive by hand and give its path",
    )


def _versions(output: str) -> Iterator[Version]:
    """The versions that pip found instead: those with a wheel for the Python that was asked for."""
    found = _FROM_VERSIONS.search(output)
    for text in found.group(1).split(", ") if found else ():
        with suppress(InvalidVersion):  # "none"
            yield Version(text)


def _newest(versions: set[Version]) -> str:
    listed = [str(version) for version in sorted(versions)] or ["none"]
    return ", ".join([*(["..."] if len(listed) > 8 else []), *listed[-8:]])


def _is_known(command: list[str], name: str, folder: Path) -> bool:
    """Whether the package index has the package, be it as source archives alone."""
    arguments = ["index", "versions", "--pre", "--disable-pip-version-check", "--", name]
    output = _run_pip([*command, *arguments], folder, None, "")
    return output is None or not _NO_SUCH.search(output)


def _pip() -> tuple[list[str], tuple[int, int]]:
    """The command that runs pip, and its version.

    Environments without pip (uv makes such) still have the one that Python carries for ensurepip.
    """
    commands = [[sys.executable, "-m", "pip"]]
    ensurepip = importlib.util.find_spec("ensurepip")
    if ensurepip is not None and ensurepip.origin:
        bundled = Path(ensurepip.origin).parent / "_bundled"
        commands += [[sys.executable, f"{wheel}/pip"] for wheel in bundled.glob("pip-*.whl")]
    for command in commands:
        asked = subprocess.run(  # noqa: S603 - a fixed command
            [*command, "--version"],
            capture_output=True,
            check=False,
            stdin=subprocess.DEVNULL,
            encoding="utf-8",
            errors="replace",
        )
        version = re.match(r"pip (\d+)\.(\d+)", asked.stdout)
        if asked.returncode == 0 and version:
            return command, (int(version.group(1)), int(version.group(2)))
    raise SourceError(
        "pip is needed to download from PyPI and is not installed",
        where=sys.executable,
        hint="install pip into this environment, or give a git URL or a path",
    )


def _run_pip(command: list[str], folder: Path, progress: Progress | None, step: str) -> str | None:
    """Run pip in `folder`; None when it did its work, else all that it said."""
    said: list[str] = []
    # In an empty folder of its own, since `python -m` would import a pip.py from the current one.
    process = subprocess.Popen(  # noqa: S603 - the requirement was checked by fibcore.sources.spec
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )
    try:
        report(progress, f"{step}: asking the package index")
        for line in process.stdout or ():
            raw = _RAW_PROGRESS.match(line)
            if raw:
                report(progress, f"{step}: downloading", float(raw.group(1)), float(raw.group(2)))
                continue
            said.append(line)
            if line.strip().startswith("Downloading"):
                report(progress, f"{step}: downloading")
    except BaseException:
        process.terminate()
        raise
    finally:
        if process.stdout is not None:
            process.stdout.close()
        process.wait()
    return "".join(said) if process.returncode else None


def _complaint(output: str) -> str:
    """The first error that pip printed, else its last line."""
    lines = [line.strip() for line in redacted(output).splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines[-1:] or ["no message"])[0]


def unpack(wheel: Path, package: str, folder: Path) -> None:
    """Unpack what is needed of a wheel: the package's source text, its metadata and licences.

    Raises:
        SourceError: not a wheel, without the package, or with a file that is too large or whose
            path leads out of the folder.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            _unpack(archive, package, folder, wheel.name)
    except OSError as error:
        found = f"{error.filename or folder}: {error.strerror or error}"
        raise SourceError("the wheel cannot be unpacked", where=wheel.name, found=found) from error
    except _BROKEN as error:
        raise SourceError("not a wheel", where=wheel.name, found=str(error)) from error
    if not (folder / package / "__init__.py").is_file():
        raise SourceError(
            "the wheel does not hold the package", where=wheel.name, expected=f"{package}/"
        )


def _unpack(archive: zipfile.ZipFile, package: str, folder: Path, name: str) -> None:
    total = 0
    for count, (entry, path) in enumerate(_wanted(archive, package, name), 1):
        total += entry.file_size
        if count > MAX_FILES or total > MAX_TOTAL_BYTES or entry.file_size > MAX_FILE_BYTES:
            raise SourceError(
                "the wheel is too large",
                where=f"{name}: {path}",
                expected=f"{MAX_FILES} files of {MAX_FILE_BYTES} bytes, {MAX_TOTAL_BYTES} in all",
                found=f"{count} files, {entry.file_size} bytes, {total} in all",
            )
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        # "x" refuses two entries of one name. zipfile reads no more than the declared size.
        with archive.open(entry) as source, target.open("xb") as file:
            while chunk := source.read(2**20):
                file.write(chunk)


def _wanted(
    archive: zipfile.ZipFile, package: str, name: str
) -> Iterator[tuple[zipfile.ZipInfo, PurePosixPath]]:
    for entry in archive.infolist():
        path = PurePosixPath(entry.filename)
        unsafe = path.is_absolute() or ".." in path.parts or set(entry.filename) & set("\\\0")
        if len(path.parts) > MAX_FOLDERS or len(entry.filename) > MAX_PATH:
            raise SourceError(
                "the wheel holds a path that no package has",
                where=name,
                expected=f"at most {MAX_FOLDERS} folders and {MAX_PATH} characters",
                found=repr(entry.filename[:80]),
            )
        if unsafe or stat.S_ISLNK(entry.external_attr >> 16):
            raise SourceError(
                "the wheel holds a path that leads out of it, or a link",
                where=name,
                found=repr(entry.filename),
            )
        if entry.is_dir() or not path.parts:
            continue
        info = path.parts[0].endswith(".dist-info")
        licence = info and ("licenses" in path.parts or path.name.upper().startswith("LICEN"))
        if (
            (path.parts[0] == package and path.suffix in KEPT_SUFFIXES)
            or (info and path.name == "METADATA")
            or licence
        ):
            yield entry, path
