"""The files of SGLang's source that tests need where they run on another machine."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from fibcore.errors import DatasetError
from fibcore.regular_files import read_bytes

VERSION_FILES = ("_version.py", "version.py")


def files_named_in(module: str, package: Path) -> dict[str, bytes]:
    """The files of SGLang's package that a test module names, and what says the version.

    Ground truths name a file by its path below the package, as a string: every string of the
    module that is such a path is taken for one.

    Args:
        module: Text of the module.
        package: SGLang's package folder.

    Returns:
        Path to content, relative to a folder that is to hold the package as `sglang`. `srt/` is
        there even if nothing is named, for by it a package is known.

    Raises:
        DatasetError: a file cannot be read.
    """
    root = package.resolve()
    try:
        named = {path for path in _strings(ast.parse(module)) if path.endswith(".py")}
    except (SyntaxError, ValueError):
        named = set()  # the tests say what is wrong with it
    files = {"sglang/srt/__init__.py": b""}
    for path in sorted({*named, *VERSION_FILES}):
        file = root / path
        try:
            if file.resolve().is_relative_to(root) and file.is_file():
                files[f"sglang/{path}"] = read_bytes(file)
        except OSError as error:
            raise DatasetError(
                "cannot read SGLang's source",
                where=str(file),
                found=error.strerror or str(error),
            ) from None
    return {**files, **_version(package)}


def _version(package: Path) -> dict[str, bytes]:
    """What says the version beside a package without a version file: metadata, or git's commit."""
    found = {f"{m.name}/METADATA": b"" for m in package.parent.glob("sglang-*.dist-info")}
    for folder in (package.parent, package.parent.parent):
        with suppress(OSError, UnicodeDecodeError):
            head = read_bytes(folder / ".git" / "HEAD")
            if head.startswith(b"ref: "):
                head = read_bytes(folder / ".git" / head[5:].decode().strip())
            found.setdefault(".git/HEAD", head)
    return found


def _strings(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
