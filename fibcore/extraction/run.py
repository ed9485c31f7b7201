"""Extraction: models by name → elaborated trees → kernels of all plugins → dataset."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from fibcore.dataset import Dataset, ProvenanceEntry
from fibcore.errors import DatasetError, FibcoreError, ServingError, UsageError
from fibcore.extraction.report import ExtractReport, FoundKernel, ModelReport, Refused, Remark
from fibcore.extraction.unclaimed import unclaimed
from fibcore.model.definition import Definition
from fibcore.model.kernel import Kernel, NotCovered, Problem, Use, class_defaults
from fibcore.model.layer_paths import expand_paths, group_uses
from fibcore.model.options import AskedValue, OptionValue
from fibcore.model.serving import STAGES, Serving
from fibcore.model.tree import Missing, ModelTree, SourcePlace
from fibcore.ops.registry import Registry, load_plugins
from fibcore.progress import Progress, report
from fibcore.sources.finding import find_source
from fibcore.sources.repos_config import repository_path
from fibcore.sources.tree import SourceTree

if TYPE_CHECKING:
    from fibcore.configs.catalogue import ResolvedModel

DATASET_FOLDER = "flashinfer-trace"
"""The dataset's folder below the target dir, where none is named."""


def extract(
    model_name: str | Sequence[str],
    *,
    target_dir: str | Path = "./repos",
    dataset: str | Path | None = None,
    hf_repo_id: str | None = None,
    config: str | Path | Mapping[str, Any] | None = None,
    tp: int | Sequence[int] | None = None,
    ep: int | Sequence[int] | None = None,
    op_type: str | Sequence[str] = (),
    stage: str | Sequence[str] | None = None,
    sglang: str | None = None,
    dry_run: bool = False,
    registry: Registry | None = None,
    disable_plugin: Sequence[str] = (),
    progress: Progress | None = None,
    **options: Any,
) -> ExtractReport:
    """Derive the kernel definitions of models and add them to a dataset.

    Every model is elaborated from SGLang's source text at every pair of `tp` and `ep`; kernels that
    several models use become one definition with all their tags.

    Args:
        model_name: One or several of: an SGLang model file (`llama`), an architecture class, a
            slug of the catalogue (`llama-3.1-8b`), a Hub id. With `config` any slug.
        target_dir: Folder that holds the repositories.
        dataset: Folder of the dataset; by default the flashinfer-trace repository in `target_dir`.
        hf_repo_id: Take the config from this Hub repository.
        config: Take the config from this file, or this plain data.
        tp: Tensor-parallel sizes; by default how the catalogue says the model is served.
        ep: Expert-parallel sizes, likewise; see `combinations`.
        op_type: Extract these op types only.
        stage: "decode", "prefill" or both; both by default.
        sglang: Where SGLang's source is: URL, path, `pypi:NAME==VERSION`, `installed`, `auto`; by
            default the repository in `target_dir`.
        dry_run: Find everything and write nothing.
        registry: The plugins; by default all that are installed.
        disable_plugin: Plugins to leave out, by name, where no registry is given.
        progress: Told how far the work is.
        **options: Values of options that op types declare; what is left out has the catalogue's
            value for a model, else the declared default.

    Returns:
        The report. What could not be extracted is in it, and its `exit_code` is 1 then.

    Raises:
        UsageError: a name or an option is wrong.
        SourceError: there is no source to elaborate.
        ConfigError: the one model that was asked for has a config that cannot be read, or parallel
            sizes that cannot be.
        DatasetError: the dataset cannot be read or written at all.
    """
    names = (model_name,) if isinstance(model_name, str) else tuple(dict.fromkeys(model_name))
    _check_names(names, hf_repo_id, config)
    if registry is None:
        registry = load_plugins(disable=disable_plugin)
    wanted = Wanted.of(registry, tp, ep, op_type, stage, options)
    root = dataset_folder(target_dir, dataset)
    source = find_source(sglang, Path(target_dir), progress=progress)
    run = _Extraction(source, registry, wanted, progress)
    with few_collections():
        for name in names:
            run.add_model(name, hf_repo_id, config)
        if not run.found and len(run.refused) == 1:
            raise run.refused[0].error
        return run.write(root, dry_run=dry_run)


