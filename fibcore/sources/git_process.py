"""Processes of git: their environment, the question to a remote, their error messages."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess

from fibcore.errors import SourceError
from fibcore.sources.spec import redacted

_ACCESS = re.compile(r"fatal: unable to access '[^']*': ")


class UnreachableError(SourceError):
    """A remote did not answer in time, or refused."""


def git_program() -> str:
    """The path of git.

    Raises:
        UnreachableError: it is not installed.
    """
    path = shutil.which("git")
    if path is None:
        raise UnreachableError("git is not installed", hint="install git, or give a path or pypi:")
    return path


def environment() -> dict[str, str]:
    """Environment variables for every git process that this package starts."""
    variables = {
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": "https:ssh:file",
        "GIT_LFS_SKIP_SMUDGE": "1",
        "GIT_HTTP_LOW_SPEED_LIMIT": "1000",
        "GIT_HTTP_LOW_SPEED_TIME": "60",
        "LC_ALL": "C",
    }
    # Commands that a clone brings in its hooks or its config are not run.
    settings = [("core.hooksPath", os.devnull), ("core.fsmonitor", "false")]
    if shutil.which("git-lfs") is None:
        # A configured filter whose program is missing would fail the checkout.
        settings += [("filter.lfs.smudge", ""), ("filter.lfs.process", "")]
        settings.append(("filter.lfs.required", "false"))
    first = int(os.environ.get("GIT_CONFIG_COUNT") or 0)
    for index, (key, value) in enumerate(settings, first):
        variables[f"GIT_CONFIG_KEY_{index}"] = key
        variables[f"GIT_CONFIG_VALUE_{index}"] = value
    variables["GIT_CONFIG_COUNT"] = str(first + len(settings))
    return variables


def ls_remote(url: str, patterns: list[str], limit_s: float) -> list[str]:
    """Lines of `git ls-remote --symref`; the commit of HEAD is named `HEAD commit`.

    Raises:
        UnreachableError: no answer within `limit_s` seconds, or a refusal.
    """
    command = [git_program(), "ls-remote", "--symref", "--", url, *patterns]
    process = subprocess.Popen(  # noqa: S603 - the URL was checked by fibcore.sources.spec
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # The config of a repository around the current folder says nothing about this remote.
        env={**os.environ, **environment(), "GIT_DIR": os.devnull},
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        raise UnreachableError(
            "no answer", where=redacted(url), expected=f"an answer within {limit_s:g} s"
        ) from None
    finally:
        if process.poll() is None:
            # git's transport helper is a child of its own and holds the pipes.
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if process.returncode:
        raise UnreachableError("git cannot read it", where=redacted(url), found=complaint(errors))
    lines = []
    for line in output.splitlines():
        value, _, name = line.partition("\t")
        if name == "HEAD" and not value.startswith("ref:"):
            name = "HEAD commit"
        lines.append(f"{value}\t{name}")
    return lines


def complaint(errors: str) -> str:
    """Git's complaint: the first line that says fatal or error, else the last one."""
    lines = [line.strip(" '\t") for line in redacted(errors).splitlines() if line.strip(" '\t")]
    for line in lines:
        if "fatal:" in line or "error:" in line:
            return _ACCESS.sub("", line.removeprefix("stderr: '"))
    return lines[-1] if lines else "no message"
