"""Sources of those who read what fibcore exports, out of their wheels."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

_CACHE = Path(os.environ.get("FIBCORE_TEST_CACHE") or Path.home() / ".cache" / "fibcore-tests")


def unpacked(project: str, version: str, *prefixes: str) -> Path:
    """A folder with the texts below `prefixes` of a wheel, downloaded once per machine.

    The test is skipped where it cannot be had.
    """
    from filelock import FileLock

    folder = _CACHE / f"{project}-{version}"
    try:
        _CACHE.mkdir(parents=True, exist_ok=True)
        with FileLock(str(_CACHE / f"{project}-{version}.lock")):
            if not folder.is_dir():
                _download(f"{project}=={version}", folder, prefixes)
    except OSError as error:
        pytest.skip(f"no place for downloads ({error}); set FIBCORE_TEST_CACHE")
    return folder


def _download(requirement: str, folder: Path, prefixes: tuple[str, ...]) -> None:
    with tempfile.TemporaryDirectory(dir=_CACHE) as scratch:
        command = [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
            *("--only-binary", ":all:", "--python-version", "3.12", "--dest", scratch),
            *("--platform", "manylinux2014_x86_64", "--platform", "any", requirement),
        ]
        result = subprocess.run(  # noqa: S603 - our own command line
            command, capture_output=True, text=True, timeout=600, check=False
        )
        found = list(Path(scratch).glob("*.whl"))
        if result.returncode or not found:
            last = (result.stderr.strip().splitlines() or ["no wheel"])[-1]
            pytest.skip(f"{requirement} cannot be downloaded: {last}")
        partial = Path(scratch, "unpacked")
        with zipfile.ZipFile(found[0]) as wheel:
            names = wheel.namelist()
            wheel.extractall(partial, [name for name in names if name.startswith(prefixes)])
        partial.rename(folder)