def find_models(
    names: Sequence[str],
    source: SourceTree,
    wanted: Wanted,
    registry: Registry,
    *,
    config: str | Path | Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Findings:
    """What `extract` finds, with every layer of every kernel; no dataset is looked at.

    Args:
        names: The models, as for `extract`.
        source: SGLang's source.
        wanted: How the models are served, and what of them is asked for.
        registry: The plugins.
        config: The config of the one model, as for `extract`.
        progress: Told how far the work is.

    Raises:
        UsageError: no name, or one config for several names.
    """
    _check_names(names, None, config)
    run = _Extraction(source, registry, wanted, progress)
    with few_collections():
        for name in dict.fromkeys(names):
            run.add_model(name, None, config)
    return Findings(
        models=tuple(find.model for find in run.found),
        refused=tuple(run.refused),
        definitions=tuple(pending.definition for pending in run.pending.values()),
    )


def combinations(
    tp: Sequence[int], ep: Sequence[int], model: ResolvedModel
) -> list[tuple[int, int]]:
    """The (TP, EP) pairs to extract.

    Pairs that were asked for are all there, whether they can be or not. An empty list stands for
    how the model is usually served; but where TP alone is given, a model that is served with its
    experts over all ranks keeps that: EP is TP.

    Args:
        tp: TP sizes that were asked for.
        ep: EP sizes that were asked for.
        model: The model, which knows how it is served.
    """
    if ep:
        return [(t, e) for t in tp or model.tp for e in ep]
    if tp and model.ep == model.tp != (1,):
        return [(t, t) for t in tp]
    if tp:
        return [(t, e) for t in tp for e in model.ep]
    return [(t, e) for t in model.tp for e in model.ep if t % e == 0]


def dataset_folder(target_dir: str | Path, dataset: str | Path | None) -> Path:
    """The dataset's folder: the one named, else the flashinfer-trace repository.

    Raises:
        SourceError: repos_config.json is broken, or names a folder that is not there.
    """
    if dataset is not None:
        return Path(dataset)
    known = repository_path(Path(target_dir), "flashinfer_trace")
    return Path(target_dir, DATASET_FOLDER) if known is None else known


def known_op_types(op_type: str | Sequence[str], registry: Registry) -> tuple[str, ...]:
    """The op types asked for, after a check that a plugin is responsible for each.

    Raises:
        UsageError: one is unknown; the nearest ones are named.
    """
    asked = (op_type,) if isinstance(op_type, str) else tuple(op_type)
    known = registry.op_types()
    for name in asked:
        if name not in known:
            from rapidfuzz import process  # 40 ms, for an error message alone

            near = [match for match, _, _ in process.extract(name, list(known), limit=3)]
            skipped = ", ".join(p.label for p in registry.skipped())
            raise UsageError(
                "no installed plugin has this op type",
                where="--op-type",
                expected=", ".join(near) or "an op type of an installed plugin",
                found=repr(name),
                hint="fibcore plugins lists them"
                + (f"; not used because they are broken: {skipped}" if skipped else ""),
            )
    return asked


def resolve(
    name: str,
    source: SourceTree,
    *,
    hf_repo_id: str | None = None,
    config: str | Path | Mapping[str, Any] | None = None,
) -> ResolvedModel:
    """The model that a name stands for, with its config and how it is served.

    Raises:
        UnknownModelError: no model has this name; the nearest ones are named.
        ConfigError: its config cannot be read.
    """
    from fibcore.configs.catalogue import resolve_model
    from fibcore.elaborate import model_files

    return resolve_model(
        name, hf_repo_id=hf_repo_id, config_file=config, known_files=lambda: model_files(source)
    )


def elaborated(source: SourceTree, model: ResolvedModel, serving: Serving) -> ModelTree:
    """The tree of a model.

    Raises:
        FibcoreError: the model cannot be served like that, or not be elaborated at all.
    """
    from fibcore.elaborate import elaborate

    return elaborate(source, model.config, serving, architecture=model.architecture)


@contextmanager
def few_collections() -> Iterator[None]:
    """Pause the garbage collector.

    Syntax trees are a million objects that all stay; looking for garbage among them again and
    again takes a quarter of an extraction's time, and pausing that costs 10 MB. Whoever elaborates
    several models calls `gc.collect` in between.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _check_names(names: Sequence[str], hf_repo_id: str | None, config: object) -> None:
    if not names:
        raise UsageError("no model is named", where="--model-name", expected="at least one name")
    if hf_repo_id is not None and config is not None:
        raise UsageError("these options exclude each other", where="--hf-repo-id, --config")
    if len(names) > 1 and (hf_repo_id is not None or config is not None):
        raise UsageError(
            "one config does not serve several models",
            where="--hf-repo-id" if config is None else "--config",
            expected="one --model-name",
            found=", ".join(names),
        )


def _numbers(value: int | Sequence[int] | None) -> tuple[int, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, int) else tuple(dict.fromkeys(value))


@attrs.frozen
class Wanted:
    """What an extraction is asked for; what is empty stands for how a model is usually served.

    Attributes:
        tp: Tensor-parallel sizes.
        ep: Expert-parallel sizes.
        stages: Of "decode" and "prefill".
        op_types: The op types; empty for all.
        options: Values of options that op types declare.
    """

    tp: tuple[int, ...] = ()
    ep: tuple[int, ...] = ()
    stages: tuple[str, ...] = STAGES
    op_types: tuple[str, ...] = ()
    options: Mapping[str, OptionValue] = attrs.field(factory=dict)

    @classmethod
    def of(
        cls,
        registry: Registry,
        tp: int | Sequence[int] | None,
        ep: int | Sequence[int] | None,
        op_type: str | Sequence[str],
        stage: str | Sequence[str] | None,
        options: Mapping[str, AskedValue],
    ) -> Wanted:
        """The options as `extract` takes them.

        Raises:
            UsageError: an op type or option is unknown, and the nearest ones are named; or an
                option cannot have the value.
        """
        return cls(
            tp=_numbers(tp),
            ep=_numbers(ep),
            stages=STAGES
            if stage is None
            else (stage,)
            if isinstance(stage, str)
            else tuple(stage),
            op_types=known_op_types(op_type, registry),
            options=registry.options.asked(options),
        )


@attrs.frozen
class FoundModel:
    """What one model has at one (TP, EP), layer by layer.

    Attributes:
        report: The model, its source and what went wrong; no kernels, whose outcomes only a dataset
            knows.
        kernels: The kernels of the op types that were asked for.
        not_covered: Ops that these op types' plugins recognised and have no definition for.
        problems: What these plugins could not decide.
        missing: What should be in the model tree and could not be elaborated.
        unclaimed: Modules that no plugin accounts for.
    """

    report: ModelReport
    kernels: tuple[Kernel, ...]
    not_covered: tuple[NotCovered, ...]
    problems: tuple[Problem, ...]
    missing: tuple[Missing, ...]
    unclaimed: tuple[Use, ...]


@attrs.frozen
class Findings:
    """What `find_models` found.

    Attributes:
        models: One entry for every model and (TP, EP) combination.
        refused: Models and combinations that could not be extracted at all.
        definitions: The definitions of all kernels, each once, under the names that plugins gave.
    """

    models: tuple[FoundModel, ...]
    refused: tuple[Refused, ...]
    definitions: tuple[Definition, ...]


@attrs.define
class _Pending:
    """A definition of this run, and all that it was found in."""

    definition: Definition
    kernel: Kernel
    first: str
    models: dict[str, None] = attrs.field(factory=dict)
    entries: list[ProvenanceEntry] = attrs.field(factory=list)


@attrs.define
class _Find:
    """What one model has at one (TP, EP): the report so far, and its kernels.

    With each kernel stand the key of its definition, and where it differs from the first one of it.
    """

    report: ModelReport
    model: FoundModel
    kernels: list[tuple[Kernel, tuple[Any, ...], list[str]]] = attrs.field(factory=list)


class _Extraction:
    """One run: finds first, over all models, and then one pass that writes."""

    def __init__(
        self, source: SourceTree, registry: Registry, wanted: Wanted, progress: Progress | None
    ) -> None:
        self.source = source
        self.registry = registry
        self.wanted = wanted
        self.progress = progress
        self.found: list[_Find] = []
        self.refused: list[Refused] = []
        self.pending: dict[tuple[Any, ...], _Pending] = {}

    def add_model(
        self, name: str, hf_repo_id: str | None, config: str | Path | Mapping[str, Any] | None
    ) -> None:
        """Extract a model at every combination; what cannot be is kept in `refused`."""
        try:
            model = resolve(name, self.source, hf_repo_id=hf_repo_id, config=config)
        except FibcoreError as error:
            self.refused.append(Refused(name, error))
            return
        pairs = combinations(self.wanted.tp, self.wanted.ep, model)
        for tp, ep in pairs:
            try:
                serving = Serving(
                    tp=tp,
                    ep=ep,
                    stages=self.wanted.stages,
                    options=self.registry.options.completed(self.wanted.options, model.options),
                )
                self.found.append(self._at(name, model, serving))
            except FibcoreError as error:  # noqa: PERF203 - each on its own
                self.refused.append(Refused(model.slug, error, tp, ep))

    def _at(self, name: str, model: ResolvedModel, serving: Serving) -> _Find:
        """Elaborate a model for one serving and let the plugins find its kernels.

        Raises:
            FibcoreError: the model cannot be served like that, or not be elaborated at all.
        """
        if self.found:
            gc.collect()  # what the model before this one left
        report(self.progress, f"{model.slug}: elaborating at TP {serving.tp}, EP {serving.ep}")
        tree = elaborated(self.source, model, serving)
        extractions, errors = self.registry.extract(tree, serving)
        for error in errors:
            if isinstance(error, ServingError):
                raise error
        failed = list(errors)
        asked = [extraction for plugin, extraction in extractions if self._asked_for(plugin)]
        kernels = [k for extraction in asked for k in extraction.kernels if self._wants(k)]
        problems = tuple(p for extraction in asked for p in extraction.problems)
        not_covered = tuple(n for extraction in asked for n in extraction.not_covered)
        claimed = frozenset().union(*(e.claimed for _, e in extractions))
        left = unclaimed(tree, claimed)
        model_report = ModelReport(
            name=name,
            slug=model.slug,
            architecture=tree.architecture,
            constants=model.config.origin,
            source=source_label(self.source),
            tp=serving.tp,
            ep=serving.ep,
            missing=missing_parts(tree),
            problems=tuple(_remark(p.what, p.reason, p.uses) for p in problems),
            not_covered=tuple(_remark(n.what, n.reason, n.uses) for n in not_covered),
            unclaimed=_counts(left),
            warnings=(*model.notes, *tree.warnings),
        )
        kernels.sort(key=lambda k: k.op_type)
        model_report = attrs.evolve(model_report, class_defaults=class_defaults(kernels))
        found = FoundModel(model_report, tuple(kernels), not_covered, problems, tree.missing, left)
        find = _Find(model_report, found)
        for kernel in kernels:
            try:
                self._define(find, kernel, model, tree, serving)
            except FibcoreError as error:  # noqa: PERF203 - each on its own
                failed.append(error)
        find.report = attrs.evolve(model_report, errors=tuple(failed))
        find.model = attrs.evolve(found, report=find.report)
        return find

    def _asked_for(self, plugin: str) -> bool:
        owned = self.registry.op_types()
        wanted = self.wanted.op_types
        return not wanted or any(owned[op_type].plugin == plugin for op_type in wanted)

    def _wants(self, kernel: Kernel) -> bool:
        return not self.wanted.op_types or kernel.op_type in self.wanted.op_types

    def _define(
        self,
        find: _Find,
        kernel: Kernel,
        model: ResolvedModel,
        tree: ModelTree,
        serving: Serving,
    ) -> None:
        """Make the definition of a kernel, or join it to the one that an earlier model brought."""
        slug = model.slug
        recorded = self.registry.options.recorded(serving.options)
        definition = self.registry.reference(kernel).with_tags(
            f"model:{slug}", "status:unverified", without="status"
        )
        key = (definition.name, definition.structure(), self.registry.variant(definition))
        pending = self.pending.get(key)
        differing: list[str] = []
        if pending is None:
            pending = self.pending[key] = _Pending(definition, kernel, slug)
        else:
            pending.definition = pending.definition.with_tags(*definition.tags)
            differing = _differing(pending, kernel)
        pending.models[slug] = None
        pending.entries.append(
            ProvenanceEntry(
                model=slug,
                hub_id=model.config.hub_id,
                architecture=tree.architecture,
                serving=attrs.evolve(serving, options=recorded),
                source_version=tree.source_version,
                facts=kernel.facts,
                uses=kernel.uses,
                kernel=kernel.name,
            )
        )
        find.kernels.append((kernel, key, differing))

    def write(self, root: Path, *, dry_run: bool) -> ExtractReport:
        """Add all definitions to the dataset and say what became of them."""
        dataset = Dataset(
            root,
            variant=self.registry.variant,
            dry_run=dry_run,
            notify=lambda text: report(self.progress, text),
        )
        names: dict[tuple[Any, ...], str] = {}
        outcomes: dict[str, str] = {}
        models: dict[str, dict[str, None]] = {}
        notes: dict[tuple[Any, ...], tuple[str, ...]] = {}
        conflicts: list[str] = []
        errors: list[FibcoreError] = []
        with dataset.locked():
            errors += dataset.read().errors
            for key, pending in self.pending.items():
                try:
                    added = [dataset.add(pending.definition, entry) for entry in pending.entries]
                except DatasetError as error:
                    if isinstance(error.__cause__, OSError):
                        raise  # no space or no permission: the next file would fare no better
                    if error not in errors and str(error) not in map(str, errors):
                        errors.append(error)
                    continue
                first, last = added[0], added[-1]
                names[key] = first.name
                outcomes[first.name] = first.kind
                models.setdefault(first.name, {}).update(pending.models)
                if first.kind == "conflict":
                    conflicts.append(first.message)
                if first.kind == "same-kernel-other-name":
                    notes[key] = (f"the dataset has this kernel as {first.name}",)
                if first.reference_differs and not last.constants:
                    notes[key] = (
                        *notes.get(key, ()),
                        "the reference in the dataset is another one and stays",
                    )
                notes[key] = (*notes.get(key, ()), *(str(c) for c in last.constants))
        return ExtractReport(
            dataset=str(root),
            dry_run=dry_run,
            models=tuple(_filled(find, names, outcomes, notes) for find in self.found),
            refused=tuple(self.refused),
            definitions={name: tuple(slugs) for name, slugs in models.items()},
            outcomes=outcomes,
            conflicts=tuple(conflicts),
            errors=tuple(errors),
            skipped_plugins=tuple(
                f"{p.label}: {p.cause}: {p.reason}" for p in self.registry.skipped()
            ),
        )


def _filled(
    find: _Find,
    names: Mapping[tuple[Any, ...], str],
    outcomes: Mapping[str, str],
    notes: Mapping[tuple[Any, ...], tuple[str, ...]],
) -> ModelReport:
    """The report with its kernels, whose outcomes are known only now."""
    kernels = []
    for kernel, key, differing in find.kernels:
        name = names.get(key)
        groups = group_uses(kernel.uses)
        # The dataset knows of all models that differ; a dry run only of those before this one.
        said = notes.get(key) or tuple(differing)
        kernels.append(
            FoundKernel(
                name=name or kernel.name,
                kernel=kernel.name,
                op_type=kernel.op_type,
                outcome=outcomes[name] if name is not None else "not written",
                layers=len({use.path for use in kernel.uses}),
                where=str(kernel.uses[0].place) if kernel.uses else "",
                paths=tuple(paths for paths, _, _ in groups),
                notes=(*kernel.notes, *said),
            )
        )
    return attrs.evolve(find.report, kernels=tuple(kernels))


def _differing(pending: _Pending, kernel: Kernel) -> list[str]:
    """Parameters in which a kernel differs from the one whose definition it shares."""
    first = pending.kernel.parameters
    return [
        f"{name} is {value!r}; the definition has {first.get(name)!r}, from {pending.first}"
        for name, value in kernel.parameters.items()
        if first.get(name) != value
    ]


def _remark(what: str, reason: str, uses: Iterable[Use]) -> Remark:
    groups = group_uses(uses)
    return Remark(
        what, reason, len({use.path for use in uses}), tuple(paths for paths, _, _ in groups)
    )


def missing_parts(tree: ModelTree) -> tuple[Remark, ...]:
    """What is missing from a tree, with what differs in a layer number alone as one remark."""
    nowhere = SourcePlace("", 0)
    uses = (Use(m.path, m.reason, m.place or nowhere) for m in tree.missing)
    return tuple(
        Remark(
            paths,
            reason if place == nowhere else f"{reason} ({place})",
            len(expand_paths(paths)),
        )
        for paths, reason, place in group_uses(uses)
    )


def _counts(uses: Iterable[Use]) -> dict[str, int]:
    """Class name to number, the most frequent first."""
    counts = Counter(u.cls.rpartition(".")[2] for u in uses)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def source_label(source: SourceTree) -> str:
    """Version, commit and origin of a source in a line for people."""
    commit = f" commit {source.commit[:12]}" if source.commit else ""
    return f"sglang {source.version or 'of unknown version'}{commit} ({source.origin})"
