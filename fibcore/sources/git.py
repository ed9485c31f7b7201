"""Shallow git clones through GitPython, and updates that lose nothing.

Only https, ssh and local transports are open to git here; it never asks for a password, never
fetches large LFS files, and gives up on a connection that stalls.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from fibcore.errors import SourceError
from fibcore.progress import Progress, report
from fibcore.regular_files import read_text
from fibcore.sources import foreign_git, git_files
from fibcore.sources.git_process import complaint, environment, git_program, ls_remote
from fibcore.sources.spec import GitSource, redacted

if TYPE_CHECKING:
    from git import Repo

PROBE_LIMIT_S = 10.0
"""Seconds in which a host has to answer before `auto` gives it up."""

ASK_LIMIT_S = 60.0
"""Seconds in which a host that was asked for by name has to answer."""


@attrs.frozen
class RemoteRef:
    """The meaning of a ref at a remote.

    Attributes:
        kind: "branch", "tag" or "commit".
        name: The branch's or tag's name, or the commit.
        commit: The commit it stands for.
    """

    kind: str
    name: str
    commit: str


def look_up(source: GitSource, limit_s: float = ASK_LIMIT_S) -> RemoteRef:
    """Ask the remote what the source's ref stands for (`git ls-remote`).

    Raises:
        UnreachableError: no answer within `limit_s`, or a refusal.
        SourceError: the remote has no such branch or tag.
    """
    ref = source.ref
    if ref is not None and source.is_commit:
        # A remote lists tips only; whether it has the commit shows when it is fetched.
        return RemoteRef("commit", ref, ref)
    names = ["HEAD"] if ref is None else [f"refs/heads/{ref}", f"refs/tags/{ref}"]
    found: dict[str, str] = {}
    for line in ls_remote(source.url, [*names, *(f"{n}^{{}}" for n in names)], limit_s):
        value, _, name = line.partition("\t")
        found[name] = value
    if ref is None:
        commit = found.get("HEAD commit")
        if commit is None:
            raise SourceError(
                "the repository has no default branch, or is empty",
                where=source.origin,
                hint="add @BRANCH to the URL",
            )
        head = found.get("HEAD", "").removeprefix("ref: refs/heads/")
        return RemoteRef("branch", head, commit) if head else RemoteRef("commit", commit, commit)
    branch_commit = found.get(f"refs/heads/{ref}")
    if branch_commit:
        return RemoteRef("branch", ref, branch_commit)
    tag_commit = found.get(f"refs/tags/{ref}^{{}}") or found.get(f"refs/tags/{ref}")
    if tag_commit:
        return RemoteRef("tag", ref, tag_commit)
    raise SourceError(
        "the repository has no such branch or tag",
        where=redacted(source.url),
        found=ref,
        hint="a commit has to be given in full, with its 40 digits",
    )


def clone(
    source: GitSource,
    folder: Path,
    progress: Progress | None,
    step: str,
    target: RemoteRef | None = None,
) -> RemoteRef:
    """Clone the newest commit of the source's ref, and nothing before it, into an empty folder.

    A branch is checked out as a branch that tracks its remote; a tag or commit is detached.

    Args:
        source: What to clone.
        folder: An empty folder; after an error its content is of no use.
        progress: Called while data is received.
        step: What progress calls this.
        target: What `look_up` answered, where it was asked already.

    Raises:
        SourceError: git cannot.
    """
    target = target or look_up(source)
    with _open(folder, create=True) as repo:
        repo.create_remote("origin", source.url)
        _fetch(repo, source, target, progress, step, shallow=True)
        report(progress, f"{step}: writing files")
        _run(source, repo.git.checkout, "-q", *_checkout(target))
        return attrs.evolve(target, commit=repo.head.commit.hexsha)


def update(folder: Path, source: GitSource, progress: Progress | None, step: str) -> RemoteRef:
    """Move a clone to what the source's ref stands for now.

    Files that git does not track stay, and a full clone stays full.

    Raises:
        SourceError: tracked files were changed, commits were made that the remote does not have,
            an untracked file is in the way, or git cannot; nothing was done then.
    """
    target = look_up(source)
    with _open(folder) as repo:
        _finish_update(repo, source)
        if repo.head.commit.hexsha == target.commit and repo.head.is_detached != (
            target.kind == "branch"
        ):
            return target
        _refuse_own_work(repo, folder, target)
        shallow = (Path(repo.common_dir) / "shallow").exists()
        _fetch(repo, source, target, progress, step, shallow=shallow)
        target = attrs.evolve(target, commit=repo.commit(_fetched(target)).hexsha)
        report(progress, f"{step}: writing files")
        marker = Path(repo.git_dir) / git_files.UPDATING
        marker.write_text(f"{target.commit} {target.kind} {target.name}", encoding="utf-8")
        try:
            _run(source, repo.git.checkout, "-q", *_checkout(target))
        except SourceError:
            # git refused before it changed a file: an untracked file is in the way.
            marker.unlink()
            raise
        marker.unlink()
        return target


def _checkout(target: RemoteRef) -> list[str]:
    """Arguments of `git checkout`; without --force it overwrites no local change."""
    if target.kind == "branch":
        return ["-B", target.name, "--track", _fetched(target)]
    return ["--detach", _fetched(target)]


def _fetched(target: RemoteRef) -> str:
    return {
        "branch": f"refs/remotes/origin/{target.name}",
        "tag": f"refs/tags/{target.name}",
        "commit": target.commit,
    }[target.kind]


def finish_update(folder: Path) -> None:
    """Bring an update that was interrupted to its end, so that the clone is whole again.

    Raises:
        SourceError: git cannot.
    """
    if git_files.being_updated(folder):
        with _open(folder) as repo:
            _finish_update(repo, GitSource(str(folder)))


def _finish_update(repo: Repo, source: GitSource) -> None:
    marker = Path(repo.git_dir) / git_files.UPDATING
    if not marker.exists():
        return
    parts = read_text(marker).split(" ")
    if len(parts) == 3:
        commit, kind, name = parts
        # A killed git leaves its lock; who works here holds the lock on the whole target folder.
        (Path(repo.git_dir) / "index.lock").unlink(missing_ok=True)
        # Before the interrupted update no tracked file had changes, so force loses none.
        _run(source, repo.git.checkout, "-q", "-f", *_checkout(RemoteRef(kind, name, commit)))
    # Else the marker itself was not written to its end, and nothing was changed yet.
    marker.unlink()


def remote_url(folder: Path) -> str | None:
    """The URL of the clone's remote `origin`; None where it has none.

    Raises:
        SourceError: not a git repository that can be read.
    """
    git_program()
    if git_files.git_dir(folder) is None:
        raise SourceError("not a git repository", where=str(folder))
    return foreign_git.remote_url(folder)


def _refuse_own_work(repo: Repo, folder: Path, target: RemoteRef) -> None:
    if repo.is_dirty(untracked_files=False):
        raise SourceError(
            "the clone was changed, so it is not updated",
            where=str(folder),
            hint="commit the changes and merge with git, or undo them",
        )
    own = [repo.head.commit.hexsha]
    own += [h.commit.hexsha for h in repo.heads if (h.name, "branch") == (target.name, target.kind)]
    if not set(own) <= _from_remotes(repo):
        raise SourceError(
            "the clone has commits that its remote may not have, so it is not updated",
            where=str(folder),
            found=", ".join(sorted({commit[:12] for commit in own})),
            hint="merge with git (git pull), or give another --target-dir",
        )


def _from_remotes(repo: Repo) -> set[str]:
    """Commits that were fetched: remote branches, tags, and where a shallow history ends."""
    known = {
        ref.commit.hexsha
        for ref in repo.refs
        if ref.path.startswith(("refs/remotes/", "refs/tags/"))
    }
    shallow = Path(repo.common_dir) / "shallow"
    if shallow.exists():
        known.update(read_text(shallow, encoding="ascii").split())
    return known


def _fetch(
    repo: Repo,
    source: GitSource,
    target: RemoteRef,
    progress: Progress | None,
    step: str,
    *,
    shallow: bool,
) -> None:
    from git import GitError

    refspec = {
        "branch": f"+refs/heads/{target.name}:refs/remotes/origin/{target.name}",
        "tag": f"+refs/tags/{target.name}:refs/tags/{target.name}",
        "commit": target.name,
    }[target.kind]
    # Depth is for what was cut short already: it would cut a full history.
    depth: dict[str, Any] = {"depth": 1} if shallow else {}
    report(progress, f"{step}: receiving")
    watcher = _watcher(progress, step)
    try:
        repo.remote("origin").fetch(refspec, progress=watcher, no_tags=True, **depth)
    except GitError as error:
        raise _git_failed(source, error) from error
    if watcher.interrupt is not None:
        raise watcher.interrupt


def _watcher(progress: Progress | None, step: str) -> Any:
    from git import RemoteProgress

    class Watcher(RemoteProgress):
        """Hands git's progress on; it runs in a thread of GitPython's."""

        interrupt: BaseException | None = None

        def update(
            self,
            op_code: int,
            cur_count: str | float,
            max_count: str | float | None = None,
            message: str = "",  # noqa: ARG002 - the signature is GitPython's
        ) -> None:
            stages = {self.RECEIVING: "receiving", self.RESOLVING: "unpacking"}
            stage = stages.get(op_code & self.OP_MASK)
            if stage is None or self.interrupt is not None:
                return
            try:
                total = float(max_count) if max_count else None
                report(progress, f"{step}: {stage}", float(cur_count), total)
            except BaseException as error:  # noqa: BLE001 - raised again in the calling thread
                self.interrupt = error

    return Watcher()


class _open:  # noqa: N801 - used as a function in `with`
    """A GitPython repository with this module's environment, closed at the end of the block."""

    def __init__(self, folder: Path, *, create: bool = False) -> None:
        git_program()
        from git import Git, GitError, Repo

        source = GitSource(str(folder))
        if create:
            git = Git(folder)
            # No template: hooks that the user's template brings are not run here.
            git.update_environment(**environment(), GIT_TEMPLATE_DIR="")
            _run(source, git.init, "-q", "--initial-branch=main")
        commands = foreign_git.commands_in_config(folder)
        if commands:
            raise SourceError(
                "the clone's config names commands that git would run, so git is not used on it",
                where=str(folder / ".git" / "config"),
                found=", ".join(commands),
                hint="put them into your own config (git config --global), or update with git",
            )
        try:
            self._repo = Repo(folder)
        except GitError as error:
            raise SourceError("not a git repository", where=str(folder)) from error
        self._repo.git.update_environment(**environment())

    def __enter__(self) -> Repo:
        return self._repo

    def __exit__(self, *_: object) -> None:
        self._repo.close()


def _run(source: GitSource, command: Any, *arguments: str) -> None:
    from git import GitError

    try:
        command(*arguments)
    except GitError as error:
        raise _git_failed(source, error) from error


def _git_failed(source: GitSource, error: Exception) -> SourceError:
    said = getattr(error, "stderr", None) or error
    return SourceError("git failed", where=source.origin, found=complaint(str(said)))
