"""Sets up one repository of the target folder: new, linked, or the one that is there."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import attrs

from fibcore.errors import FibcoreError, SourceError
from fibcore.progress import Progress, report, report_end
from fibcore.sources import git, git_files, layout
from fibcore.sources.fetching import UPSTREAM, fetch
from fibcore.sources.finding import find_source
from fibcore.sources.folders import PARTIAL, staged, unusable
from fibcore.sources.git_process import UnreachableError
from fibcore.sources.repos_config import (
    Repository,
)
from fibcore.sources.spec import (
    AutoSource,
    GitSource,
    InstalledSource,
    PathSource,
    PypiSource,
    Source,
    redacted,
    url_host,
)


@attrs.frozen
class RepositoryKind:
    """One of the repositories that `clone_repos` sets up.

    Attributes:
        key: Its name in repos_config.json.
        package: The package that it has to hold; None for the dataset.
        url: Where it is cloned from by default.
    """

    key: str
    package: str | None
    url: str

    @property
    def folder(self) -> str:
        """The name of its folder."""
        return self.key.replace("_", "-")

    @property
    def option(self) -> str:
        """The option that says where it comes from."""
        return f"--{self.folder}"


class RepositorySetup:
    """Sets repositories up in one call of `clone_repos`, which holds the target folder's lock."""

    def __init__(
        self,
        target: str,
        update: bool,
        progress: Progress | None,
        before: dict[str, Any],
    ) -> None:
        self.target = target
        self.update = update
        self.progress = progress
        self.before = before
        self.answers: dict[str, git.RemoteRef] = {}
        self.unreachable: dict[str, UnreachableError] = {}

    def attempt(self, kind: RepositoryKind, source: Source) -> Repository | FibcoreError:
        """Bring one repository about, or say why that cannot be."""
        begun, outcome = time.monotonic(), self._attempted(kind, source)
        result = outcome.status if isinstance(outcome, Repository) else "failed"
        report_end(self.progress, kind.folder, result, time.monotonic() - begun)
        return outcome

    def _attempted(self, kind: RepositoryKind, source: Source) -> Repository | FibcoreError:
        try:
            return self.set_up(kind, source)
        except FibcoreError as error:
            return error
        except OSError as error:
            return unusable(Path(self.target, kind.folder), error)

    def set_up(self, kind: RepositoryKind, source: Source) -> Repository:
        """Bring one repository about."""
        folder = Path(self.target, kind.folder)
        if isinstance(source, (PathSource, InstalledSource)):
            return self._link(kind, source, folder)
        if folder.is_symlink():
            return self._linked(kind, source, folder)
        if folder.exists() and not folder.is_dir():
            raise SourceError("a file is in the way", where=str(folder), expected="a folder")
        if not folder.exists() or not any(folder.iterdir()):
            return self._new(kind, source, folder)
        if git_files.git_dir(folder):
            return self._clone_there(kind, source, folder)
        if layout.read_marker(folder) is not None:
            return self._download_there(kind, source, folder)
        return self._foreign_there(kind, source, folder)

    # New.

    def _new(
        self, kind: RepositoryKind, source: Source, folder: Path, status: str = ""
    ) -> Repository:
        """Fetch into a folder beside, which takes the place of `folder` when it is whole."""
        if isinstance(source, AutoSource):
            return self._new_auto(kind, folder, status)
        assert isinstance(source, (GitSource, PypiSource))
        with staged(folder) as new:
            target = self.answers.get(source.origin)
            if kind.package is not None:
                fetch(source, kind.package, new, self.progress, target)
            else:
                assert isinstance(source, GitSource)
                git.clone(source, new, self.progress, kind.folder, target)
        cloned = isinstance(source, GitSource)
        status = status or ("cloned" if cloned else "downloaded")
        return self._describe(kind, status, folder, source.origin)

    def _new_auto(self, kind: RepositoryKind, folder: Path, status: str) -> Repository:
        source = GitSource(kind.url)
        refused = self._probe(source)
        if refused is None:
            return self._new(kind, source, folder, status)
        why = f"{kind.url} cannot be reached ({refused.found or refused.message})"
        if kind.package is None:
            with staged(folder) as new:
                (new / "definitions").mkdir()
            message = f"an empty dataset, since {why}"
            return self._describe(kind, "initialized", folder, None, message)
        release = UPSTREAM[kind.package].pypi
        try:
            repository = self._new(kind, release, folder, status)
        except SourceError as error:
            raise SourceError(
                error.message,
                where=error.where,
                expected=error.expected,
                found=f"{error.found or 'no more is known'}; and {why}",
                hint=f"give {kind.option} a path or a mirror's URL, or try again with a network",
            ) from error
        return attrs.evolve(repository, message=f"{release.origin}, since {why}")

    def _probe(self, source: GitSource) -> UnreachableError | None:
        """The error of a host that cannot be reached; None where it answers. Asked once a call."""
        host = url_host(source.url)
        if host not in self.unreachable:
            report(self.progress, f"asking {host or source.url}")
            try:
                self.answers[source.origin] = git.look_up(source, git.PROBE_LIMIT_S)
            except UnreachableError as error:
                self.unreachable[host] = error
        return self.unreachable.get(host)

    # Links

    def _link(
        self, kind: RepositoryKind, source: PathSource | InstalledSource, folder: Path
    ) -> Repository:
        if isinstance(source, PathSource):
            goal = source.path
        else:
            goal = find_source("installed", Path(self.target), kind.package or "").root
        if folder.is_symlink():
            if not _same(folder, goal):
                new = folder.with_name(PARTIAL + folder.name)
                new.symlink_to(goal.resolve(), target_is_directory=True)
                new.replace(folder)
        elif _same(folder, goal):
            return self._describe(kind, "present", folder, source.origin)
        elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise _in_the_way(folder, source)
        else:
            if folder.exists():
                folder.rmdir()
            folder.symlink_to(goal.resolve(), target_is_directory=True)
        return self._describe(kind, "linked", folder, source.origin)

    def _linked(self, kind: RepositoryKind, source: Source, folder: Path) -> Repository:
        if not isinstance(source, AutoSource):
            raise _in_the_way(folder, source)
        if not folder.is_dir():
            raise SourceError(
                "a link leads nowhere",
                where=str(folder),
                found=str(folder.readlink()),
                hint=f"remove the link, or give {kind.option} another path",
            )
        if kind.package is not None:
            layout.require_package(folder, kind.package, str(folder))
        return self._describe(kind, "linked", folder, str(folder.resolve()))

    # What is there

    def _clone_there(self, kind: RepositoryKind, source: Source, folder: Path) -> Repository:
        git.finish_update(folder)
        url = git.remote_url(folder)
        recorded = self._recorded(kind)
        head = git_files.head_commit(folder)
        if head is None:
            raise SourceError(
                "a clone without a commit", where=str(folder), hint="remove the folder"
            )
        if isinstance(source, PypiSource):
            raise _in_the_way(folder, source)
        if isinstance(source, GitSource):
            if url is None or _plain(url) != _plain(source.url):
                raise _in_the_way(folder, source, redacted(url or "a repository of its own"))
            if not self.update and source.ref not in (_ref_in(recorded, url), head):
                raise SourceError(
                    "another ref is checked out",
                    where=str(folder),
                    expected=source.origin,
                    found=recorded or f"commit {head}",
                    hint="add --update to move to it",
                )
        if kind.package is not None:
            layout.require_package(folder, kind.package, str(folder))
        if not self.update:
            return self._describe(kind, "present", folder, recorded or url)
        if not isinstance(source, GitSource):
            ref = _ref_in(recorded, url) or git_files.current_branch(folder)
            if url is None or ref is None:
                what = "it has no remote" if url is None else "no branch is checked out"
                return self._describe(
                    kind, "present", folder, recorded or url, f"not updated: {what}"
                )
            source = GitSource(url, ref)
        after = git.update(folder, source, self.progress, kind.folder).commit
        status = "present" if after == head else "updated"
        return self._describe(kind, status, folder, source.origin)

    def _download_there(self, kind: RepositoryKind, source: Source, folder: Path) -> Repository:
        origin = (layout.read_marker(folder) or {}).get("origin")
        if source.origin == origin or (isinstance(source, AutoSource) and not self.update):
            assert kind.package is not None
            layout.require_package(folder, kind.package, str(folder))
            return self._describe(kind, "present", folder, origin)
        if not self.update:
            raise _in_the_way(folder, source, origin, "add --update to replace it")
        if isinstance(source, AutoSource) and kind.package is not None:
            release = UPSTREAM[kind.package].pypi.origin
            refused = self._probe(GitSource(kind.url))
            if refused is not None and origin == release:
                message = f"{kind.url} cannot be reached ({refused.found or refused.message})"
                return self._describe(kind, "present", folder, origin, message)
        return self._new(kind, source, folder, "updated")

    def _foreign_there(self, kind: RepositoryKind, source: Source, folder: Path) -> Repository:
        """A folder that someone else filled: used where it is what is wanted, never changed."""
        if kind.package is None:
            usable = (folder / "definitions").is_dir()
        else:
            usable = layout.package_root(folder, kind.package) is not None
        if not usable or not isinstance(source, AutoSource):
            raise _in_the_way(folder, source)
        message = "not updated: it is no clone" if self.update else ""
        return self._describe(kind, "present", folder, self._recorded(kind), message)

    def _recorded(self, kind: RepositoryKind) -> str | None:
        origin = self.before.get(kind.key, {}).get("origin")
        return origin if isinstance(origin, str) else None

    def _describe(
        self, kind: RepositoryKind, status: str, folder: Path, origin: str | None, message: str = ""
    ) -> Repository:
        path = os.path.join(self.target, kind.folder)  # noqa: PTH118 - keeps a leading "./"
        if kind.package is None:
            commit, version = git_files.head_commit(folder), None
        else:
            root = layout.require_package(folder, kind.package, str(folder)).resolve()
            commit, version = layout.commit_of(root), layout.version_of(root, kind.package)
        return Repository(
            path, status, redacted(origin) if origin else None, commit, version, message
        )


def _same(one: Path, other: Path) -> bool:
    return one.exists() and one.resolve() == other.resolve()


def _plain(url: str) -> str:
    return redacted(url).rstrip("/").removesuffix(".git")


def _ref_in(recorded: str | None, url: str | None) -> str | None:
    """The ref that a clone was made at, from the origin that was recorded of it."""
    start = redacted(url or "") + "@"
    return recorded[len(start) :] if url and recorded and recorded.startswith(start) else None


def _in_the_way(
    folder: Path, source: Source, found: str | None = None, hint: str | None = None
) -> SourceError:
    names = [] if not folder.is_dir() else sorted(e.name for e in folder.iterdir())
    content = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
    return SourceError(
        "the folder holds something else, which stays as it is",
        where=str(folder),
        expected=f"nothing there, or {source.origin}",
        found=found or content or "a link",
        hint=hint or "move or remove it, or give another --target-dir",
    )
