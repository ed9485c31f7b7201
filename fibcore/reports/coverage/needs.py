"""What models need, derived from their source, and what a dataset has of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from fibcore.errors import UsageError
from fibcore.extraction.drafts import is_draft_slug
from fibcore.extraction.findings import Findings, FoundModel, find_models
from fibcore.extraction.report import Refused, Remark
from fibcore.extraction.request import Request
from fibcore.model.definition import Definition
from fibcore.model.kernel import Fact, Kernel, Use
from fibcore.model.options import OptionValue
from fibcore.ops.registry import Registry
from fibcore.progress import Progress
from fibcore.reports.coverage.commands import STEPS_AFTER, CommandLines
from fibcore.reports.coverage.holdings import DatasetHoldings, Served
from fibcore.reports.coverage.report import Constant, ModelCoverage, Need, Uncovered
from fibcore.reports.launches import shares
from fibcore.sources.tree import SourceTree
from fibcore.verification.evidence import STRENGTH

BASELINE_AUTHORS = ("baseline", *STRENGTH)
"""Authors whose solutions are baselines: a library's own implementation."""

UNCLAIMED = "no installed plugin covers it"


_Found = tuple[FoundModel, Findings, Served]
_How = tuple[str, tuple[str, ...], tuple[str, ...]]


