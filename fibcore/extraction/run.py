"""`fibcore.extract`: the kernels of models into a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from fibcore.dataset import Dataset
from fibcore.errors import DatasetError, FibcoreError
from fibcore.extraction.find import few_collections
from fibcore.extraction.findings import (
    DefinedKernel,
    DefinitionKey,
    DerivedDefinition,
    Findings,
    FoundModel,
    find_models,
)
from fibcore.extraction.report import ExtractReport, FoundKernel, ModelReport
from fibcore.extraction.request import ModelsLaunched, Request
from fibcore.keywords import api, part, several
from fibcore.model.layer_paths import group_uses
from fibcore.progress import report
from fibcore.workspace import Where, Workspace

if TYPE_CHECKING:
    from typing_extensions import Unpack


@api(ModelsLaunched, options=True)
def extract(
    model_name: str | Sequence[str] = (), *, dry_run: bool = False, **asked: Unpack[ModelsLaunched]
) -> ExtractReport:
    """Derive the kernel definitions of models and add them to a dataset.

    Every model is elaborated from SGLang's source text at every pair of `tp` and `ep`; kernels that
    several models use become one definition with all their tags.

    Args:
        model_name: One or several of: an SGLang model file (`llama`), an architecture class, a
            slug of the catalogue (`llama-3.1-8b`), a Hub id. With `config` any slug. May be left
            out where a launch line names the model.
        dry_run: Find everything and write nothing.
        **asked: How the models are served, and where; see `ModelsLaunched`, `Wanted` and `Where`.

    Returns:
        The report. What could not be extracted is in it, and its `exit_code` is 1 then.

    Raises:
        UsageError: a name or an option is wrong.
        SourceError: there is no source to elaborate.
        ConfigError: the one model that was asked for has a config that cannot be read, or parallel
            sizes that cannot be.
        DatasetError: the dataset cannot be read or written at all.
    """
    workspace = Workspace.of(**part(Where, asked))
    request = Request.of_models(workspace.registry, asked)
    names = several(model_name)
    request.check_named(names)
    root = workspace.dataset_folder
    source = workspace.source()
    with few_collections():
        found = find_models(names, source, request, workspace.registry, progress=workspace.progress)
        if not found.models and len(found.refused) == 1:
            raise found.refused[0].error
        return _write(found, workspace, root, dry_run=dry_run)


def _write(found: Findings, workspace: Workspace, root: Path, *, dry_run: bool) -> ExtractReport:
    """Add all definitions to the dataset and say what became of them."""
    store = Dataset(
        root,
        variant=workspace.registry.variant,
        dry_run=dry_run,
        notify=lambda text: report(workspace.progress, text),
    )
    written = _Written()
    with store.locked():
        written.errors += store.read().errors
        for key, derived in found.derived.items():
            written.add(store, key, derived)
    return ExtractReport(
        dataset=str(root),
        dry_run=dry_run,
        models=tuple(written.complete(model) for model in found.models),
        refused=found.refused,
        definitions={name: tuple(slugs) for name, slugs in written.models.items()},
        shared={name: slugs for name, slugs in written.users.items() if len(slugs) > 1},
        outcomes=written.outcomes,
        conflicts=tuple(written.conflicts),
        errors=tuple(written.errors),
        skipped_plugins=workspace.skipped_plugins(),
    )


@attrs.define
class _Written:
    """What became of the definitions of one run.

    Attributes:
        names: Key of a definition to its name in the dataset.
        outcomes: Name in the dataset to outcome.
        models: Name in the dataset to the models that need it.
        users: The same of all models that the dataset knows of, those of earlier runs among them.
        notes: Key of a definition to what a reader should know beside it.
        conflicts: One line for every definition whose name was taken by a different kernel.
        errors: Files that are broken, definitions that could not be written.
    """

    names: dict[DefinitionKey, str] = attrs.field(factory=dict)
    outcomes: dict[str, str] = attrs.field(factory=dict)
    models: dict[str, dict[str, None]] = attrs.field(factory=dict)
    users: dict[str, tuple[str, ...]] = attrs.field(factory=dict)
    notes: dict[DefinitionKey, list[str]] = attrs.field(factory=dict)
    conflicts: list[str] = attrs.field(factory=list)
    errors: list[FibcoreError] = attrs.field(factory=list)

    def add(self, store: Dataset, key: DefinitionKey, derived: DerivedDefinition) -> None:
        """Add a definition to the dataset; one that cannot be written is an error.

        Raises:
            DatasetError: there is no space or no permission to write.
        """
        try:
            added = [store.add(derived.definition, entry) for entry in derived.entries]
        except DatasetError as error:
            if isinstance(error.__cause__, OSError):
                raise  # the next file would fare no better
            if error not in self.errors and str(error) not in map(str, self.errors):
                self.errors.append(error)
            return
        first, last = added[0], added[-1]
        self.names[key] = first.name
        self.outcomes[first.name] = first.kind
        self.models.setdefault(first.name, {}).update(derived.models)
        self.users[first.name] = tuple(sorted(last.definition.tag_values("model")))
        if first.kind == "conflict":
            self.conflicts.append(first.message)
        notes = self.notes.setdefault(key, [])
        if first.kind == "same-kernel-other-name":
            notes.append(f"the dataset has this kernel as {first.name}")
        if first.reference_differs and not last.constants:
            notes.append("the reference in the dataset is another one and stays")
        notes += map(str, last.constants)

    def complete(self, model: FoundModel) -> ModelReport:
        """The report of a model with its kernels, whose outcomes are known only now."""
        return attrs.evolve(
            model.report, kernels=tuple(self._kernel(defined) for defined in model.defined)
        )

    def _kernel(self, defined: DefinedKernel) -> FoundKernel:
        kernel = defined.kernel
        name = self.names.get(defined.key)
        # The dataset knows of all models that differ; a dry run only of those before this one.
        notes = self.notes.get(defined.key) or defined.differing
        return FoundKernel(
            name=name or kernel.name,
            kernel=kernel.name,
            op_type=kernel.op_type,
            outcome=self.outcomes[name] if name is not None else "not written",
            layers=len({use.path for use in kernel.uses}),
            where=str(kernel.uses[0].place) if kernel.uses else "",
            paths=tuple(paths for paths, _, _ in group_uses(kernel.uses)),
            notes=(*kernel.notes, *notes),
        )
