"""SGLang's source is found without importing it, and so is its version."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import os
import re
from pathlib import Path

from fibcore.verification.emitted.places import DATASET


def sglang_package(path: Path) -> Path | None:
    """The `sglang` package in a repository, in a folder that holds it, or at `path` itself."""
    for candidate in (path / "python" / "sglang", path / "sglang", path):
        if (candidate / "srt").is_dir():
            return candidate
    return None


def find_sglang(option: str | None) -> tuple[Path | None, str]:
    """SGLang's package folder, found without importing it, or None and where it was looked for."""
    if option is not None:
        return sglang_package(Path(option)), f"--sglang {option} holds no SGLang source"
    variable = os.environ.get("FIBCORE_SGLANG")
    if variable:
        return (
            sglang_package(Path(variable)),
            "the environment variable FIBCORE_SGLANG names no SGLang source",
        )
    for folder in dict.fromkeys((DATASET.parent, DATASET.resolve().parent)):
        for candidate in (folder / "sglang", *_configured_sglang(folder / "repos_config.json")):
            package = sglang_package(candidate)
            if package is not None:
                return package, str(candidate)
    spec = importlib.util.find_spec("sglang")  # a top-level name: finds without importing
    for location in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(location) / "srt").is_dir():
            return Path(location), location
    return None, (
        "SGLang's source was not found (looked at --sglang, FIBCORE_SGLANG, the folder sglang and "
        "repos_config.json beside the dataset, and the installed packages)"
    )


def _configured_sglang(config: Path) -> list[Path]:
    """The places that `repos_config.json` may mean by SGLang's path."""
    try:
        path = json.loads(config.read_text(encoding="utf-8"))["repositories"]["sglang"]["path"]
        # "./repos/sglang" is relative to the folder that holds repos/, where the clone was made.
        return [config.parent.parent / path, config.parent / path]
    except (OSError, ValueError, KeyError, TypeError):
        return []


@functools.cache
def sglang_version(package: Path) -> str:
    """The version of SGLang's source: its version file, its metadata or its git commit."""
    for name in ("_version.py", "version.py"):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            text = (package / name).read_text(encoding="utf-8")
            found = re.search(r"^__version__\b[^\n]*=\s*[\"']([^\"']+)[\"']", text, re.MULTILINE)
            if found:
                return found[1]
    for metadata in sorted(package.parent.glob("sglang-*.dist-info")):
        return metadata.name[len("sglang-") : -len(".dist-info")]
    for folder in (package.parent, package.parent.parent):
        with contextlib.suppress(OSError):
            head = (folder / ".git" / "HEAD").read_text(encoding="utf-8").strip()
            if head.startswith("ref: "):
                head = (folder / ".git" / head[5:]).read_text(encoding="utf-8").strip()
            return f"git {head[:12]}"
    return "of unknown version"
