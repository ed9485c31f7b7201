"""`fibcore.import_trace`: a dump of FlashInfer's tracing into a dataset."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fibcore.dataset import Dataset, ImportEntry, Outcome
from fibcore.errors import FibcoreError, TraceError, UsageError
from fibcore.keywords import api, several
from fibcore.model.definition import Definition
from fibcore.ops.registry import Registry
from fibcore.progress import Progress, report
from fibcore.references.running import ReferenceRunner
from fibcore.traces.reading import Trace, TraceFile, read_trace
from fibcore.traces.repairs import Repaired, repair
from fibcore.traces.report import ImportedKernel, ImportReport
from fibcore.validation.execution import template_source
from fibcore.workspace import Where, Workspace

if TYPE_CHECKING:
    from typing_extensions import Unpack

TOOL = "flashinfer.trace"
"""What provenance calls the tool that wrote the files."""

_SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/+-]*")


@api(Where)
def import_trace(
    trace: str | Path,
    *,
    model_name: str | None = None,
    op_type: str | Sequence[str] = (),
    execute: bool = False,
    dry_run: bool = False,
    timeout_s: float = 120.0,
    **where: Unpack[Where],
) -> ImportReport:
    """Repair what FlashInfer's tracing wrote, and add it to a dataset.

    Kernels that the dataset has, under whatever name, get the tags and stay; others come in with
    the status "unverified". Nothing that is read is run, unless `execute` asks for it.

    Args:
        trace: The folder that FlashInfer's tracing wrote, or one file of it.
        model_name: Slug of the model that was traced, for the `model:` tag.
        op_type: Import these op types only, as the dump names them.
        execute: Also run every reference on small inputs, in a process of its own; one that fails
            is refused. An op type without a plugin that gives inputs is imported with a note.
        dry_run: Say what would happen and write nothing.
        timeout_s: Seconds that a reference may take.
        **where: Where the dataset is, and the plugins; see `fibcore.workspace.Where`.

    Returns:
        The report. Files that could not be imported are in it, and its `exit_code` is 1 then.

    Raises:
        UsageError: the slug cannot be one, or the dump has no such op type.
        TraceError: there is no dump.
        DatasetError: the dataset cannot be read or written at all.
        FibcoreError: `execute` without torch.
    """
    if model_name is not None and not _SLUG.fullmatch(model_name):
        raise UsageError(
            "this cannot be a model slug",
            where="--model-name",
            expected="letters, digits and . _ / + -, such as llama-3.1-8b",
            found=repr(model_name),
        )
    workspace = Workspace.of(**where)
    registry, progress = workspace.registry, workspace.progress
    dump = read_trace(trace)
    files = _files(dump, several(op_type))
    root = workspace.dataset_folder
    store = Dataset(
        root,
        variant=registry.function_of,
        dry_run=dry_run,
        notify=lambda text: report(progress, text),
    )
    work = _Import(store, registry, model_name, progress)
    repaired = work.repair(files)
    if execute:
        work.execute(repaired, timeout_s)
    work.add(repaired)
    return ImportReport(
        trace=str(trace),
        dataset=str(root),
        dry_run=dry_run,
        kernels=tuple(work.kernels),
        refused=(*dump.broken, *work.refused),
        skipped=len(dump.files) - len(files),
        errors=tuple(work.errors),
    )


def _files(dump: Trace, wanted: Sequence[str]) -> tuple[TraceFile, ...]:
    have = sorted({file.op_type for file in dump.files})
    for name in wanted:
        if name not in have:
            raise UsageError(
                "the dump has no such op type",
                where="--op-type",
                expected=", ".join(have) or "a file that can be read",
                found=repr(name),
            )
    return tuple(file for file in dump.files if not wanted or file.op_type in wanted)


class _Import:
    """One run: repairs all files, runs references where that was asked for, adds what is left."""

    def __init__(
        self, store: Dataset, registry: Registry, model: str | None, progress: Progress | None
    ) -> None:
        self.store = store
        self.registry = registry
        self.model = model
        self.progress = progress
        self.kernels: list[ImportedKernel] = []
        self.refused: list[FibcoreError] = []
        self.errors: list[FibcoreError] = []
        self.cases: dict[str, int] = {}
        self.notes: dict[str, list[str]] = {}

    def repair(self, files: Sequence[TraceFile]) -> dict[TraceFile, Repaired]:
        """Repair every file; what cannot be is refused."""
        tags = () if self.model is None else (f"model:{self.model}",)
        done: dict[TraceFile, Repaired] = {}
        for file in files:
            try:
                done[file] = repair(file, self.registry, tags)
            except FibcoreError as error:
                self.refused.append(error)
                continue
            if file.op_type not in self.registry.op_types():
                self._note(file, f"no installed plugin has op type {file.op_type}: it has no tests")
        return done

    def execute(self, repaired: dict[TraceFile, Repaired], timeout_s: float) -> None:
        """Run the references; one that fails is refused and taken out of `repaired`."""
        with ReferenceRunner(timeout_s=timeout_s) as runner:
            for number, (file, one) in enumerate(list(repaired.items())):
                report(self.progress, "running references", number, len(repaired))
                error = self._run(runner, file, one.definition)
                if error is not None:
                    self.refused.append(error)
                    del repaired[file]

    def _run(
        self, runner: ReferenceRunner, file: TraceFile, definition: Definition
    ) -> TraceError | None:
        template = template_source(self.registry, definition.op_type)
        if isinstance(template, FibcoreError):
            self._note(file, f"not executed: {template.message}")
            return None
        outcome = runner.run(definition.to_dict(), template)
        failed = [p for p in outcome.problems if p.check not in ("template", "inputs")]
        if failed:
            return TraceError(
                "the reference fails on small inputs",
                where=f"{file.file} $.reference",
                found=str(failed[0]),
            )
        if outcome.cases:
            self.cases[file.file] = len(outcome.cases)
            return None
        why = "; ".join(dict.fromkeys(p.message for p in outcome.problems))
        self._note(
            file,
            f"not executed: the test template of {definition.op_type} has no inputs for it"
            + (f" ({why})" if why else ""),
        )
        return None

    def add(self, repaired: dict[TraceFile, Repaired]) -> None:
        """Bring all definitions into the dataset."""
        with self.store.locked():
            self.errors += self.store.read().errors
            for file, one in repaired.items():
                entry = ImportEntry(
                    tool=TOOL,
                    file=file.file,
                    sha256=file.sha256,
                    fi_apis=file.tag_values("fi_api"),
                    model=self.model,
                    repairs=tuple(map(str, one.repairs)),
                )
                try:
                    outcome = self.store.add(one.definition, entry)
                except FibcoreError as error:
                    if isinstance(error.__cause__, OSError):
                        raise  # no space or no permission: the next file would fare no better
                    if str(error) not in map(str, self.errors):
                        self.errors.append(error)
                    continue
                self._imported(file, one, outcome)

    def _imported(self, file: TraceFile, one: Repaired, outcome: Outcome) -> None:
        self.kernels.append(
            ImportedKernel(
                file=file.file,
                traced=file.name,
                name=outcome.name,
                op_type=file.op_type,
                outcome=outcome.kind,
                message=outcome.message,
                repairs=one.repairs,
                executed=self.cases.get(file.file),
                notes=tuple(self.notes.get(file.file, ())),
            )
        )

    def _note(self, file: TraceFile, text: str) -> None:
        self.notes.setdefault(file.file, []).append(text)
