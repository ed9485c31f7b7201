"""What of SGLang's source goes along with tests that run on another machine."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from pathlib import Path

from fibcore.errors import DatasetError, SourceError
from fibcore.sources.tree import SourceTree, find_source

VERSION_FILES = ("_version.py", "version.py")


def sglang_here(sglang: Path | None, dataset: Path) -> SourceTree | None:
    """SGLang's source on this machine, where the tests would look for it; None if there is none.

    Args:
        sglang: Where it is; None looks at FIBCORE_SGLANG, beside the dataset and at the installed
            packages.
        dataset: The dataset's folder.

    Raises:
        SourceError: it is not where `sglang` says.
    """
    named = os.environ.get("FIBCORE_SGLANG") if sglang is None else str(sglang)
    try:
        return find_source(str(Path(named).absolute()) if named else None, dataset.parent)
    except SourceError:
        if sglang is not None:
            raise
        return None


def carried_files(module: str, source: SourceTree) -> dict[str, bytes]:
    """The files of SGLang's package that a test module names, and one that says the version.

    Ground truths name a file by its path below the package, as a string: every string of the
    module that is such a path is taken for one.

    Args:
        module: Text of the module.
        source: SGLang's source.

    Returns:
        Path below the package to content. `srt/` is there even if nothing is named, for by it a
        package is known.

    Raises:
        DatasetError: a file cannot be read.
    """
    root = source.root.resolve()
    try:
        named = {path for path in _strings(ast.parse(module)) if path.endswith(".py")}
    except (SyntaxError, ValueError):
        named = set()  # the tests say what is wrong with it
    files = {"srt/__init__.py": b""}
    for path in sorted({*named, *VERSION_FILES}):
        file = root / path
        try:
            if file.resolve().is_relative_to(root) and file.is_file():
                files[path] = file.read_bytes()
        except OSError as error:
            raise DatasetError(
                "cannot read SGLang's source",
                where=str(file),
                found=error.strerror or str(error),
            ) from None
    if not files.keys() & set(VERSION_FILES):
        files[VERSION_FILES[0]] = f"__version__ = {_version(source)!r}\n".encode()
    return files


def _version(source: SourceTree) -> str:
    """What the tests say of a package that has no version file."""
    for metadata in sorted(source.root.parent.glob("sglang-*.dist-info")):
        return metadata.name[len("sglang-") : -len(".dist-info")]
    if source.commit:
        return f"git {source.commit[:12]}"
    return source.version or "of unknown version"


def _strings(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
