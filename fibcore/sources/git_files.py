"""Facts of a git repository, read from its files as text: no git and no process."""

from __future__ import annotations

import re
from pathlib import Path

from fibcore.regular_files import read_text

UPDATING = "fibcore-updating"
"""File in `.git` that is there while the working tree is moved to another commit."""

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


def git_dir(folder: Path) -> Path | None:
    """The git directory of the repository whose top is `folder`; None where it is none."""
    entry = folder / ".git"
    if entry.is_dir():
        return entry if (entry / "HEAD").is_file() else None
    text = _read(entry)
    if text is None or not text.startswith("gitdir:"):
        return None
    linked = folder / text[len("gitdir:") :].strip()
    return linked if linked.is_dir() else None


def common_dir(directory: Path) -> Path:
    """The git directory that holds objects, refs and config: of a linked worktree, the main one."""
    common = _read(directory / "commondir")
    return directory / common.strip() if common else directory


def head_commit(folder: Path) -> str | None:
    """The commit that is checked out in the repository at `folder`; None where there is none."""
    directory = git_dir(folder)
    if directory is None:
        return None
    text = _read(directory / "HEAD")
    if text is None:
        return None
    if not text.startswith("ref:"):
        return _commit(text)
    name = text[len("ref:") :].strip()
    for place in (directory, common_dir(directory)):
        commit = _commit(_read(place / name)) or _packed(place, name)
        if commit:
            return commit
    return None


def current_branch(folder: Path) -> str | None:
    """The branch that is checked out in the repository at `folder`; None where there is none."""
    directory = git_dir(folder)
    text = _read(directory / "HEAD") if directory else None
    prefix = "ref: refs/heads/"
    return text.strip().removeprefix(prefix) if text and text.startswith(prefix) else None


def being_updated(folder: Path) -> bool:
    """Whether an update of the repository at `folder` was interrupted (or runs right now)."""
    directory = git_dir(folder)
    return directory is not None and (directory / UPDATING).is_file()


def _packed(directory: Path, name: str) -> str | None:
    for line in (_read(directory / "packed-refs") or "").splitlines():
        commit, _, ref = line.partition(" ")
        if ref == name:
            return _commit(commit)
    return None


def _commit(text: str | None) -> str | None:
    text = (text or "").strip()
    return text if _COMMIT.fullmatch(text) else None


def _read(path: Path) -> str | None:
    try:
        return read_text(path)
    except (OSError, UnicodeDecodeError):
        return None
