"""Checks a dataset folder: its layout, definitions, workloads, solutions and traces.

Nothing of the dataset is executed, unless `execute` or the check "benchmark" asks for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from fibcore.dataset import BrokenFileError, Dataset
from fibcore.dataset.files import read_text, relative
from fibcore.dataset.layout import DEFINITIONS
from fibcore.errors import DatasetError, UsageError, nearest
from fibcore.keywords import api, several
from fibcore.model.definition import Definition
from fibcore.ops.registry import Registry
from fibcore.validation.benchmark import check_benchmark
from fibcore.validation.completeness import check_baselines, check_descriptions
from fibcore.validation.definitions import (
    check_definition,
    check_duplicates,
    check_layout,
    check_parallel_tags,
    check_sizes,
)
from fibcore.validation.execution import run_references
from fibcore.validation.problems import CHECKS, ValidationProblem, error, under
from fibcore.validation.report import ValidationReport
from fibcore.validation.solutions import check_solutions, solution_files
from fibcore.validation.traces import check_traces, ownerless_traces
from fibcore.validation.workloads import check_workloads, ownerless_files
from fibcore.workspace import Where, Workspace, with_dataset

if TYPE_CHECKING:
    from typing_extensions import Unpack


DEFAULT_CHECKS = tuple(check for check in CHECKS if check != "benchmark")
"""What is checked unless something else is asked for: nothing of a dataset is executed."""


@api(Where)
def validate(
    folder: str | Path | None = None,
    /,
    *,
    execute: bool = False,
    op_type: str | Sequence[str] = (),
    definition_name: str | Sequence[str] = (),
    checks: str | Sequence[str] = (),
    disable_gpu: bool = False,
    baseline_author: str = "baseline",
    timeout_s: float = 120.0,
    **where: Unpack[Where],
) -> ValidationReport:
    """Check a dataset folder.

    Args:
        folder: The dataset's folder, which holds `definitions`; the same as `dataset`.
        execute: Also run each reference on the smallest cases of its op type's test template, in
            a process of its own, and check the outputs against the definition.
        op_type: Only these op types; all by default.
        definition_name: Only these definitions; all by default.
        checks: What to check, of `fibcore.validation.problems.CHECKS`: "layout" (folders, names,
            duplicates), "definition", "workload", "solution", "trace", "baseline" (whether there
            is one), "benchmark" (whether baselines pass on a GPU). Where none is named, all but
            the last, which executes what the dataset holds.
        disable_gpu: Leave out "benchmark".
        baseline_author: Whose solutions are the baselines.
        timeout_s: Seconds that a reference may take.
        **where: Where the dataset is, and the plugins, which name variants of a kernel and give
            test inputs; see `fibcore.workspace.Where`.

    Raises:
        DatasetError: the folder is not there or has no definitions.
        UsageError: no definition has one of the names or op types, or there is no such check.
        FibcoreError: `execute` without torch.
    """
    wanted_checks = _wanted(several(checks) or DEFAULT_CHECKS, disable_gpu=disable_gpu)
    workspace = Workspace.of(**with_dataset(where, folder))
    root = workspace.dataset_folder
    if not (root / DEFINITIONS).is_dir():
        raise DatasetError(
            "not a dataset folder",
            where=str(root),
            expected="a folder that holds the folder definitions",
            hint="fibcore clone-repos fetches or makes one",
        )
    plugins = workspace.registry
    store = Dataset(root, variant=plugins.function_of)
    definitions, broken = store.read()
    selection = _Selection(several(op_type), several(definition_name))
    selection.check(store, definitions, [e.path for e in broken])
    chosen = [d for d in definitions if selection.definition(d)]
    run = _Run(store, plugins, selection, definitions, chosen, broken, baseline_author)
    problems = [problem for check in wanted_checks for problem in under(check, run.find(check))]
    if not definitions and not broken:
        problems.append(error(DEFINITIONS, None, "there are no definitions", "at least one"))
    executed: tuple[str, ...] = ()
    not_executed: dict[str, str] = {}
    if execute:
        executed, not_executed, found = run_references(store, chosen, plugins, timeout_s)
        problems += found
    looked_at = Counter(d.op_type for d in chosen)
    looked_at.update(Path(e.path).parent.name for e in broken if selection.path(e.path))
    return ValidationReport(
        dataset=root,
        definitions=dict(sorted(looked_at.items())),
        executed=executed,
        not_executed=not_executed,
        problems=tuple(sorted(problems, key=lambda p: (p.path, p.severity))),
        workloads=run.workloads,
        solutions=run.solutions,
    )


def _wanted(checks: Sequence[str], *, disable_gpu: bool) -> tuple[str, ...]:
    """The checks that were asked for, in the order of `CHECKS`."""
    for check in checks:
        if check not in CHECKS:
            expected = ", ".join(CHECKS)
            raise UsageError("no such check", where="checks", expected=expected, found=repr(check))
    gone = {"benchmark"} if disable_gpu else set()
    return tuple(check for check in CHECKS if check in checks and check not in gone)


@attrs.define
class _Run:
    """The checks of one call, and how much they looked at."""

    store: Dataset
    plugins: Registry
    selection: _Selection
    definitions: Sequence[Definition]
    chosen: Sequence[Definition]
    broken: Sequence[BrokenFileError]
    author: str
    workloads: int = 0
    solutions: int = 0

    def find(self, check: str) -> Iterator[ValidationProblem]:
        """What one of `CHECKS` finds."""
        finders: dict[str, Callable[[], Iterator[ValidationProblem]]] = {
            "layout": self._layout,
            "definition": self._definitions,
            "workload": self._workloads,
            "solution": self._solutions,
            "trace": self._traces,
            "baseline": lambda: check_baselines(self.root, self._places(), self.author),
            "benchmark": lambda: check_benchmark(self.root, self._places(), self.author),
        }
        return finders[check]()

    @property
    def root(self) -> Path:
        """The dataset's folder."""
        return self.store.root

    def _places(self) -> list[tuple[Definition, str]]:
        """The definitions that are looked at, with their files."""
        return [(d, relative(self.root, self.store.path(d))) for d in self.chosen]

    def _whole(self) -> bool:
        """Whether nothing was left out, so that files without a definition are looked for too."""
        return not (self.selection.op_types or self.selection.names)

    def _layout(self) -> Iterator[ValidationProblem]:
        yield from (p for p in check_layout(self.root) if self.selection.path(p.path))
        found = check_duplicates(self.store, self.definitions, self.plugins)
        yield from (p for p in found if self.selection.path(p.path))

    def _definitions(self) -> Iterator[ValidationProblem]:
        for e in self.broken:
            if self.selection.path(e.path):
                yield error(e.path, e.place, e.message, e.expected, e.found)
        for definition, path in self._places():
            text = read_text(self.root, self.store.path(definition))
            yield from check_definition(definition, path, text)
            yield from check_descriptions(definition, path)
            yield from check_parallel_tags(definition, path, self.plugins)
            yield from check_sizes(definition, path, self.plugins)

    def _workloads(self) -> Iterator[ValidationProblem]:
        checked = check_workloads(self.root, {d.name: d for d in self.chosen})
        self.workloads = checked.count
        yield from checked.problems
        if self._whole():
            yield from ownerless_files(self.root, {d.name: d for d in self.definitions})

    def _solutions(self) -> Iterator[ValidationProblem]:
        files = [
            file
            for file in solution_files(self.root)
            if self.selection.path(_definition_of(self.root, file))
        ]
        self.solutions = len(files)
        yield from check_solutions(self.root, files, {d.name: d for d in self.definitions})

    def _traces(self) -> Iterator[ValidationProblem]:
        yield from check_traces(self.root, self._places(), self.author)
        if self._whole():
            yield from ownerless_traces(self.root, {d.name: d for d in self.definitions})


