"""Fixtures of the core's tests: real SGLang sources, and a small one that was made up.

`python tests/conftest.py` downloads the real sources, which other tests then find too.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from fibcore.registry import Registry, load_plugins

SGLANG_VERSIONS = ("0.5.9", "0.5.23")

_CACHE = Path(os.environ.get("FIBCORE_TEST_CACHE") or Path.home() / ".cache" / "fibcore-tests")


class NoSourceError(Exception):
    """Why SGLang's source cannot be had."""


def sglang_folder(version: str) -> Path:
    """The folder that holds the `sglang` package of `version`; downloaded once per machine.

    Raises:
        NoSourceError: there is no network, or no place to keep it.
    """
    from filelock import FileLock

    folder = _CACHE / f"sglang-{version}"
    if (folder / "sglang").is_dir():
        return folder
    try:
        _CACHE.mkdir(parents=True, exist_ok=True)
        with FileLock(str(_CACHE / f"{version}.lock")):
            if not (folder / "sglang").is_dir():  # another process may have been here
                _download(version, folder)
    except OSError as error:
        raise NoSourceError(f"no place for downloads ({error}); set FIBCORE_TEST_CACHE") from error
    return folder


def _download(version: str, folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=_CACHE) as scratch:
        # The source text is wanted, whatever interpreter the wheel is built for.
        command = [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
            *("--only-binary", ":all:", "--implementation", "cp", "--python-version", "3.11"),
            *("--abi", "cp311", "--abi", "none", "--platform", "manylinux_2_34_x86_64"),
            *("--platform", "any", "--dest", scratch, f"sglang=={version}"),
        ]
        result = subprocess.run(  # noqa: S603 - our own command line
            command, capture_output=True, text=True, timeout=600, check=False
        )
        found = list(Path(scratch).glob("*.whl"))
        if result.returncode or not found:
            last = (result.stderr.strip().splitlines() or ["no wheel"])[-1]
            raise NoSourceError(f"SGLang {version} cannot be downloaded: {last}")
        partial = Path(scratch, "unpacked")
        with zipfile.ZipFile(found[0]) as wheel:
            wanted = [n for n in wheel.namelist() if n.startswith("sglang") and _is_text(n)]
            wheel.extractall(partial, wanted)
        partial.rename(folder)


def _is_text(name: str) -> bool:
    return name.endswith(".py") or ".dist-info/" in name


def _or_skip(version: str) -> Path:
    try:
        return sglang_folder(version)
    except NoSourceError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def sglang() -> Callable[[str], Path]:
    """A function from a version of SGLang to the folder with its source; skips without network."""
    return _or_skip


@pytest.fixture(scope="session", params=SGLANG_VERSIONS)
def sglang_source(request: pytest.FixtureRequest) -> Path:
    """The folder with SGLang's real source, for each version that the tests know."""
    return _or_skip(request.param)


DATA = Path(__file__).with_name("data")


@pytest.fixture
def tiny_source(tmp_path: Path) -> Path:
    """A folder with a made-up SGLang that holds one small model, `tiny`; a test may change it."""
    folder = tmp_path / "tiny-source"
    shutil.copytree(DATA / "sglang", folder / "sglang")
    return folder


@pytest.fixture
def tiny_config(tmp_path: Path) -> Path:
    """The config.json of the model `tiny`; a test may change it."""
    path = tmp_path / "tiny-config.json"
    shutil.copy(DATA / "tiny_config.json", path)
    return path


OP_PLUGINS = ("gemm", "gqa", "mla", "moe", "rmsnorm")


@pytest.fixture(scope="session")
def op_plugins() -> Registry:
    """The project's own plugins, installed or not; others that are installed stay out."""
    modules = {name: importlib.import_module(f"fibcore_op_{name}") for name in OP_PLUGINS}
    return load_plugins(extra=modules, discover=False)


@pytest.fixture(scope="session")
def installed_plugins() -> None:
    """Skips where another process would not find the project's plugins."""
    missing = set(OP_PLUGINS) - {p.name for p in load_plugins().plugins if p.status == "active"}
    if missing:
        pytest.skip(f"plugins are not installed: {', '.join(sorted(missing))} (make test does it)")


if __name__ == "__main__":
    for wanted_version in SGLANG_VERSIONS:
        try:
            print(f"SGLang {wanted_version}: {sglang_folder(wanted_version)}")  # noqa: T201
        except NoSourceError as reason:  # noqa: PERF203 - each on its own
            print(f"{reason}; the tests that need it will be skipped")  # noqa: T201
