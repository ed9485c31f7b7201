"""Fixtures of the core's tests: real SGLang sources, a small made-up one, and configs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SGLANG_VERSIONS = ("0.5.9", "0.5.23")

_CACHE = Path(os.environ.get("FIBCORE_TEST_CACHE") or Path.home() / ".cache" / "fibcore-tests")


def _download(version: str) -> Path:
    """The folder that holds the `sglang` package of `version`; downloaded once per machine."""
    from filelock import FileLock

    folder = _CACHE / f"sglang-{version}"
    if (folder / "sglang").is_dir():
        return folder
    try:
        _CACHE.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        pytest.skip(f"no folder for downloads ({error}); set FIBCORE_TEST_CACHE")
    with FileLock(str(_CACHE / f"{version}.lock")):
        if (folder / "sglang").is_dir():
            return folder
        wheels = _CACHE / f"wheel-{version}"
        # The source text is wanted, whatever interpreter the wheel is built for.
        command = [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
            *("--only-binary", ":all:", "--implementation", "cp", "--python-version", "3.11"),
            *("--abi", "cp311", "--abi", "none", "--platform", "manylinux_2_34_x86_64"),
            *("--platform", "any", "--dest", str(wheels), f"sglang=={version}"),
        ]
        result = subprocess.run(  # noqa: S603 - our own command line
            command, capture_output=True, text=True, timeout=300, check=False
        )
        found = list(wheels.glob("*.whl"))
        if result.returncode or not found:
            last = (result.stderr.strip().splitlines() or ["no wheel"])[-1]
            pytest.skip(f"SGLang {version} cannot be downloaded: {last}")
        partial = _CACHE / f"partial-{version}"
        with zipfile.ZipFile(found[0]) as wheel:
            wanted = [n for n in wheel.namelist() if n.startswith("sglang") and _is_text(n)]
            wheel.extractall(partial, wanted)  # noqa: S202 - PyPI's sglang, text files only
        partial.rename(folder)
        found[0].unlink()
    return folder


def _is_text(name: str) -> bool:
    return name.endswith(".py") or ".dist-info/" in name


@pytest.fixture(scope="session")
def sglang() -> Callable[[str], Path]:
    """A function from a version of SGLang to the folder with its real source; skips without network."""
    return _download


@pytest.fixture(scope="session", params=SGLANG_VERSIONS)
def sglang_source(request: pytest.FixtureRequest) -> Path:
    """The folder with SGLang's real source, for each version that the tests know."""
    return _download(request.param)
