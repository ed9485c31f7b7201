"""Checks of traces: what a benchmark found of solutions on workloads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from fibcore.dataset import BrokenFileError
from fibcore.dataset.files import lines, read_text, relative
from fibcore.dataset.layout import SOLUTIONS, TRACES, trace_file, workload_file
from fibcore.model.definition import Definition
from fibcore.model.json import decode
from fibcore.regular_files import MAX_LINES_BYTES
from fibcore.validation.completeness import baselines
from fibcore.validation.problems import ValidationProblem, error, warning

PASSED = "PASSED"


def check_traces(
    root: Path, definitions: Sequence[tuple[Definition, str]], author: str
) -> Iterator[ValidationProblem]:
    """Check `traces/<op_type>/<name>.jsonl` of some definitions.

    Every line is of its file's definition, names one of its solutions and has an evaluation. There
    are warnings where there are none, where they do not cover all workloads, did not pass, or are
    of another solution than a baseline.

    Args:
        root: The dataset folder.
        definitions: Each with its file, relative to the dataset.
        author: The author of baselines.
    """
    for definition, path in definitions:
        file = root / trace_file(definition)
        if not file.exists():
            yield warning(path, None, "no traces", expected=trace_file(definition))
            continue
        yield from _File(root, definition, author).check(file)


def ownerless_traces(root: Path, known: Mapping[str, Definition]) -> Iterator[ValidationProblem]:
    """Find trace files that belong to no definition."""
    folder = root / TRACES
    wanted = {trace_file(definition) for definition in known.values()}
    for file in sorted(folder.rglob("*.jsonl")) if folder.is_dir() else ():
        if relative(root, file) not in wanted:
            message = "no usable definition belongs to this file"
            expected = "traces/<op_type>/<name>.jsonl of a definition"
            yield error(relative(root, file), None, message, expected)


@attrs.define
class _File:
    """The traces of one definition."""

    root: Path
    definition: Definition
    author: str
    covered: set[str] = attrs.field(factory=set)

    def check(self, file: Path) -> Iterator[ValidationProblem]:
        """All that is wrong with it."""
        path = relative(self.root, file)
        try:
            text = read_text(self.root, file, MAX_LINES_BYTES)
        except BrokenFileError as broken:
            yield error(path, None, broken.message, broken.expected, broken.found)
            return
        solutions = self._solutions()
        own = set(baselines(self.root, self.definition, self.author))
        for number, line in lines(text):
            yield from self._line(path, f"line {number}", line, solutions, own)
        missing = sorted(self._workloads() - self.covered)
        if missing:
            found = f"{len(missing)} without one: {', '.join(missing[:3])}"
            yield warning(path, None, "the traces do not cover all workloads", found=found)

    def _line(
        self, path: str, place: str, line: str, solutions: set[str], own: set[str]
    ) -> Iterator[ValidationProblem]:
        try:
            trace = decode(line)
        except ValueError as broken:
            yield error(path, place, "not JSON", found=str(broken))
            return
        if not isinstance(trace, dict):
            yield error(path, place, "a trace is a JSON object", found=type(trace).__name__)
            return
        name = trace.get("definition")
        if name != self.definition.name:
            where = f"{place} $.definition"
            message = "a trace of another definition"
            yield error(path, where, message, self.definition.name, repr(name))
        solution, evaluation = trace.get("solution"), trace.get("evaluation")
        for key, value, kind in (("solution", solution, str), ("evaluation", evaluation, dict)):
            if not isinstance(value, kind):
                article = "an" if key == "evaluation" else "a"
                yield error(
                    path, f"{place} $.{key}", f"a trace has {article} {key}", found=repr(value)
                )
        if isinstance(solution, str):
            yield from self._solution(path, place, solution, solutions, own)
        status = evaluation.get("status") if isinstance(evaluation, dict) else None
        if isinstance(evaluation, dict) and status != PASSED:
            where = f"{place} $.evaluation.status"
            yield warning(path, where, "it did not pass", PASSED, repr(status))
        uuid = _uuid(trace)
        if uuid is None:
            where = f"{place} $.workload.uuid"
            yield error(path, where, "missing or of another type", "the uuid of a workload")
        elif solution in own and status == PASSED:
            self.covered.add(uuid)

    def _solution(
        self, path: str, place: str, solution: str, solutions: set[str], own: set[str]
    ) -> Iterator[ValidationProblem]:
        where = f"{place} $.solution"
        if solution not in solutions:
            wanted = ", ".join(sorted(solutions)) or "a solution of the definition"
            yield error(path, where, "no such solution", wanted, solution)
        elif solution not in own:
            wanted = ", ".join(sorted(own)) or f"a solution of {self.author}"
            yield warning(path, where, "the solution is no baseline", wanted, solution)

    def _solutions(self) -> set[str]:
        """The definition's solutions, as their files are called."""
        place = f"*/{self.definition.op_type}/{self.definition.name}/*.json"
        return {file.stem for file in (self.root / SOLUTIONS).glob(place)}

    def _workloads(self) -> set[str]:
        """The uuids of the definition's workloads, of those lines that have one."""
        file = self.root / workload_file(self.definition)
        found = set()
        try:
            text = read_text(self.root, file, MAX_LINES_BYTES) if file.exists() else ""
        except BrokenFileError:
            return set()  # the check of workloads says so
        for _, line in lines(text):
            try:
                uuid = _uuid(decode(line))
            except ValueError:
                continue  # likewise
            if uuid is not None:
                found.add(uuid)
        return found


def _uuid(trace: Any) -> str | None:
    workload = trace.get("workload") if isinstance(trace, dict) else None
    uuid = workload.get("uuid") if isinstance(workload, dict) else None
    return uuid if isinstance(uuid, str) and uuid else None