@attrs.frozen
class _Selection:
    """The part of the dataset to check."""

    op_types: Sequence[str]
    names: Sequence[str]

    def definition(self, definition: Definition) -> bool:
        return self._fits(definition.op_type, definition.name)

    def path(self, path: str) -> bool:
        parts = path.split("/")
        if len(parts) < 3:  # definitions/op_type
            return not self.names and (not self.op_types or parts[-1] in self.op_types)
        return self._fits(parts[1], parts[2].removesuffix(".json"))

    def _fits(self, op_type: str, name: str) -> bool:
        return (not self.op_types or op_type in self.op_types) and (
            not self.names or name in self.names
        )

    def check(
        self, store: Dataset, definitions: Sequence[Definition], broken: Sequence[str]
    ) -> None:
        """Raise `UsageError` for a name that the dataset does not have."""
        paths = [relative(store.root, store.path(d)) for d in definitions] + list(broken)
        have = {
            "op type": {p.split("/")[1] for p in paths},
            "definition": {Path(p).name.removesuffix(".json") for p in paths},
        }
        for kind, names in (("op type", self.op_types), ("definition", self.names)):
            for name in names:
                if name not in have[kind]:
                    raise UsageError(
                        f"the dataset has no such {kind}",
                        where=str(store.root),
                        expected=", ".join(nearest(name, have[kind])) or None,
                        found=repr(name),
                    )


def _definition_of(root: Path, solution: Path) -> str:
    """The path of a solution's definition, as the solution's folders say."""
    parts = relative(root, solution).split("/")
    return "/".join((DEFINITIONS, *parts[2:4])) if len(parts) == 5 else f"{DEFINITIONS}/?/?"
