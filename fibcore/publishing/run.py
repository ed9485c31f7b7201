"""`publish`: the changed files of a dataset folder, checked, in one commit or pull request."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from fibcore.dataset.locking import locked
from fibcore.errors import DatasetError
from fibcore.keywords import api
from fibcore.model.definition import Definition
from fibcore.progress import report
from fibcore.publishing.base import dataset_of_clone, find_base, ignored
from fibcore.publishing.checks import CheckedDataset
from fibcore.publishing.local import LocalFiles, find_files, patterns
from fibcore.publishing.message import description_of, title_of
from fibcore.publishing.plan import UploadPlan, plan_upload, some
from fibcore.publishing.remote import Committed, Remote
from fibcore.publishing.report import PublishReport
from fibcore.workspace import Where, Workspace, with_dataset

if TYPE_CHECKING:
    from typing_extensions import Unpack

REPO_ID = "flashinfer-ai/flashinfer-trace"
"""Where to, where nothing else says it."""

_LOCK_TIMEOUT_S = 600.0


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
        checked = CheckedDataset(root, plugins)
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
