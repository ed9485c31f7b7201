"""Holds a hand-kept page against what the source says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import attrs

from fibcore.reports.coverage.handkept.names import differences, fits, is_name_of, nearest_need
from fibcore.reports.coverage.handkept.quantities import LAYERS, meaning
from fibcore.reports.coverage.handkept.statements import Number, Page, Statement, Status
from fibcore.reports.coverage.handkept.vocabulary import words_of
from fibcore.reports.coverage.report import Contradiction, ModelCoverage, Need, Unchecked


@attrs.frozen
class Facts:
    """What is known of one model.

    Attributes:
        coverage: What it needs and what of it is there.
        config: Integers of its config by key.
        origin: Where the config came from.
        elsewhere: Definitions that other models need, by plain name, and these models.
    """

    coverage: ModelCoverage
    config: Mapping[str, int]
    origin: str
    elsewhere: Mapping[tuple[str, ...], tuple[str, ...]]


def check_page(
    page: Page, models: Mapping[str, Facts], present: Iterable[str]
) -> tuple[list[Contradiction], list[Unchecked], int]:
    """Compare a page with the models that it names.

    Args:
        page: What the page says.
        models: What is known of each model by slug.
        present: Names of all definitions of the dataset.

    Returns:
        What is contradicted, what could not be checked, and how many statements were checked.
    """
    checker = _Checker(models, {words_of(name): name for name in present})
    for line, words in page.unknown:
        checker.unchecked.append(Unchecked(line, words, "no known model has this name"))
    for statement in page.statements:
        checker.statement(statement)
    checker.left_out(page)
    found = sorted(checker.found, key=lambda c: (c.line, c.model))
    return list(dict.fromkeys(found)), list(dict.fromkeys(checker.unchecked)), checker.checked


class _Checker:
    def __init__(self, models: Mapping[str, Facts], present: Mapping[tuple[str, ...], str]) -> None:
        self.models = models
        self.present = present
        self.found: list[Contradiction] = []
        self.unchecked: list[Unchecked] = []
        self.checked = 0
        self._said: dict[str, set[str]] = {}

    def statement(self, s: Statement) -> None:
        """Check one row or item, for every model that it is about."""
        known = [slug for slug in s.models if slug in self.models]
        for slug in s.models:
            if slug not in self.models:
                reason = f"{slug} could not be extracted, or was not asked for"
                self.unchecked.append(Unchecked(s.line, s.text, reason))
        if not s.models and s.names:
            self._anonymous(s)
        for slug in known:
            self._about(s, slug, self.models[slug], shared=len(known) > 1)

    def _anonymous(self, s: Statement) -> None:
        """Definitions in a place that names no model: some model has to need them."""
        for name in s.names:
            self.checked += 1
            needs = [
                need
                for facts in self.models.values()
                for need in facts.coverage.needs
                if is_name_of(name, need)
            ]
            have = [n for words, n in self.present.items() if fits(name, words, n)]
            if needs:
                self._statuses(s, "", needs[:1])
            elif not have:
                self._add(
                    s,
                    "",
                    "not needed",
                    name,
                    "no model that was checked needs it, and the dataset lacks it",
                    "the dataset",
                )

    def _about(self, s: Statement, slug: str, facts: Facts, *, shared: bool) -> None:
        needs: list[Need] = []
        for name in s.names:
            self.checked += 1
            fitting = [need for need in facts.coverage.needs if is_name_of(name, need)]
            needs += fitting
            self._said.setdefault(slug, set()).update(need.kernel for need in fitting)
            if not fitting:
                self._not_needed(s, slug, facts, name)
        if needs:
            self._statuses(s, slug, needs)
        for number in s.numbers:
            self._number(s, slug, facts, needs, number, shared=shared)
        for op_type, mark in s.op_types:
            self._op_type(s, slug, facts, op_type, mark)

    def _not_needed(self, s: Statement, slug: str, facts: Facts, name: str) -> None:
        nearest = nearest_need(name, facts.coverage.needs)
        others = facts.elsewhere.get(words_of(name), ())
        servings = "; ".join(facts.coverage.servings)
        aside = f"; {', '.join(others)} needs it" if others else ""
        if nearest is None:
            derived = f"{slug} needs nothing like it at {servings}{aside}"
            source = facts.coverage.architecture or "the dataset"
        else:
            wrong = differences(name, nearest.kernel)
            which = f" ({', '.join(f'{w} {b}, not {a}' for w, a, b in wrong)})" if wrong else ""
            derived = f"the nearest that it needs is {nearest.name}{which}{aside}"
            source = _source(nearest, [b for _, _, b in wrong])
        self._add(s, slug, "not needed", f"{name} is one of its definitions", derived, source)

    def _statuses(self, s: Statement, slug: str, needs: Sequence[Need]) -> None:
        for status in s.statuses:
            self.checked += 1
            for need in needs:
                self._status(s, slug, need, status)

    def _status(self, s: Statement, slug: str, need: Need, status: Status) -> None:
        have = need.have
        if status.done and not have["definition"]:
            derived = f"{need.kernel} is not in the dataset"
            hint = need.commands[0] if need.commands else "the dataset"
        elif have[status.aspect] != status.done:
            state = "is" if have[status.aspect] else "is not"
            what = {
                "definition": f"{state} there",
                "verified": f"{state} verified",
                "workloads": "has workloads" if have["workloads"] else "has no workloads",
                "baseline": "has a baseline" if have["baseline"] else "has no baseline solution",
                "benchmarks": "has benchmark results"
                if have["benchmarks"]
                else "has no benchmark result that passed",
            }[status.aspect]
            derived, hint = f"{need.name} {what}", "the dataset"
        else:
            return
        says = f"{need.name}: {status.aspect} {status.words!r}"
        self._add(s, slug, "status", says, derived, hint)

    def _number(
        self,
        s: Statement,
        slug: str,
        facts: Facts,
        needs: Sequence[Need],
        number: Number,
        *,
        shared: bool,
    ) -> None:
        found = _meaning(number, facts.config)
        if found is None:
            return
        label, known = found
        name, keys = known
        self.checked += 1
        if name == LAYERS and needs:
            right = {need.layers: need for need in needs}
            if number.value not in right and not (shared and len(needs) > 1):
                need = needs[0]
                counts = " or ".join(map(str, sorted(right)))
                self._add(
                    s,
                    slug,
                    "layers",
                    f"{need.name} in {number.value} layers",
                    f"{counts} layers",
                    need.where,
                )
            return
        candidates = list(_candidates(facts, keys))
        if not candidates:
            reason = f"nothing of {slug} is known as {label!r}"
            self.unchecked.append(Unchecked(s.line, s.text, reason))
            return
        values = {value for _, value, _ in candidates}
        if number.qualified and name == LAYERS:
            values |= {need.layers for need in facts.coverage.needs}
        if number.value in values:
            return
        derived = ", ".join(dict.fromkeys(f"{key} = {value}" for key, value, _ in candidates))
        sources = dict.fromkeys(source for _, _, source in candidates)
        self._add(s, slug, "size", f"{label} {number.value}", derived, "; ".join(list(sources)[:3]))

    def _op_type(
        self,
        s: Statement,
        slug: str,
        facts: Facts,
        op_type: str,
        mark: bool | tuple[int, int],
    ) -> None:
        self.checked += 1
        needs = [need for need in facts.coverage.needs if need.op_type == op_type]
        there = sum(need.definition is not None for need in needs)
        derived = f"{there} of {len(needs)} definitions of {op_type} are there"
        if not needs:
            derived = f"{slug} needs no definition of {op_type}"
        right = {
            True: bool(needs) and there == len(needs),
            False: there < len(needs) or not needs,
        }
        ok = (there, len(needs)) == mark if isinstance(mark, tuple) else right[mark]
        if not ok:
            says = f"{mark[0]} of {mark[1]}" if isinstance(mark, tuple) else _done(mark)
            where = needs[0].where if needs else facts.coverage.architecture
            self._add(s, slug, "op type", f"{op_type}: {says}", derived, where or "the dataset")

    def left_out(self, page: Page) -> None:
        """Definitions that a model needs and the page, which lists others of it, lacks."""
        for slug, said in self._said.items():
            coverage = self.models[slug].coverage
            # A page that lists what one way of serving needs is not about the others.
            servings = {
                serving
                for need in coverage.needs
                if need.kernel in said and set(need.servings) != set(coverage.servings)
                for serving in need.servings
            } or set(coverage.servings[:1])
            for need in coverage.needs:
                if need.servings and not servings & set(need.servings):
                    continue
                self.checked += 1
                if need.kernel not in said:
                    layers = f"{need.layers} {'layer' if need.layers == 1 else 'layers'}"
                    self.found.append(
                        Contradiction(
                            page.mentions.get(slug, 1),
                            slug,
                            "left out",
                            f"{need.name} is not named",
                            f"{layers} at {'; '.join(need.servings)}",
                            need.where or "the dataset",
                        )
                    )

    def _add(
        self, s: Statement, slug: str, kind: str, says: str, derived: str, source: str
    ) -> None:
        self.found.append(Contradiction(s.line, slug, kind, says, derived, source))


def _meaning(
    number: Number, config: Mapping[str, int]
) -> tuple[str, tuple[str, tuple[str, ...]]] | None:
    """The words that say what a number is, and what they mean; None where that is not known."""
    words = number.label.split()
    if not number.qualified:
        known = meaning(number.label, config)
        return None if known is None else (number.label, known)
    # In a sentence other words may follow (`8 KV heads and`), and before `layers` stand others.
    for begin in range(len(words)):
        for end in range(len(words), begin, -1):
            label = " ".join(words[begin:end])
            known = meaning(label, config)
            if known is not None and (begin == 0 or known[0] == LAYERS):
                return label, known
    return None


def _done(mark: bool) -> str:
    return "done" if mark else "not done"


def _source(need: Need, numbers: Sequence[str]) -> str:
    """Where a need's numbers come from; all of its constants where none is singled out."""
    chosen = [
        f"{name} = {constant.value}: {constant.source}"
        for name, constant in need.constants.items()
        if str(constant.value) in numbers
    ]
    return "; ".join(chosen) or need.where or "the dataset"


def _candidates(facts: Facts, keys: Sequence[str]) -> Iterator[tuple[str, int, str]]:
    """What a quantity of a model can be: values of its config and constants of its kernels."""
    for key in dict.fromkeys(keys):
        if key in facts.config:
            yield key, facts.config[key], f"{facts.origin}:{key}"
    for need in facts.coverage.needs:
        for name, constant in need.constants.items():
            value = constant.value
            if name in keys and isinstance(value, int) and not isinstance(value, bool):
                yield name, value, constant.source
