"""Contents of a dataset beside definitions: workloads, solutions and traces (benchmark results).

The layout is flashinfer-bench's: `workloads/<op_type>/<name>.jsonl`,
`solutions/<author>/<op_type>/<name>/<solution>.json` and `traces/**/*.jsonl`. A file
is about the definition that it names, wherever below these folders it lies, as in flashinfer-bench.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from fibcore.dataset.files import BrokenFileError, check_inside, lines, read_text, relative
from fibcore.dataset.layout import SOLUTIONS, TRACES, WORKLOADS
from fibcore.errors import DatasetError
from fibcore.model.json import decode
from fibcore.regular_files import MAX_LINES_BYTES

PASSED = "PASSED"


@attrs.frozen
class Solution:
    """An implementation of a definition.

    Attributes:
        name: Its name, unique in the dataset.
        author: Who wrote it.
        language: "python", "triton", "cuda", ...
        description: For people.
        path: Its file, relative to the dataset.
    """

    name: str
    author: str
    language: str
    description: str
    path: str


@attrs.frozen
class Workload:
    """A line of a file of workloads.

    Attributes:
        uuid: Its name.
        axes: Sizes of the var axes.
        inputs: What its inputs are, as the line has it.
        place: File and line, relative to the dataset.
    """

    uuid: str
    axes: Mapping[str, int]
    inputs: Mapping[str, Any]
    place: str


@attrs.frozen
class Evaluation:
    """A line of a trace: how one solution did on one workload.

    Attributes:
        solution: The solution's name.
        status: "PASSED" or how it failed, `INCORRECT_NUMERICAL`.
        hardware: Where it ran.
        axes: Sizes of the workload's var axes.
        inputs: What the workload's inputs are, as the line has it.
        latency_ms: Milliseconds; None where it did not pass.
        reference_latency_ms: Milliseconds of the definition's reference, likewise.
        speedup: reference_latency_ms / latency_ms, likewise.
        max_absolute_error: Of the outputs; None where they were not compared.
        max_relative_error: Likewise.
        place: File and line, relative to the dataset.
    """

    solution: str
    status: str
    hardware: str
    axes: Mapping[str, int]
    inputs: Mapping[str, Any]
    latency_ms: float | None
    reference_latency_ms: float | None
    speedup: float | None
    max_absolute_error: float | None
    max_relative_error: float | None
    place: str


@attrs.define
class Holding:
    """Workloads, solutions and evaluations of one definition."""

    workloads: list[Workload] = attrs.field(factory=list)
    solutions: list[Solution] = attrs.field(factory=list)
    evaluations: list[Evaluation] = attrs.field(factory=list)

    def by(self, author: str) -> list[Solution]:
        """The solutions of an author."""
        return [solution for solution in self.solutions if solution.author == author]

    @property
    def passed(self) -> list[Evaluation]:
        """The evaluations that passed."""
        return [e for e in self.evaluations if e.status == PASSED]


@attrs.frozen
class Inventory:
    """Holdings of every definition.

    Attributes:
        holdings: Definition name to its holding, by name.
        errors: One error for each file, or line of one, that is not usable.
    """

    holdings: Mapping[str, Holding]
    errors: tuple[BrokenFileError, ...]

    def of(self, name: str) -> Holding:
        """The holding of a definition; an empty one where there is none."""
        return self.holdings.get(name) or Holding()


class _Wrong(Exception):
    """A rule that is broken, and its place in the JSON."""

    def __init__(self, place: str, expected: str, found: object) -> None:
        super().__init__(place)
        self.place, self.expected, self.found = place, expected, repr(found)[:200]


def read_inventory(root: Path) -> Inventory:
    """Read workloads, solutions and traces of the dataset at `root`."""
    reader = _Reader(root)
    for path in reader.files(SOLUTIONS, ".json"):
        reader.solution(path)
    for path in reader.files(WORKLOADS, ".jsonl"):
        reader.lines(path, workloads=True)
    for path in reader.files(TRACES, ".jsonl"):
        reader.lines(path, workloads=False)
    return Inventory(dict(sorted(reader.holdings.items())), tuple(reader.errors))


class _Reader:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.holdings: dict[str, Holding] = {}
        self.errors: list[BrokenFileError] = []
        self._solutions: dict[str, str] = {}

    def files(self, folder: str, suffix: str) -> Iterator[Path]:
        """The files below a folder, sorted; what cannot be read becomes an error."""
        top = self.root / folder
        if not top.is_dir():
            return
        try:
            check_inside(self.root, top)
        except DatasetError as error:
            self.errors.append(
                BrokenFileError(error.message, path=folder, found=error.found, hint=error.hint)
            )
            return
        for here, folders, names in os.walk(top, onerror=self._unreadable):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                if name.endswith(suffix) and not name.startswith("."):
                    yield Path(here, name)

    def _unreadable(self, error: OSError) -> None:
        path = relative(self.root, Path(error.filename))
        self.errors.append(
            BrokenFileError("cannot read the folder", path=path, found=error.strerror)
        )

    def solution(self, path: Path) -> None:
        """Take in a solution's file."""
        name = relative(self.root, path)
        try:
            data = _object(_parsed(read_text(self.root, path)), "$")
            solution = Solution(
                _text(data, "name"),
                _text(data, "author"),
                _text(_object(data.get("spec"), "$.spec"), "language", "$.spec"),
                str(data.get("description") or ""),
                name,
            )
            definition = _text(data, "definition")
        except BrokenFileError as error:
            self.errors.append(error)
            return
        except _Wrong as wrong:
            self._broken("not a solution", name, wrong.place, wrong)
            return
        first = self._solutions.setdefault(solution.name, name)
        if first != name:
            twice = _Wrong("$.name", "a name that no other solution has", first)
            self._broken("another solution has this name", name, twice.place, twice)
            return
        self._of(definition).solutions.append(solution)

    def lines(self, path: Path, *, workloads: bool) -> None:
        """Take in a file of workloads or of traces, line by line."""
        name = relative(self.root, path)
        try:
            text = read_text(self.root, path, MAX_LINES_BYTES)
        except BrokenFileError as error:
            self.errors.append(error)
            return
        for number, line in lines(text):
            self._checked_line(line, name, number, workloads)

    def _checked_line(self, line: str, name: str, number: int, workloads: bool) -> None:
        try:
            self._line(line, f"{name}:{number}", workloads)
        except _Wrong as wrong:
            what = "not a workload" if workloads else "not a trace"
            self._broken(what, name, f"line {number} {wrong.place}", wrong)

    def _line(self, line: str, place: str, workloads: bool) -> None:
        data = _object(_parsed(line), "$")
        definition = _text(data, "definition")
        workload = _object(data.get("workload"), "$.workload")
        axes = _object(workload.get("axes"), "$.workload.axes")
        for axis, size in axes.items():
            if isinstance(size, bool) or not isinstance(size, int):
                raise _Wrong(f"$.workload.axes.{axis}", "an integer", size)
        uuid = _text(workload, "uuid", "$.workload")
        inputs = workload.get("inputs")
        inputs = inputs if isinstance(inputs, dict) else {}  # `validate` says what is wrong
        evaluation = data.get("evaluation")
        if workloads:
            if evaluation is not None or data.get("solution") is not None:
                raise _Wrong("$.evaluation", "null, in a file of workloads", evaluation)
            self._of(definition).workloads.append(Workload(uuid, axes, inputs, place))
            return
        self._of(definition).evaluations.append(
            _evaluation(
                _text(data, "solution"),
                _object(evaluation, "$.evaluation"),
                axes,
                inputs,
                place,
            )
        )

    def _of(self, definition: str) -> Holding:
        return self.holdings.setdefault(definition, Holding())

    def _broken(self, message: str, path: str, place: str, wrong: _Wrong) -> None:
        self.errors.append(
            BrokenFileError(
                message, path=path, place=place, expected=wrong.expected, found=wrong.found
            )
        )


