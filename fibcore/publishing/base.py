"""What a dataset folder's files are based on: the commit of the Hub that its clone has."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import attrs

from fibcore.errors import PublishError
from fibcore.sources import foreign_git, git_files

_HUB_URL = re.compile(
    r"(?:https?://(?:[^/@]+@)?[^/]+/|(?:ssh://)?git@[^/:]+[:/])datasets/([^/]+/[^/]+?)(?:\.git)?/?"
)


@attrs.frozen
class Base:
    """A commit of the Hub that a folder's files were once equal to.

    Attributes:
        commit: The commit.
        blobs: Path to git's id of the file in it.
    """

    commit: str
    blobs: Mapping[str, str]


def dataset_of_url(url: str) -> str | None:
    """The dataset's id in the URL of a git remote of the Hub; None for other URLs."""
    match = _HUB_URL.fullmatch(url.strip())
    return match[1] if match else None


def dataset_of_clone(root: Path) -> str | None:
    """The id of the Hub's dataset that a folder is a clone of; None where it is none."""
    if git_files.git_dir(root) is None:
        return None
    url = foreign_git.remote_url(root)
    return dataset_of_url(url) if url else None


def find_base(root: Path, revision: str | None) -> Base | None:
    """The newest commit that the folder and its remote branch have in common.

    None where the folder is no clone, or git does not know such a commit.

    Args:
        root: The dataset folder.
        revision: The branch that is published to; None for the remote's default branch.
    """
    if git_files.git_dir(root) is None:
        return None
    names = (revision,) if revision is not None else ()
    for name in (*names, "HEAD", "main"):
        remote = foreign_git.answer(
            root, "rev-parse", "--verify", "--quiet", f"refs/remotes/origin/{name}"
        )
        common = foreign_git.answer(root, "merge-base", "HEAD", remote.strip()) if remote else None
        if common:
            return Base(common.strip(), _blobs(root, common.strip()))
    return None


def ignored(root: Path, names: Iterable[str]) -> frozenset[str]:
    """Which paths the folder's .gitignore files name; none where it is no repository.

    A file that git tracks is not ignored, whatever these files say.

    Raises:
        PublishError: git cannot tell.
    """
    given = "\0".join(names)
    if git_files.git_dir(root) is None or not given:
        return frozenset()
    asked = foreign_git.ask(root, "check-ignore", "-z", "--stdin", given=given)
    if asked is None or asked.returncode not in (0, 1):
        raise PublishError(
            "git cannot tell which files are ignored",
            where=str(root),
            found=asked.stderr.strip() if asked else "git is not installed",
            hint="install git, or correct what it complains of",
        )
    return frozenset(name for name in asked.stdout.split("\0") if name)


def _blobs(root: Path, commit: str) -> dict[str, str]:
    listed = foreign_git.answer(root, "ls-tree", "-r", "-z", commit) or ""
    found = {}
    for line in listed.split("\0"):
        facts, tab, path = line.partition("\t")
        if tab:
            found[path] = facts.split()[2]  # mode, type, id
    return found
