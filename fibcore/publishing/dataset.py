"""`publish`: the changed files of a dataset folder, checked, in one commit or pull request."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from fibcore.dataset import Dataset
from fibcore.dataset.conflicts import MARKDOWN_PATH
from fibcore.dataset.files import relative
from fibcore.dataset.locking import locked
from fibcore.errors import DatasetError, FibcoreError, PublishError
from fibcore.keywords import api
from fibcore.model.definition import Definition
from fibcore.ops.registry import Registry
from fibcore.progress import report
from fibcore.publishing.base import dataset_of_clone, find_base, ignored
from fibcore.publishing.local import LocalFiles, find_files, patterns
from fibcore.publishing.message import description_of, title_of
from fibcore.publishing.plan import FileChange, UploadPlan, plan_upload, some
from fibcore.publishing.remote import Committed, Remote
from fibcore.validation.run import validate
from fibcore.workspace import Where, Workspace, with_dataset

if TYPE_CHECKING:
    from typing_extensions import Unpack

REPO_ID = "flashinfer-ai/flashinfer-trace"
"""Where to, where nothing else says it."""

_LOCK_TIMEOUT_S = 600.0


@attrs.frozen
class PublishReport:
    """The result of `fibcore.publish`.

    Attributes:
        dataset: The folder.
        repo_id: The dataset on the Hub.
        revision: The branch or pull request that it goes to; None for the main branch.
        pull_request: Whether it becomes a pull request.
        dry_run: Whether nothing was sent, because nobody said `yes`.
        parent: The commit of the Hub that was compared with.
        base: The commit that the folder is based on; None where that is not known.
        changes: What changes on the Hub.
        unchanged: How many files the Hub has just so.
        newer: Files that others changed on the Hub, and that are left alone.
        kept: Files that were removed here and stay on the Hub.
        left_out: Files in published folders that do not belong to the dataset's layout.
        title: First line of the message.
        description: The rest of it.
        refusals: Why nothing may be published; each says what to do.
        notes: What a reader should know besides.
        url: The commit or pull request that was made; None where none was.
        commit: Its id.
    """

    dataset: str
    repo_id: str
    revision: str | None
    pull_request: bool
    dry_run: bool
    parent: str
    base: str | None
    changes: tuple[FileChange, ...]
    unchanged: int
    newer: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    title: str = ""
    description: str = ""
    refusals: tuple[FibcoreError, ...] = ()
    notes: tuple[str, ...] = ()
    url: str | None = None
    commit: str | None = None

    @property
    def counts(self) -> dict[str, int]:
        """How many files are added, changed, deleted and unchanged, and the bytes to upload."""
        kinds = Counter(change.kind for change in self.changes)
        return {
            "added": kinds["added"],
            "changed": kinds["changed"],
            "deleted": kinds["deleted"],
            "unchanged": self.unchanged,
            "bytes": sum(change.size for change in self.changes),
        }

    @property
    def exit_code(self) -> int:
        """1 where publishing is refused, else 0."""
        return 1 if self.refusals else 0

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `--json` prints it."""
        data = attrs.asdict(self, filter=lambda a, _: a.name != "refusals")
        return {
            **data,
            "refusals": [error.to_dict() for error in self.refusals],
            "counts": self.counts,
            "exit_code": self.exit_code,
        }