def _evaluation(
    solution: str,
    data: Mapping[str, Any],
    axes: Mapping[str, int],
    inputs: Mapping[str, Any],
    place: str,
) -> Evaluation:
    where = "$.evaluation"
    performance = _object(data.get("performance") or {}, f"{where}.performance")
    correctness = _object(data.get("correctness") or {}, f"{where}.correctness")
    environment = _object(data.get("environment"), f"{where}.environment")
    return Evaluation(
        solution=solution,
        status=_text(data, "status", where),
        hardware=_text(environment, "hardware", f"{where}.environment"),
        axes=axes,
        inputs=inputs,
        latency_ms=_number(performance, "latency_ms", f"{where}.performance"),
        reference_latency_ms=_number(performance, "reference_latency_ms", f"{where}.performance"),
        speedup=_number(performance, "speedup_factor", f"{where}.performance"),
        max_absolute_error=_number(correctness, "max_absolute_error", f"{where}.correctness"),
        max_relative_error=_number(correctness, "max_relative_error", f"{where}.correctness"),
        place=place,
    )


def _parsed(text: str) -> object:
    try:
        return decode(text)
    except ValueError as error:
        raise _Wrong("$", "JSON", str(error)) from None


def _object(value: object, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _Wrong(place, "an object", value)
    return value


def _text(data: Mapping[str, Any], key: str, place: str = "$") -> str:
    value = data.get(key)
    if not isinstance(value, str) or not value:
        raise _Wrong(f"{place}.{key}", "a string", value)
    return value


def _number(data: Mapping[str, Any], key: str, place: str) -> float | None:
    """A number; flashinfer-bench writes those that are not finite as strings."""
    value = data.get(key)
    if value is None:
        return None
    if not isinstance(value, bool) and isinstance(value, int | float):
        return float(value)
    if value in ("NaN", "Infinity", "-Infinity"):
        return float(value)
    raise _Wrong(f"{place}.{key}", "a number", value)
