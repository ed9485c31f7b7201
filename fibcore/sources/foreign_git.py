"""Questions to git about a repository whose config and hooks are not trusted.

A dataset or a source tree may come with a `.git` of its own, and its config can name commands that
git runs: for lazy fetches, file system monitors, filters, hooks, pagers. So git never sees it: it
is given a repository of ours, without any such config, that has the foreign one's objects, refs and
index. It may use no transport either.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from fibcore.sources import git_files

LIMIT_S = 60.0
"""Seconds that a question may take; git reads local files alone."""

_CONFIG = """\
[core]
\trepositoryformatversion = {version}
\tbare = false
{extensions}"""
_COMMANDS = re.compile(
    r"core\.(sshcommand|gitproxy|askpass|alternaterefscommand)|include(if)?\..*|credential\..*"
    r"|remote\..*\.(uploadpack|receivepack|vcs)|filter\..*\.(clean|smudge|process)",
    re.DOTALL,
)
"""Keys of a config whose values are commands, or files with more of them."""
_HARMLESS = {
    "credential": re.compile(r"[\w-]*"),
    "filter": re.compile(r"(git-lfs (clean|smudge|filter-process)( --skip)?( -- %f)?)?"),
}
_KEPT = ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM", "GIT_CONFIG_SYSTEM", "GIT_EXEC_PATH")
_SETTINGS = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.quotePath=false",
    "protocol.allow=never",
)


def ask(folder: Path, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str] | None:
    """Run git on the repository at `folder`, for a question that changes nothing.

    Args:
        folder: The top of the repository's working tree.
        arguments: The git command and its arguments.
        given: Text for its standard input.

    Returns:
        What it printed, and its exit status; None where `folder` is no repository, git is not
        installed, or it gave no answer in time.
    """
    git = shutil.which("git")
    directory = git_files.git_dir(folder)
    if git is None or directory is None:
        return None
    with tempfile.TemporaryDirectory(prefix="fibcore-git-") as made:
        view = Path(made)
        _fill(view, directory)
        with suppress(subprocess.TimeoutExpired):
            return subprocess.run(  # noqa: S603 - a fixed command
                [git, "--no-pager", *(p for s in _SETTINGS for p in ("-c", s)), *arguments],
                cwd=folder,
                input=given,
                capture_output=True,
                check=False,
                encoding="utf-8",
                errors="surrogateescape",
                env=_environment(view, folder, directory),
                timeout=LIMIT_S,
            )
    return None


def answer(folder: Path, *arguments: str) -> str | None:
    """What git prints about the repository at `folder`; None where it fails or is not there."""
    done = ask(folder, *arguments)
    return done.stdout if done is not None and done.returncode == 0 else None


def remote_url(folder: Path) -> str | None:
    """The URL of the remote `origin` of the repository at `folder`; None where it has none."""
    found = _config(folder, "--get", "remote.origin.url")
    return found.strip() if found else None


def commands_in_config(folder: Path) -> list[str]:
    """The keys of a repository's config with commands that git may run when it fetches."""
    listed = _config(folder, "--list", "-z") or ""
    found = []
    for entry in listed.split("\0"):
        key, _, value = entry.partition("\n")
        harmless = _HARMLESS.get(key.partition(".")[0])
        if _COMMANDS.fullmatch(key) and not (harmless and harmless.fullmatch(value)):
            found.append(key)
    return found


def _config(folder: Path, *arguments: str) -> str | None:
    directory = git_files.git_dir(folder)
    if directory is None:
        return None
    config = git_files.common_dir(directory) / "config"
    if not config.is_file():
        return None
    # With --file the config is text alone: git follows no setting of it, and no include.
    return answer(folder, "config", "--file", str(config.resolve()), *arguments)


def _fill(view: Path, directory: Path) -> None:
    """Make the folder a git directory with the objects and refs of another one."""
    common = git_files.common_dir(directory)
    with (directory / "HEAD").open("rb") as file:
        (view / "HEAD").write_bytes(file.read(4096))
    sha256 = _is_sha256(common / "config")
    extensions = "[extensions]\n\tobjectFormat = sha256\n" if sha256 else ""
    text = _CONFIG.format(version=int(sha256), extensions=extensions)
    (view / "config").write_text(text, encoding="utf-8")
    (view / "info").mkdir()
    for name in ("objects", "refs", "packed-refs", "shallow", "info/exclude"):
        source = common / name
        if source.is_dir() or source.is_file():  # no pipe, no device
            (view / name).symlink_to(source.resolve())
        elif name in ("objects", "refs"):
            (view / name).mkdir()


def _is_sha256(config: Path) -> bool:
    if not config.is_file():
        return False
    with config.open("rb") as file:
        text = file.read(1 << 20)
    return re.search(rb"^\s*objectformat\s*=\s*sha256\s*$", text, re.I | re.M) is not None


def _environment(view: Path, folder: Path, directory: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("GIT_") or k in _KEPT}
    return {
        **kept,
        "GIT_DIR": str(view),
        "GIT_WORK_TREE": str(folder.resolve()),
        "GIT_INDEX_FILE": str((directory / "index").resolve()),
        "GIT_ALLOW_PROTOCOL": "none",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_ATTR_NOSYSTEM": "1",
        "LC_ALL": "C",
    }
