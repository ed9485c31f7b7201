"""The kernels of several models, and their definitions, equal ones joined to one."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from fibcore.dataset import ProvenanceEntry
from fibcore.errors import FibcoreError
from fibcore.extraction.alone import readable, whole_without
from fibcore.extraction.drafts import draft_model, of_draft
from fibcore.extraction.find import (
    FoundKernels,
    few_collections,
    find_kernels,
    resolve,
    settled,
)
from fibcore.extraction.launch_records import described
from fibcore.extraction.launches import Launch
from fibcore.extraction.report import (
    ModelReport,
    Refused,
    missing_parts,
    not_followed,
    number_of_classes,
    remark,
    source_label,
    unread,
)
from fibcore.extraction.request import Request
from fibcore.model.definition import Definition
from fibcore.model.kernel import Kernel, NotCovered, Problem, Use, class_defaults
from fibcore.model.serving import Serving
from fibcore.model.tree import Missing
from fibcore.ops.covering import covering
from fibcore.ops.registry import Registry
from fibcore.progress import Progress, report, report_end
from fibcore.sources.tree import SourceTree

if TYPE_CHECKING:
    from fibcore.configs.catalogue import ResolvedModel

DefinitionKey = tuple[Any, ...]
"""Equal for kernels that share a definition: name, tensors and axes, function."""


@attrs.define
class DerivedDefinition:
    """A definition that models need, and all that it was found in.

    Attributes:
        definition: The definition, with the tags of all its models.
        kernel: The first kernel that it was made for.
        first: The model of that kernel.
        models: The models that need it, in the order in which they were looked at.
        entries: What provenance records, one entry for every kernel.
    """

    definition: Definition
    kernel: Kernel
    first: str
    models: dict[str, None] = attrs.field(factory=dict)
    entries: list[ProvenanceEntry] = attrs.field(factory=list)

    def differences(self, kernel: Kernel) -> tuple[str, ...]:
        """Parameters in which a kernel differs from the first one of this definition."""
        first = self.kernel.parameters
        return tuple(
            f"{name} is {value!r}; the definition has {first.get(name)!r}, from {self.first}"
            for name, value in kernel.parameters.items()
            if first.get(name) != value
        )


@attrs.frozen
class DefinedKernel:
    """A kernel of a model whose definition its plugin could write.

    Attributes:
        kernel: The kernel.
        key: The key of its definition in `Findings.derived`.
        differing: Where it differs from the first kernel of this definition.
    """

    kernel: Kernel
    key: DefinitionKey
    differing: tuple[str, ...]


@attrs.frozen
class FoundModel:
    """What one model has at one (TP, EP), layer by layer.

    Attributes:
        report: The model, its source and what went wrong; no kernels, whose outcomes only a dataset
            knows.
        serving: How it is served.
        kernels: The kernels of the op types that were asked for.
        defined: Those of them that have a definition.
        not_covered: Ops that these op types' plugins recognised and have no definition for.
        problems: What these plugins could not decide.
        missing: What should be in the model tree and could not be elaborated.
        unclaimed: Modules that no plugin accounts for.
        launches: What one decode step and one prefill step launch, of all op types.
    """

    report: ModelReport
    serving: Serving
    kernels: tuple[Kernel, ...]
    defined: tuple[DefinedKernel, ...]
    not_covered: tuple[NotCovered, ...]
    problems: tuple[Problem, ...]
    missing: tuple[Missing, ...]
    unclaimed: tuple[Use, ...]
    launches: tuple[Launch, ...] = ()


@attrs.frozen
class Findings:
    """What was found in several models.

    Attributes:
        models: One entry for every model and (TP, EP) combination.
        refused: Models and combinations that could not be extracted at all.
        derived: The definitions of all kernels by key, each once.
    """

    models: tuple[FoundModel, ...]
    refused: tuple[Refused, ...]
    derived: Mapping[DefinitionKey, DerivedDefinition]

    @property
    def definitions(self) -> tuple[Definition, ...]:
        """The definitions of all kernels, under the names that plugins gave."""
        return tuple(derived.definition for derived in self.derived.values())


def find_models(
    names: Sequence[str],
    source: SourceTree,
    request: Request,
    registry: Registry,
    *,
    progress: Progress | None = None,
) -> Findings:
    """Every kernel of models, and its definition; no dataset is looked at.

    Args:
        names: The models, as for `fibcore.extract`; none for the one of the launch line.
        source: SGLang's source.
        request: How the models are served, and what of them is asked for.
        registry: The plugins.
        progress: Called before each model is elaborated.

    Raises:
        UsageError: no name, or one config for several names.
    """
    names = request.named(names, source)
    search = _Search(source, registry, request, progress)
    with few_collections():
        for name in dict.fromkeys(names):
            search.add_model(name)
    return Findings(tuple(search.found), tuple(search.refused), search.derived)


def _ignored(serving: Serving) -> tuple[str, ...]:
    """The options of a launch that decide about no kernel."""
    launch = serving.launch
    return () if launch is None else tuple(n for n in launch.ignored if n in launch.given)


class _Search:
    """Looks at models one after the other and joins their definitions."""

    def __init__(
        self, source: SourceTree, registry: Registry, request: Request, progress: Progress | None
    ) -> None:
        self.source = source
        self.registry = registry
        self.request = request.for_source(source)
        self.progress = progress
        self.found: list[FoundModel] = []
        self.refused: list[Refused] = []
        self.derived: dict[DefinitionKey, DerivedDefinition] = {}

    def add_model(self, name: str) -> None:
        """Look at a model at every combination; what cannot be is kept in `refused`."""
        request = self.request
        try:
            model = resolve(name, self.source, hf_repo_id=request.hf_repo_id, config=request.config)
            request = request.for_model(model.slug, self.source)
            model = self.request.with_launch_source(model)
        except FibcoreError as error:
            self.refused.append(Refused(name, error))
            return
        for tp, ep in request.combinations(model):
            serving = self._add(name, model, request, tp, ep)
            if serving is not None and serving.launch is not None:
                self._add_draft(name, model, serving)

    def _add(
        self, name: str, model: ResolvedModel, request: Request, tp: int, ep: int
    ) -> Serving | None:
        """Look at a model at one combination.

        Returns:
            How it is served, once the server has decided; None where it cannot be served so.
        """
        try:
            serving = request.serving(model, tp, ep, self.registry.options)
            serving = settled(self.source, model, serving)
            self.found.append(self._at(name, model, serving))
        except FibcoreError as error:
            self.refused.append(Refused(model.slug, error, tp, ep))
            return None
        return serving

    def _add_draft(self, name: str, model: ResolvedModel, serving: Serving) -> None:
        """Look at the draft model that a launch runs beside a model, if it runs one."""
        slug = f"the draft model of {model.slug}"
        try:
            draft = draft_model(self.source, model, serving)
            if draft is not None:
                slug = draft.slug
                self.found.append(self._at(name, draft, of_draft(serving)))
        except FibcoreError as error:
            self.refused.append(Refused(slug, error, serving.tp, serving.ep))

    def _at(self, name: str, model: ResolvedModel, serving: Serving) -> FoundModel:
        """What a model has at one combination.

        Raises:
            FibcoreError: the model cannot be served like that, or not be elaborated at all.
        """
        tp, ep = serving.tp, serving.ep
        if self.found:
            gc.collect()  # what the model before this one left
        step = f"{model.slug}: elaborating at TP {tp}, EP {ep}"
        report(self.progress, step)
        try:
            found = self._looked_at(name, model, serving)
        except FibcoreError:
            report_end(self.progress, step, "refused")
            raise
        partial = "" if found.report.complete else ", partial"
        report_end(self.progress, step, f"{len(found.defined)} kernels{partial}")
        return found

    def _looked_at(self, name: str, model: ResolvedModel, serving: Serving) -> FoundModel:
        found = find_kernels(self.source, model, serving, self.registry, self.request)
        kernels = sorted(found.kernels, key=lambda kernel: kernel.op_type)
        defined: list[DefinedKernel] = []
        failed = list(found.errors)
        for kernel in kernels:
            try:
                defined.append(self._define(kernel, found))
            except FibcoreError as error:  # noqa: PERF203 - each on its own
                failed.append(error)
        return FoundModel(
            report=ModelReport(
                name=name,
                slug=model.slug,
                architecture=found.tree.architecture,
                constants=model.config.origin,
                source=source_label(self.source),
                tp=found.serving.tp,
                ep=found.serving.ep,
                served=described(found.serving),
                ignored=_ignored(found.serving),
                missing=missing_parts(found.tree),
                problems=tuple(remark(p.what, p.reason, p.uses) for p in found.problems),
                not_covered=tuple(
                    remark(n.what, n.reason, n.uses) for n in found.not_covered if not n.moves
                ),
                moves=tuple(remark(n.what, n.reason, n.uses) for n in found.not_covered if n.moves),
                unclaimed=(unclaimed := number_of_classes(found.unclaimed)),
                covered_by=covering(unclaimed, self.registry.distributions()),
                warnings=(
                    *model.notes,
                    *found.tree.warnings,
                    *not_followed(found.tree),
                    *unread(found.serving),
                    *self._remedy(found),
                ),
                errors=tuple(failed),
                class_defaults=class_defaults(kernels),
            ),
            serving=found.serving,
            kernels=tuple(kernels),
            defined=tuple(defined),
            not_covered=found.not_covered,
            problems=found.problems,
            missing=found.tree.missing,
            unclaimed=found.unclaimed,
            launches=found.launches,
        )

    def _remedy(self, found: FoundKernels) -> Iterator[str]:
        """What would make a model whole of which a part is missing, or what of it is whole."""
        more = readable(self.source, found.tree)
        if more is not None:
            yield more
        words = whole_without(self.source, found.model, found.serving, found.tree)
        if words is not None:
            yield words

    def _define(self, kernel: Kernel, found: FoundKernels) -> DefinedKernel:
        """Make the definition of a kernel, or join it to the one that an earlier model brought.

        Raises:
            PluginError: its plugin failed.
        """
        model = found.model
        definition = self.registry.reference(kernel).with_tags(
            f"model:{model.slug}", "status:unverified", without="status"
        )
        key = (definition.name, definition.structure(), self.registry.variant(definition))
        derived = self.derived.get(key)
        differing: tuple[str, ...] = ()
        if derived is None:
            derived = self.derived[key] = DerivedDefinition(definition, kernel, model.slug)
        else:
            derived.definition = derived.definition.with_tags(*definition.tags)
            differing = derived.differences(kernel)
        recorded = self.registry.options.recorded(found.serving.options)
        derived.models[model.slug] = None
        derived.entries.append(
            ProvenanceEntry(
                model=model.slug,
                hub_id=model.config.hub_id,
                architecture=found.tree.architecture,
                serving=attrs.evolve(found.serving, options=recorded),
                source_version=found.tree.source_version,
                facts=kernel.facts,
                uses=kernel.uses,
                kernel=kernel.name,
            )
        )
        return DefinedKernel(kernel, key, differing)
