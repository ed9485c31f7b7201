"""Static extraction against a dump: which kernels both have, which one of them, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from fibcore.errors import FibcoreError
from fibcore.extraction.findings import Findings
from fibcore.extraction.request import Request
from fibcore.model.definition import Definition
from fibcore.model.kernel import Kernel
from fibcore.model.options import Option
from fibcore.ops.registry import Registry
from fibcore.reports.diff.report import Match, TraceDiff, Unmatched
from fibcore.traces.matching import match, other_sizes, related, same_kind, same_stage
from fibcore.traces.reading import Trace, TraceFile
from fibcore.traces.sketch import sketch


def compare_with_trace(
    found: Findings, dump: Trace, request: Request, registry: Registry
) -> TraceDiff:
    """Hold every kernel that extraction found against every file of a dump.

    Of the dump's files those count whose op type and stage were asked for.
    """
    files = tuple(file for file in dump.files if _asked_for(file, request))
    comparison = _Comparison(found, files, registry)
    return TraceDiff(
        trace=str(dump.root),
        models=tuple(model.report for model in found.models),
        files=len(files),
        matched=tuple(comparison.matched),
        static_only=comparison.static_only(),
        traced_only=comparison.traced_only(),
        broken=tuple(f"{error.where}: {error.message}" for error in dump.broken),
    )


def _asked_for(file: TraceFile, request: Request) -> bool:
    stages = file.tag_values("stage")
    if stages and not set(stages) & set(request.stages):
        return False
    return not request.op_types or any(related(t, file.op_type) for t in request.op_types)


@attrs.define
class _Place:
    """Where the models run a kernel."""

    kernel: Kernel
    layers: int = 0

    @property
    def where(self) -> str:
        return str(self.kernel.uses[0].place) if self.kernel.uses else ""


class _Comparison:
    """Pairs definitions with files, and knows why the others have no counterpart."""

    def __init__(
        self,
        found: Findings,
        files: Sequence[TraceFile],
        registry: Registry,
    ) -> None:
        self.definitions = found.definitions
        self.files = files
        self.registry = registry
        self.places: dict[str, _Place] = {}
        for model in found.models:
            for kernel in model.kernels:
                place = self.places.setdefault(kernel.name, _Place(kernel))
                place.layers += len({use.path for use in kernel.uses})
        self._variants = {d.name: self._variant(d) for d in self.definitions}
        self._traced_variants = {f.file: self._variant(sketch(f)) for f in files}
        self.matched: list[Match] = []
        for file in files:
            self._match(file)

    def static_only(self) -> tuple[Unmatched, ...]:
        """The definitions without a counterpart, and why."""
        names = {match.name for match in self.matched}
        return tuple(
            Unmatched(
                d.name,
                d.op_type,
                self.places[d.name].where,
                self.places[d.name].layers,
                self._why_not_traced(d),
            )
            for d in self.definitions
            if d.name not in names and d.name in self.places
        )

    def traced_only(self) -> tuple[Unmatched, ...]:
        """The files without a counterpart, and why."""
        known = {match.file for match in self.matched}
        return tuple(
            Unmatched(f.name, f.op_type, f.file, None, self._why_not_extracted(f))
            for f in self.files
            if f.file not in known
        )

    def _variant(self, definition: Definition | None) -> str:
        try:
            return "" if definition is None else self.registry.variant(definition)
        except FibcoreError as error:
            return f"unknown: {error.message}"

    def _same_function(self, definition: Definition, file: TraceFile) -> bool:
        return self._variants[definition.name] == self._traced_variants[file.file]

    def _match(self, file: TraceFile) -> None:
        """Pair a file with the definition from which it differs least."""
        options = []
        for definition in self.definitions:
            differences = match(definition, file)
            if differences is None or not self._same_function(definition, file):
                continue
            if definition.name in self.places:
                rank = (len(differences), definition.name != file.name)
                options.append((rank, definition, differences))
        if options:
            _, definition, differences = min(options, key=lambda option: option[0])
            place = self.places[definition.name]
            self.matched.append(
                Match(definition.name, file.name, file.file, place.layers, place.where, differences)
            )

    def _why_not_traced(self, definition: Definition) -> str:
        alike = [f for f in self.files if same_kind(definition, f)]
        if not alike:
            return f"the dump has nothing of op type {definition.op_type}"
        alike = [f for f in alike if same_stage(definition, f)]
        if not alike:
            stage = ", ".join(definition.tag_values("stage"))
            return f"the dump has no {stage} of op type {definition.op_type}"
        nearest = min(alike, key=lambda f: _distance(definition, f))
        sizes = other_sizes(definition, nearest)
        option = self._set_by_option(sizes)
        if option is not None:
            size = sizes[option.name][0]
            used = {f.sizes[option.name] for f in alike if option.name in f.sizes}
            return f"the dump does not use {option.title} {size}, but {_list(used)}"
        if sizes:
            return f"nearest in the dump: {nearest.name}, with {_sizes(sizes, 1)}"
        return f"nearest in the dump: {nearest.name}, {self._otherwise(definition, nearest)}"

    def _why_not_extracted(self, file: TraceFile) -> str:
        alike = [d for d in self.definitions if same_kind(d, file)]
        known = any(related(op_type, file.op_type) for op_type in self.registry.op_types())
        if not alike and not known:
            return f"no installed plugin has op type {file.op_type}"
        if not alike:
            return f"extraction found nothing of op type {file.op_type}"
        alike = [d for d in alike if same_stage(d, file)]
        if not alike:
            stage = ", ".join(file.tag_values("stage"))
            return f"extraction found no {stage} of op type {file.op_type}"
        nearest = min(alike, key=lambda d: _distance(d, file))
        sizes = other_sizes(nearest, file)
        option = self._set_by_option(sizes)
        if option is not None:
            size = sizes[option.name][1]
            used = {d.const_axes[option.name] for d in alike if option.name in d.const_axes}
            return f"extracted at {option.title} {_list(used)}: {option.flag} {size} has it"
        if not sizes:
            return f"nearest: {nearest.name}, {self._otherwise(nearest, file)}"
        text = f"nearest: {nearest.name}, with {_sizes(sizes, 0)}"
        options = self._options(nearest, sizes)
        return f"{text}; was it served with another {' or '.join(options)}?" if options else text

    def _set_by_option(self, sizes: Mapping[str, object]) -> Option[Any] | None:
        """The option with several values that sets the one axis in which two kernels differ."""
        if len(sizes) != 1:
            return None
        option = self.registry.options.get(next(iter(sizes)))
        return option if option is not None and option.several else None

    def _otherwise(self, definition: Definition, file: TraceFile) -> str:
        """How two kernels of equal sizes differ."""
        if not self._same_function(definition, file):
            return "which is another function"
        here = {name for name, spec in definition.inputs.items() if spec.shape}
        there = {name for name, spec in file.inputs.items() if spec.shape}
        names = [f"{name} here alone" for name in sorted(here - there)]
        names += [f"{name} in the dump alone" for name in sorted(there - here)]
        return f"which has other tensors ({', '.join(names) or 'other shapes or dtypes'})"

    def _options(self, definition: Definition, sizes: Mapping[str, object]) -> list[str]:
        """The options of serving that all the sizes depend on."""
        facts = self.places[definition.name].kernel.facts if definition.name in self.places else {}
        return [
            f"--{option}"
            for option in ("tp", "ep")
            if all(a in facts and f"serving:{option}" in facts[a].origins for a in sizes)
        ]


def _distance(definition: Definition, file: TraceFile) -> tuple[int, int]:
    """How many sizes differ, then how many inputs one side alone has."""
    return len(other_sizes(definition, file)), len(set(definition.inputs) ^ set(file.inputs))


def _sizes(sizes: Mapping[str, tuple[int, int]], side: int) -> str:
    return ", ".join(f"{name} {pair[side]} (not {pair[1 - side]})" for name, pair in sizes.items())


def _list(values: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(values)))