class Deriver:
    """Derives coverage, model by model.

    Attributes:
        known: The dataset.
        refused: Models and combinations that could not be extracted.
        found: What was found of every model, one entry for each way of serving.
    """

    def __init__(
        self,
        known: DatasetHoldings,
        source: SourceTree,
        registry: Registry,
        request: Request,
        commands: CommandLines,
        progress: Progress | None,
    ) -> None:
        self.known = known
        self.source = source
        self.registry = registry
        self.request = request
        self.commands = commands
        self.progress = progress
        self.refused: list[Refused] = []
        self.found: dict[str, list[FoundModel]] = {}
        self._extracts: dict[tuple[str, str], _How] = {}
        self._asked: dict[str, str] = {}  # drafts are extracted with the model beside them
        self._by_structure: dict[tuple[Any, ...], list[Definition]] = {}
        for definition in known.definitions.values():
            self._by_structure.setdefault(definition.structure(), []).append(definition)

    def derive(self, name: str, also: Iterable[Served] = ()) -> list[ModelCoverage]:
        """What the dataset has of a model; () where nothing at all is known of it.

        Without sizes that were asked for, a model is looked at as it is usually served, as it was
        served when its definitions were extracted, and in the ways of `also`.
        """
        several = self._several(name)
        options = {**self.request.options, **several}
        found = self._find(name, attrs.evolve(self.request, options=options))
        done = {served for _, _, served in found}
        if not (self.request.tp or self.request.ep or self.request.launch):
            slugs = dict.fromkeys([name, *(model.report.slug for model, _, _ in found)])
            others = [s for slug in slugs for s in self.known.served(slug)]
            for served in dict.fromkeys([*others, *also]):
                if served not in done:
                    request = attrs.evolve(
                        self.request,
                        tp=() if served.line else (served.tp,),
                        ep=(served.ep,) if served.ep and not served.line else (),
                        options={**several, **dict(served.options)},
                        launch=served.line,
                        gpu=served.gpu,
                    )
                    new = [one for one in self._found(name, request) if one[2] not in done]
                    done.update((served, *(s for _, _, s in new)))
                    found += new
        by_slug: dict[str, list[_Found]] = {}
        for one in found:
            self.found.setdefault(one[0].report.slug, []).append(one[0])
            by_slug.setdefault(one[0].report.slug, []).append(one)
        covered = [self._covered(slug, found, several) for slug, found in by_slug.items()]
        if not covered and name in self.known.models():
            covered.append(self._recorded(name))
        return covered

    def _several(self, name: str) -> dict[str, OptionValue]:
        """Values of options with several: those asked for, else the usual and the dataset's ones.

        An option of which the dataset records nothing is left to its default.
        """
        from fibcore.configs.catalogue import find_entry

        entry = find_entry(name)
        found: dict[str, OptionValue] = {}
        for option in self.registry.options.several:
            asked = self.request.options.get(option.name)
            extra = self.known.values(option, name)
            if asked is not None:
                found[option.name] = asked
            elif extra:
                usual: Any = entry.options.get(option.name) if entry else None
                found[option.name] = tuple(sorted(extra.union(usual or option.default)))
        return found

    def _found(self, name: str, request: Request) -> list[_Found]:
        """As `_find`; a launch line that this source cannot read is refused."""
        try:
            return self._find(name, request)
        except UsageError as error:
            self.refused.append(Refused(name, error))
            return []

    def _find(self, name: str, request: Request) -> list[_Found]:
        findings = find_models((name,), self.source, request, self.registry, progress=self.progress)
        self.refused += findings.refused
        return [(m, findings, self._served(m, request)) for m in findings.models]

    def _served(self, model: FoundModel, request: Request) -> Served:
        serving, recorded = model.serving, self.registry.options.recorded
        options = request.options if serving.launch is None else serving.options
        return Served.recorded(attrs.evolve(serving, options=recorded(options)))

    def _covered(
        self,
        slug: str,
        found: Sequence[_Found],
        several: Mapping[str, OptionValue],
    ) -> ModelCoverage:
        first = found[0][0].report
        if is_draft_slug(slug):
            self._asked[slug] = first.name
        groups: dict[tuple[str, str], list[tuple[Kernel, Served, Definition | None]]] = {}
        for model, findings, served in found:
            for kernel in model.kernels:
                have = self._in_dataset(kernel, slug, findings)
                key = (kernel.op_type, kernel.name)
                groups.setdefault(key, []).append((kernel, served, have))
        needs = [self._need(slug, uses, several) for _, uses in sorted(groups.items())]
        uncovered: dict[tuple[str, str], int] = {}
        partial: dict[str, Remark] = {}
        for model, _, _ in found:
            for op in (op for op in model.not_covered if not op.moves):
                layers = len({use.path for use in op.uses})
                key = (op.what, op.reason)
                uncovered[key] = max(uncovered.get(key, 0), layers)
            classes = Counter(use.cls.rpartition(".")[2] for use in model.unclaimed)
            for cls, layers in classes.items():
                uncovered[cls, UNCLAIMED] = max(uncovered.get((cls, UNCLAIMED), 0), layers)
            remarks = [*model.report.missing, *model.report.problems]
            remarks += [Remark(e.where or "a plugin", e.message, 0) for e in model.report.errors]
            partial.update((str(remark), remark) for remark in remarks)
        return ModelCoverage(
            slug=slug,
            architecture=first.architecture,
            constants=first.constants,
            servings=tuple(self._label(served) for _, _, served in found),
            needs=tuple(needs),
            uncovered=tuple(
                Uncovered(what, reason, layers)
                for (what, reason), layers in sorted(uncovered.items())
            ),
            commands=self._together(slug, needs),
            partial=tuple(partial.values()),
            steps=shares(found[0][0].launches, self.registry),
        )

    def _in_dataset(self, kernel: Kernel, slug: str, findings: Findings) -> Definition | None:
        """The dataset's definition of a kernel, whatever its name."""
        derived = next(
            (
                d
                for d in findings.definitions
                if d.name == kernel.name and slug in d.tag_values("model")
            ),
            None,
        )
        if derived is None:  # its plugin could not write it; that is a failure of its own
            return None
        variant = self.registry.variant(derived)
        same = [
            d
            for d in self._by_structure.get(derived.structure(), ())
            if self.registry.variant(d) == variant
        ]
        return min(same, key=lambda d: (d.name != kernel.name, d.name), default=None)

    def _need(
        self,
        slug: str,
        uses: Sequence[tuple[Kernel, Served, Definition | None]],
        several: Mapping[str, OptionValue],
    ) -> Need:
        kernel, served, _ = uses[0]
        definition = next((d for _, _, d in uses if d is not None), None)
        notes = list(kernel.notes)
        if definition is not None and definition.name != kernel.name:
            notes.append(f"the dataset has this kernel as {definition.name}")
        elif definition is None and kernel.name in self.known.definitions:
            notes.append("the dataset has another kernel under this name")
        need = Need(
            kernel=kernel.name,
            definition=None if definition is None else definition.name,
            op_type=kernel.op_type,
            servings=tuple(dict.fromkeys(self._label(s) for _, s, _ in uses)),
            layers=max(len({use.path for use in k.uses}) for k, _, _ in uses),
            where=_first_place(kernel.uses),
            constants=_constants(kernel.facts),
            notes=tuple(notes),
        )
        options = self._depends_on(kernel, several) | dict(served.options)
        asked = self._asked.get(slug, slug)
        how = (asked, served.words, self.registry.options.command_line(options))
        self._extracts[slug, kernel.name] = how
        command = self.commands.extract(*how, [kernel.op_type])
        return self._with_holding(need, definition, command)

    def _label(self, served: Served) -> str:
        return served.label(self.registry.options)

    def _depends_on(
        self, kernel: Kernel, several: Mapping[str, OptionValue]
    ) -> dict[str, OptionValue]:
        """The options with several values that a kernel takes a constant from."""
        origins = {origin for fact in kernel.facts.values() for origin in fact.origins}
        declared = self.registry.options
        return {n: value for n, value in several.items() if declared[n].origin in origins}

    def _with_holding(self, need: Need, definition: Definition | None, extract: str) -> Need:
        """A need with what the dataset has of it, and the commands for the rest."""
        name = need.name
        holding = self.known.inventory.of(name) if definition is not None else None
        verified = definition is not None and "verified" in definition.tag_values("status")
        need = attrs.evolve(
            need,
            verified=verified,
            tested=definition is not None and self.known.tested(definition),
            workloads=len(holding.workloads) if holding else 0,
            solutions=len(holding.solutions) if holding else 0,
            baseline=any(s.author in BASELINE_AUTHORS for s in holding.solutions)
            if holding
            else False,
            evaluations=len(holding.evaluations) if holding else 0,
            passed=len(holding.passed) if holding else 0,
        )
        commands = [extract] if definition is None and extract else []
        commands += [s.command(self.commands, [name]) for s in STEPS_AFTER if s.lacking(need)]
        return attrs.evolve(need, commands=tuple(commands))

    def _together(self, slug: str, needs: Sequence[Need]) -> tuple[str, ...]:
        """The commands of all needs, those of one kind as one."""
        extracts: dict[_How, dict[str, None]] = {}
        for need in needs:
            if need.definition is None:
                how = self._extracts[slug, need.kernel]
                extracts.setdefault(how, {})[need.op_type] = None
        commands = [self.commands.extract(*how, list(types)) for how, types in extracts.items()]
        for step in STEPS_AFTER:
            names = [need.name for need in needs if step.lacking(need)]
            if names:
                commands.append(step.command(self.commands, names))
        return tuple(dict.fromkeys(commands))

    def _recorded(self, slug: str) -> ModelCoverage:
        """What the dataset records of a model that cannot be extracted."""
        needs = []
        servings: dict[str, None] = {}
        architecture = ""
        for name, definition in self.known.definitions.items():
            if slug not in definition.tag_values("model"):
                continue
            record = self.known.provenance.get(name)
            entries = [e for e in record.entries if e.model == slug] if record else []
            labels = [self._label(Served.recorded(entry.serving)) for entry in entries]
            servings.update(dict.fromkeys(labels))
            architecture = architecture or next((e.architecture for e in entries), "")
            need = Need(
                kernel=name,
                definition=name,
                op_type=definition.op_type,
                servings=tuple(dict.fromkeys(labels)),
                layers=max((len({u.path for u in e.uses}) for e in entries), default=0),
                where=_first_place(entries[0].uses) if entries else "",
                constants=_constants(entries[0].facts)
                if entries
                else {n: Constant(v, "the dataset") for n, v in definition.const_axes.items()},
            )
            needs.append(self._with_holding(need, definition, ""))
        needs.sort(key=lambda need: (need.op_type, need.name))
        return ModelCoverage(
            slug=slug,
            architecture=architecture,
            constants="what the dataset records",
            servings=tuple(servings),
            needs=tuple(needs),
            commands=self._together(slug, needs),
            recorded=True,
        )


def _first_place(uses: Sequence[Use]) -> str:
    return str(uses[0].place) if uses else ""


def _constants(facts: Mapping[str, Fact]) -> dict[str, Constant]:
    return {
        name: Constant(fact.value, ", ".join((*fact.origins, str(fact.place))))
        for name, fact in facts.items()
    }