@api(Where)
def publish(
    folder: str | Path | None = None,
    /,
    *,
    repo_id: str | None = None,
    revision: str | None = None,
    pull_request: bool = True,
    message: str | None = None,
    reports: bool = True,
    delete: bool = False,
    overwrite: bool = False,
    yes: bool = False,
    endpoint: str | None = None,
    token: str | None = None,
    **where: Unpack[Where],
) -> PublishReport:
    """Publish a dataset folder on the Hugging Face Hub, in one commit or pull request.

    Exactly the files that differ from the Hub's are sent. Changes of others are not undone: in a
    clone, a file that only the Hub has a newer version of is left alone, and one that both
    changed is a refusal; and a commit that somebody makes meanwhile makes the Hub refuse this one.

    Args:
        folder: The dataset's folder; the same as `dataset`.
        repo_id: The dataset on the Hub; by default the one that the folder is a clone of, else
            flashinfer-ai/flashinfer-trace.
        revision: A branch, or `refs/pr/N` for an open pull request; by default the main branch.
        pull_request: Open a pull request; otherwise commit to `revision` itself.
        message: First line of the message, in place of one that counts definitions.
        reports: Also publish provenance and the evidence of tests.
        delete: Remove from the Hub what was removed here.
        overwrite: Undo changes of others where the files here differ.
        yes: Publish; without it nothing is sent, and the report says what would be.
        endpoint: The Hub's address; by default that of huggingface_hub's settings (HF_ENDPOINT).
        token: A token; by default the one that huggingface_hub finds (HF_TOKEN, `hf auth login`).
        **where: Where the dataset is, and the plugins, which tell variants of a kernel apart; see
            `fibcore.workspace.Where`.

    Returns:
        The report. Where it has refusals nothing was sent, and its `exit_code` is 1.

    Raises:
        UsageError: an option is wrong.
        DatasetError: the folder is no dataset, or cannot be read.
        PublishError: the Hub cannot be asked, or refuses.
    """
    workspace = Workspace.of(**with_dataset(where, folder))
    root, progress = workspace.dataset_folder, workspace.progress
    plugins = workspace.registry
    with _quiet(root) if yes else contextlib.nullcontext():
        clone_of = dataset_of_clone(root)
        remote = Remote(repo_id or clone_of or REPO_ID, revision, endpoint, token)
        report(progress, "checking the dataset")
        checked = _Checked(root, plugins)
        wanted = patterns(reports=reports)
        local = _local(root, wanted)
        report(progress, f"asking the Hub about {remote}")
        state = remote.read(wanted)
        based = clone_of is not None and clone_of.lower() == remote.repo_id.lower()
        base = find_base(root, revision) if based else None
        report(progress, "comparing files")
        plan = plan_upload(local.files, state.files, base, delete=delete)
        definitions = {checked.path(d): d for d in checked.definitions}
        result = PublishReport(
            dataset=str(root),
            repo_id=remote.repo_id,
            revision=revision,
            pull_request=pull_request,
            dry_run=not yes,
            parent=state.commit,
            base=base.commit if base else None,
            changes=tuple(plan.changes),
            unchanged=plan.unchanged,
            newer=tuple(plan.newer),
            kept=tuple(plan.kept),
            left_out=local.left_out,
            title=_title(message, plan, definitions),
            description=description_of(plan.changes, definitions) if plan.changes else "",
            refusals=(
                *checked.refusals(plan),
                *local.errors,
                *plan.refusals(based=base is not None, overwrite=overwrite),
            ),
            notes=tuple(checked.notes(plan)),
        )
        if not yes or result.refusals or not plan.changes:
            return result
        report(progress, f"sending {len(plan.changes)} files")
        made = remote.commit(
            plan.changes,
            local.files,
            title=result.title,
            description=result.description,
            parent=state.commit,
            pull_request=pull_request,
        )
    notes = (*result.notes, *_left_by_hub(made))
    return attrs.evolve(result, url=made.url, commit=made.commit, notes=notes)


@contextlib.contextmanager
def _quiet(root: Path) -> Iterator[None]:
    """Keep other runs of fibcore from writing to the dataset until it is sent."""
    if not root.is_dir():
        raise DatasetError(
            "there is no dataset",
            where=str(root),
            hint="fibcore extract-kernel-definitions makes one; --dataset names another",
        )
    with locked(root, _LOCK_TIMEOUT_S):
        yield


def _local(root: Path, wanted: tuple[str, ...]) -> LocalFiles:
    found = find_files(root, wanted)
    skip = ignored(root, (*found.files, *found.left_out))
    if not skip:
        return found
    return LocalFiles(
        {name: file for name, file in found.files.items() if name not in skip},
        tuple(name for name in found.left_out if name not in skip),
        found.errors,
    )


def _title(message: str | None, plan: UploadPlan, definitions: Mapping[str, Definition]) -> str:
    if message is not None and message.strip():
        return message.strip()
    return title_of(plan.changes, definitions) if plan.changes else ""


def _left_by_hub(made: Committed) -> Iterator[str]:
    if made.ignored:
        yield f"the Hub's .gitignore names these files, which were not taken: {some(made.ignored)}"


class _Checked:
    """The dataset's own checks, and what they mean for publishing.

    A problem of a file that the Hub has just so does not stand in the way of other files.
    """

    def __init__(self, root: Path, plugins: Registry) -> None:
        self.root = root
        self.validation = validate(root, registry=plugins)
        self.store = Dataset(root, variant=plugins.function_of)
        self.definitions = self.store.read().definitions
        self.conflicts = self.store.conflicts()

    def path(self, definition: Definition) -> str:
        """The file of a definition, relative to the dataset."""
        return relative(self.root, self.store.path(definition))

    def refusals(self, plan: UploadPlan) -> Iterator[PublishError]:
        """Why the changes may not be published."""
        sent = {change.path for change in plan.changes if change.kind != "deleted"}
        wrong = [p for p in self.validation.errors if p.path in sent]
        if wrong:
            yield PublishError(
                f"the dataset has errors in {len({p.path for p in wrong})} of the files",
                found="; ".join(f"{p.path}: {p.message}" for p in wrong[:3])
                + ("; ..." if len(wrong) > 3 else ""),
                hint="correct what `fibcore validate` lists",
            )
        for conflict in self.conflicts:
            paths = {self.path(conflict.kept), self.path(conflict.new)}
            if paths & sent:
                yield PublishError(
                    f"the conflict about {conflict.name} is open",
                    where=str(self.root / MARKDOWN_PATH),
                    found=f"{conflict.new.name} is another kernel of that name",
                    hint="rename one of the two (file name and `name`) or remove it",
                )

    def notes(self, plan: UploadPlan) -> Iterator[str]:
        """What is wrong with files that are not sent, and what is not proved yet."""
        sent = {change.path for change in plan.changes}
        others = {p.path for p in self.validation.errors} - sent
        if others:
            yield f"files that are not part of this have errors: {some(sorted(others))}"
        unproved = [
            d.name
            for d in self.definitions
            if self.path(d) in sent and "status:verified" not in d.tags
        ]
        if unproved:
            yield f"not verified against a ground truth: {some(unproved)}"
