"""`repos_config.json`: the repositories that `clone_repos` put into the target folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs

from fibcore.errors import SourceError
from fibcore.model.json import configure, decode, to_data
from fibcore.regular_files import read_bytes

CONFIG_NAME = "repos_config.json"


@attrs.frozen
class Repository:
    """One repository in the target folder.

    Attributes:
        path: Its folder, as a path from where the call was made.
        status: "cloned" (git), "updated", "downloaded" (PyPI), "linked" (a symbolic link to a local
            or installed package), "initialized" (an empty dataset), or "present": it was there.
        origin: Where its content is from; None where it was there and does not say.
        commit: The git commit, None for others.
        version: The package's version, None where nothing says it.
        message: What the user should know; empty where there is nothing.
    """

    path: str
    status: str
    origin: str | None = None
    commit: str | None = None
    version: str | None = None
    message: str = ""


@attrs.frozen
class ReposConfig:
    """The content of the target folder, by "sglang", "flashinfer" and "flashinfer_trace"."""

    target_dir: str
    repositories: dict[str, Repository]

    def to_dict(self) -> dict[str, Any]:
        """Plain data in the form of repos_config.json; what is not known is left out."""
        data: dict[str, Any] = to_data(self)
        return data


configure(Repository, optional=("origin", "commit", "version", "message"))


def read_repos_config(target_dir: Path) -> dict[str, Any]:
    """The `repositories` of a target folder's repos_config.json; empty where it has none.

    Raises:
        SourceError: the file is broken.
    """
    path = target_dir / CONFIG_NAME
    try:
        data = decode(read_bytes(path))
        repositories = data["repositories"]
        if not all(isinstance(entry["path"], str) for entry in repositories.values()):
            raise TypeError("a path is not a string")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SourceError("cannot be read", where=str(path), found=str(error)) from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise SourceError(
            "not a repos_config.json",
            where=str(path),
            expected='{"target_dir": ..., "repositories": {NAME: {"path": ..., "status": ...}}}',
            found=f"{type(error).__name__}: {error}",
            hint="remove the file and run `fibcore clone-repos`",
        ) from error
    return dict(repositories)


def repository_path(target_dir: Path, key: str) -> Path | None:
    """Where a repository is that `clone_repos` set up, or lies in its usual place; None else.

    Args:
        target_dir: The folder of the repositories.
        key: "sglang", "flashinfer" or "flashinfer_trace".

    Raises:
        SourceError: repos_config.json is broken, or names a folder that is not there.
    """
    usual = target_dir / key.replace("_", "-")
    if usual.exists():
        return usual
    entry = read_repos_config(target_dir).get(key)
    if entry is None:
        return None
    # A relative path is one from where clone-repos ran, which need not be here.
    path = Path(entry["path"])
    if not path.exists():
        raise SourceError(
            "the repository is not where it was put",
            where=str(target_dir / CONFIG_NAME),
            expected=f"a folder {path}",
            hint="run `fibcore clone-repos` again",
        )
    return path
