"""The Hub's side of publishing, through huggingface_hub: its files, and the commit."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from fibcore.configs.hub import check_hub_id, first_line, http_errors, hub_errors, unreachable
from fibcore.errors import PublishError, UsageError
from fibcore.publishing.local import LocalFile, is_published
from fibcore.publishing.plan import FileChange, RemoteFile

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_LOG_IN = "log in (`hf auth login`, or HF_TOKEN) as somebody who may write there"
_HINTS = {
    400: "the message says what the Hub does not accept",
    401: _LOG_IN,
    403: "use a token that may write; where you may not write, open a pull request (--pr)",
    404: f"check --repo-id and --revision, and {_LOG_IN}",
    409: "somebody else committed meanwhile; run it again",
    412: "somebody else committed meanwhile; bring the clone up to date and run it again",
    413: "too much for one commit; publish in parts (move some files away for the first)",
    429: "the Hub asks for fewer requests; wait a few minutes and run it again",
}


@attrs.frozen
class RemoteState:
    """What the Hub has.

    Attributes:
        commit: The commit that the revision stands for.
        files: Its files that are published, by path.
    """

    commit: str
    files: Mapping[str, RemoteFile]


@attrs.frozen
class Committed:
    """What the Hub made of it.

    Attributes:
        url: The commit, or the pull request.
        commit: The commit's id.
        ignored: Files that the Hub left out, because its .gitignore names them.
    """

    url: str
    commit: str
    ignored: tuple[str, ...]


@attrs.frozen
class Remote:
    """A dataset repository on the Hub.

    Attributes:
        repo_id: Its id.
        revision: The branch, or `refs/pr/N`; None for `main`.
        endpoint: The Hub's address; None for that of huggingface_hub's settings.
        token: A token; None for the one that huggingface_hub finds.
    """

    repo_id: str = attrs.field()
    revision: str | None = None
    endpoint: str | None = None
    token: str | None = attrs.field(default=None, repr=False)

    @repo_id.validator
    def _check(self, _: object, value: str) -> None:
        try:
            check_hub_id(value)
        except UsageError as error:
            raise UsageError(
                "not the id of a dataset on the Hub",
                where="--repo-id",
                expected="OWNER/DATASET, such as flashinfer-ai/flashinfer-trace",
                found=error.found,
            ) from None

    def __str__(self) -> str:
        return self.repo_id + (f"@{self.revision}" if self.revision else "")

    def read(self, wanted: tuple[str, ...]) -> RemoteState:
        """What is there of what is published.

        Args:
            wanted: Patterns of what is published.

        Raises:
            PublishError: the Hub cannot be asked, or refuses.
        """
        why = unreachable(self.endpoint)
        if why is not None:
            raise PublishError(
                "the Hub cannot be reached",
                where=str(self),
                found=why,
                hint="try again with a network (and without HF_HUB_OFFLINE)",
            )
        with self._explained():
            api = self._api()
            # The listing is of one commit, whatever happens to the branch in between.
            info = api.repo_info(self.repo_id, repo_type="dataset", revision=self.revision)
            commit = info.sha
            if commit is None:
                raise PublishError(
                    "the Hub does not say which commit it has",
                    where=str(self),
                    hint="check that the dataset exists and is not empty",
                )
            listed = api.list_repo_tree(
                self.repo_id, repo_type="dataset", revision=commit, recursive=True
            )
            files = {}
            for entry in listed:
                blob_id = getattr(entry, "blob_id", None)  # a folder has none
                if blob_id is not None and is_published(entry.path, wanted):
                    files[entry.path] = _remote_file(entry)
        return RemoteState(commit, files)

    def commit(
        self,
        changes: Sequence[FileChange],
        local: Mapping[str, LocalFile],
        *,
        title: str,
        description: str,
        parent: str,
        pull_request: bool,
    ) -> Committed:
        """Make the commit, or the pull request. It is one step: all of it or nothing.

        Args:
            changes: What changes.
            local: The files.
            title: First line of the message.
            description: The rest of it.
            parent: The commit that was looked at; where the branch has gone on, the Hub refuses.
            pull_request: Whether to open a pull request.

        Raises:
            PublishError: the Hub cannot be asked, or refuses; it is as it was then.
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        with self._explained(), _no_bars():
            operations: list[Any] = []
            for change in changes:
                if change.kind == "deleted":
                    operations.append(CommitOperationDelete(change.path, is_folder=False))
                else:
                    path = str(local[change.path].path)
                    operations.append(CommitOperationAdd(change.path, path))
            info = self._api().create_commit(
                self.repo_id,
                operations,
                commit_message=title,
                commit_description=description,
                repo_type="dataset",
                revision=self.revision,
                create_pr=pull_request,
                parent_commit=parent,
            )
        ignored = tuple(o.path_in_repo for o in operations if getattr(o, "_should_ignore", False))
        return Committed(info.pr_url or info.commit_url, info.oid, ignored)

    def _api(self) -> HfApi:
        from huggingface_hub import HfApi

        return HfApi(endpoint=self.endpoint, token=self.token, library_name="fibcore")

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what huggingface_hub raises into errors that say what to do."""
        errors = hub_errors()
        try:
            yield
        except errors.RevisionNotFoundError as error:
            raise PublishError(
                "the dataset has no such revision",
                where=str(self),
                found=repr(self.revision),
                hint="name a branch, or refs/pr/N for an open pull request",
            ) from error
        except errors.RepositoryNotFoundError as error:
            raise PublishError(
                "the Hub has no such dataset, or it is private",
                where=str(self),
                found=first_line(error),
                hint=_HINTS[404],
            ) from error
        except errors.HfHubHTTPError as error:
            raise self._refused(error) from error
        except (ValueError, RuntimeError) as error:
            # The upload of a large file, with what happened as its cause.
            cause = error.__cause__
            if isinstance(cause, errors.HfHubHTTPError):
                raise self._refused(cause) from error
            raise PublishError(
                "the upload failed", where=str(self), found=first_line(cause or error)
            ) from error
        except http_errors() as error:
            raise PublishError(
                "the Hub cannot be asked",
                where=str(self),
                found=first_line(error),
                hint="try again; nothing was published",
            ) from error

    def _refused(self, error: Any) -> PublishError:
        response = getattr(error, "response", None)
        status = getattr(response, "status_code", 0)
        said = getattr(error, "server_message", None) or first_line(error)
        later = "the Hub has trouble; run it again later" if status >= 500 else None
        return PublishError(
            "the Hub refused",
            where=str(self),
            found=f"{status}: {said}" if status else said,
            hint=_HINTS.get(status, later),
        )


def _remote_file(entry: Any) -> RemoteFile:
    lfs = entry.lfs
    return RemoteFile(
        name=entry.path,
        size=entry.size if lfs is None else lfs.size,
        blob_id=entry.blob_id,
        sha256=None if lfs is None else lfs.sha256,
    )


@contextlib.contextmanager
def _no_bars() -> Iterator[None]:
    """Keep huggingface_hub from drawing bars of its own, without changing that for the caller."""
    utils = hub_errors()
    disabled = utils.are_progress_bars_disabled()
    if not disabled:
        utils.disable_progress_bars()
    try:
        yield
    finally:
        if not disabled:
            utils.enable_progress_bars()
