"""`fibcore.track`: a SGLang release against a dataset, models and kernels that are new since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from fibcore.configs.catalogue import catalogue
from fibcore.dataset import BrokenFileError, Dataset
from fibcore.elaborate import model_files
from fibcore.errors import DatasetError, UsageError
from fibcore.extraction.report import Refused, source_label
from fibcore.extraction.request import Request, WantedWhere
from fibcore.keywords import api, part, several
from fibcore.model.json import to_data
from fibcore.reports.coverage import CoverageReport, coverage
from fibcore.workspace import Where, Workspace

if TYPE_CHECKING:
    from typing_extensions import Unpack


@attrs.frozen
class NewModel:
    """An architecture that the release has and the dataset, or the older release, has not.

    Attributes:
        architecture: The class.
        file: SGLang's model file.
        since: Whether the older release lacks it; None where none was compared with.
        slugs: Models of the catalogue that have it, which `fibcore onboard` can take by name.
    """

    architecture: str
    file: str
    since: bool | None
    slugs: tuple[str, ...] = ()


@attrs.frozen
class MissingKernel:
    """A kernel that a model needs at this release and the dataset does not have.

    Attributes:
        model: The model's slug.
        kernel: The definition's name.
        op_type: Its op type.
        where: File and line of the source that construct it.
    """

    model: str
    kernel: str
    op_type: str
    where: str


@attrs.frozen
class TrackReport:
    """What a release brings.

    Attributes:
        dataset: The dataset's folder.
        source: The release.
        since: The older release; None where none was compared with.
        extracted_from: Versions of SGLang that the dataset's definitions were extracted from.
        models: New architectures.
        kernels: Missing kernels of the models that were looked at.
        uncovered: Model to what of it no plugin covers.
        refused: Models that could not be looked at.
    """

    dataset: Path
    source: str
    since: str | None
    extracted_from: tuple[str, ...]
    models: tuple[NewModel, ...]
    kernels: tuple[MissingKernel, ...]
    uncovered: Mapping[str, tuple[str, ...]]
    refused: tuple[Refused, ...]

    @property
    def exit_code(self) -> int:
        """1 where a model could not be looked at; what is new is no failure."""
        return 1 if self.refused else 0

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {**to_data(self), "exit_code": self.exit_code}


class TrackAsked(WantedWhere, total=False):
    """The keywords of `track`: how models are served, and where things are."""


@api(TrackAsked, options=True)
def track(
    model_name: str | Sequence[str] = (),
    *,
    since: str | Path | None = None,
    **asked: Unpack[TrackAsked],
) -> TrackReport:
    """Compare a SGLang release with a dataset: models and kernels that are new since.

    Args:
        model_name: Models whose kernels are looked at; by default those of the dataset.
        since: An older SGLang source, as `sglang` names one. Architectures that it has are not new.
            Without it, those count that no definition of the dataset comes from.
        **asked: How the models are served, and where; see `TrackAsked`. `sglang` is the release.

    Raises:
        SourceError: there is no source.
        DatasetError: there is no dataset.
    """
    workspace = Workspace.of(**part(Where, asked))
    Request.of(workspace.registry, asked, config=None)  # what is wrong with it, before anything
    root = workspace.dataset_folder
    if not root.is_dir():
        raise DatasetError(
            "there is no dataset", where=str(root), hint="fibcore clone-repos fetches one"
        )
    source = workspace.source()
    older = None if since is None else workspace.source(str(since))
    known, versions = _extracted(Dataset(root))
    before = None if older is None else _architectures(model_files(older))
    found = _coverage(several(model_name), asked)
    slugs: dict[str, list[str]] = {}
    for entry in catalogue():
        slugs.setdefault(entry.architecture, []).append(entry.slug)
    models = [
        NewModel(name, file, None if before is None else True, tuple(slugs.get(name, ())))
        for name, file in sorted(_architectures(model_files(source)).items())
        if name not in known and (before is None or name not in before)
    ]
    return TrackReport(
        dataset=root,
        source=source_label(source),
        since=None if older is None else source_label(older),
        extracted_from=versions,
        models=tuple(models),
        kernels=tuple(
            MissingKernel(model.slug, need.kernel, need.op_type, need.where)
            for model in (found.models if found else ())
            for need in model.needs
            if need.definition is None
        ),
        uncovered={
            model.slug: tuple(dict.fromkeys(one.what for one in model.uncovered))
            for model in (found.models if found else ())
            if model.uncovered
        },
        refused=found.refused if found else (),
    )


def _architectures(model_file: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Architecture to the file that has it."""
    return {name: file for file, names in model_file.items() for name in names}


def _extracted(store: Dataset) -> tuple[frozenset[str], tuple[str, ...]]:
    """The architectures that definitions come from, and SGLang's versions."""
    known, versions = set(), set()
    for definition in store.read().definitions:
        try:
            provenance = store.provenance(definition.name)
        except BrokenFileError:
            continue  # `validate` says so
        for entry in provenance.entries if provenance else ():
            known.add(entry.architecture)
            versions.add(entry.source_version or "unknown")
    return frozenset(known), tuple(sorted(versions))


def _coverage(names: Sequence[str], asked: TrackAsked) -> CoverageReport | None:
    """What the models need; None where the dataset names none and none is asked for."""
    try:
        return coverage(names, dry_run=True, **asked)
    except UsageError:
        if names:
            raise
        return None
