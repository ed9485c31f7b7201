"""Where a package lies in a folder, and what its files say about version and commit."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from fibcore.errors import SourceError
from fibcore.model.json import decode
from fibcore.regular_files import read_text
from fibcore.sources import git_files

MARKER = "fibcore-source.json"
"""In folders that fibcore downloaded: origin and version."""

_PROVES = {"sglang": "srt/models", "flashinfer": "__init__.py"}
_VERSION_FILES = ("_version.py", "version.py", "_build_meta.py")
_PROJECTS = {"sglang": ("sglang",), "flashinfer": ("flashinfer_python", "flashinfer")}


def package_root(folder: Path, package: str, *, proof: str | None = None) -> Path | None:
    """The package's folder in a repository, in a folder that holds it, or `folder` itself.

    Args:
        folder: Where to look.
        package: The package's name.
        proof: What the package's folder holds; by default what the whole package always has.
    """
    proof = proof or _PROVES.get(package, "__init__.py")
    for root in (folder / "python" / package, folder / package):
        if (root / proof).exists():
            return root
    # The package itself bears its name, except where its content leaves no doubt.
    named = folder.name == package or proof != "__init__.py"
    return folder if named and (folder / proof).exists() else None


def require_package(folder: Path, package: str, where: str) -> Path:
    """The package's folder in `folder`.

    Raises:
        SourceError: it is not there, or an update of the clone was interrupted.
    """
    if not folder.is_dir():
        raise SourceError("no such folder", where=where, found=str(folder))
    top = _repository(folder)
    if top is not None and git_files.being_updated(top):
        raise SourceError(
            "an update of this clone was interrupted",
            where=str(top),
            hint="run `fibcore clone-repos`, which brings it to its end",
        )
    root = package_root(folder, package)
    if root is None:
        proof = _PROVES.get(package, "__init__.py")
        raise SourceError(
            f"the package {package} is not in this folder",
            where=where,
            expected=f"python/{package}/{proof}, {package}/{proof} or {proof} below it",
            found=_content(folder),
        )
    return root


def _content(folder: Path) -> str:
    names = sorted(entry.name for entry in folder.iterdir())
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return f"{folder} with {shown or 'nothing in it'}"


def commit_of(root: Path) -> str | None:
    """The commit that the package's repository has checked out; None outside a repository."""
    top = _repository(root)
    return git_files.head_commit(top) if top else None


def _repository(root: Path) -> Path | None:
    """The repository whose package `root` is; not just any repository that is further up."""
    holder = root.parent
    tops = [root, holder, *([holder.parent] if holder.name == "python" else [])]
    return next((top for top in tops if git_files.git_dir(top)), None)


def version_of(root: Path, package: str) -> str | None:
    """The package's version, read as text; None where nothing there says it.

    Asked in this order: the version module that a build writes, the metadata of an installed
    distribution beside the package, fibcore's own note of what it downloaded, an sdist's PKG-INFO,
    pyproject.toml, version.txt, and the last git tag.
    """
    return (
        _from_module(root)
        or _from_metadata(root.parent, package)
        or _from_marker(root)
        or _header(root.parent / "PKG-INFO")
        or _from_pyproject(root.parent / "pyproject.toml")
        or _from_text(root.parent / "version.txt")
        or _from_tag(root)
    )


def _from_module(root: Path) -> str | None:
    for name in _VERSION_FILES:
        text = _read(root / name)
        if text is None:
            continue
        try:
            module = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):  # a NUL, or deep nesting
            continue
        for statement in module.body:
            targets: list[ast.expr] = []
            if isinstance(statement, ast.Assign):
                targets = statement.targets
            elif isinstance(statement, ast.AnnAssign):
                targets = [statement.target]
            named = any(isinstance(t, ast.Name) and t.id == "__version__" for t in targets)
            value = getattr(statement, "value", None)
            if named and isinstance(value, ast.Constant) and isinstance(value.value, str):
                return value.value
    return None


def _from_metadata(folder: Path, package: str) -> str | None:
    for project in _PROJECTS.get(package, (package,)):
        for info in folder.glob(f"{project}-*.dist-info"):
            version = _header(info / "METADATA")
            if version:
                return version
    return None


def _header(path: Path) -> str | None:
    head = (_read(path) or "").partition("\n\n")[0]
    found = re.search(r"^Version:\s*(\S+)\s*$", head, re.MULTILINE)
    return found.group(1) if found else None


def _from_marker(root: Path) -> str | None:
    for folder in (root.parent, root.parent.parent):
        marker = read_marker(folder)
        if marker:
            return marker.get("version")
    return None


def read_marker(folder: Path) -> dict[str, str] | None:
    """Read fibcore's note on a folder that it downloaded; None for other folders."""
    text = _read(folder / MARKER)
    if text is None:
        return None
    try:
        data = decode(text)
    except ValueError:
        return None
    if not isinstance(data, dict):
        return None
    return {k: v for k, v in data.items() if isinstance(k, str) and isinstance(v, str)}


def _from_pyproject(path: Path) -> str | None:
    project = re.search(
        r"^\[project\]\s*$(.*?)(?=^\[|\Z)", _read(path) or "", re.MULTILINE | re.DOTALL
    )
    if project is None:
        return None
    found = re.search(r"""^version\s*=\s*["']([^"']+)["']""", project.group(1), re.MULTILINE)
    return found.group(1) if found else None


def _from_text(path: Path) -> str | None:
    found = re.match(r"v?(\d[\w.+!-]*)\s*$", _read(path) or "")
    return found.group(1) if found else None


def _from_tag(root: Path) -> str | None:
    top = _repository(root)
    if top is None:
        return None
    from fibcore.sources import foreign_git  # for clones alone

    described = foreign_git.answer(top, "describe", "--tags", "--match", "v[0-9]*") or ""
    # v0.5.9-12-gabc: 12 commits after the tag; written as a version with a local part.
    tag, *since = described.strip().removeprefix("v").rsplit("-", 2)
    return (tag + ("+" + ".".join(since) if since else "")) or None


def _read(path: Path) -> str | None:
    try:
        return read_text(path, encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return None
