"""Checks a dataset folder: its layout, definitions, workloads and solutions.

Nothing of the dataset is executed, unless `execute` asks for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from fibcore.dataset import Dataset
from fibcore.dataset.files import read_text, relative
from fibcore.dataset.layout import DEFINITIONS
from fibcore.errors import DatasetError, UsageError, nearest
from fibcore.keywords import api, several
from fibcore.model.definition import Definition
from fibcore.validation.definitions import (
    check_definition,
    check_duplicates,
    check_layout,
    check_sizes,
)
from fibcore.validation.execution import run_references
from fibcore.validation.problems import ValidationProblem, error
from fibcore.validation.report import ValidationReport
from fibcore.validation.solutions import check_solutions, solution_files
from fibcore.validation.workloads import check_workloads, ownerless_files
from fibcore.workspace import Where, Workspace, with_dataset

if TYPE_CHECKING:
    from typing_extensions import Unpack


@api(Where)
def validate(
    folder: str | Path | None = None,
    /,
    *,
    execute: bool = False,
    op_type: str | Sequence[str] = (),
    definition_name: str | Sequence[str] = (),
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
        timeout_s: Seconds that a reference may take.
        **where: Where the dataset is, and the plugins, which name variants of a kernel and give
            test inputs; see `fibcore.workspace.Where`.

    Raises:
        DatasetError: the folder is not there or has no definitions.
        UsageError: no definition has one of the names or op types.
        FibcoreError: `execute` without torch.
    """
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
    wanted = _Selection(several(op_type), several(definition_name))
    wanted.check(store, definitions, [e.path for e in broken])

    problems = [
        error(e.path, e.place, e.message, e.expected, e.found)
        for e in broken
        if wanted.path(e.path)
    ]
    problems += [p for p in check_layout(root) if wanted.path(p.path)]
    problems += [p for p in check_duplicates(store, definitions, plugins) if wanted.path(p.path)]
    chosen = [d for d in definitions if wanted.definition(d)]
    for definition in chosen:
        path = store.path(definition)
        text = read_text(root, path)
        problems += check_definition(definition, relative(root, path), text)
        problems += check_sizes(definition, relative(root, path), plugins)
    workloads, solutions, found = _check_benchmarking(root, definitions, wanted)
    problems += found
    executed: tuple[str, ...] = ()
    not_executed: dict[str, str] = {}
    if execute:
        executed, not_executed, found = run_references(store, chosen, plugins, timeout_s)
        problems += found
    looked_at = Counter(d.op_type for d in chosen)
    looked_at.update(Path(e.path).parent.name for e in broken if wanted.path(e.path))
    return ValidationReport(
        dataset=root,
        definitions=dict(sorted(looked_at.items())),
        executed=executed,
        not_executed=not_executed,
        problems=tuple(sorted(problems, key=lambda p: (p.path, p.severity))),
        workloads=workloads,
        solutions=solutions,
    )


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


def _check_benchmarking(
    root: Path, definitions: Sequence[Definition], wanted: _Selection
) -> tuple[int, int, list[ValidationProblem]]:
    """Count workloads and solutions, and find what is wrong with them."""
    by_name = {d.name: d for d in definitions}
    checked = check_workloads(root, {n: d for n, d in by_name.items() if wanted.definition(d)})
    problems = list(checked.problems)
    if not (wanted.op_types or wanted.names):
        problems += ownerless_files(root, by_name)
    files = [f for f in solution_files(root) if wanted.path(_definition_of(root, f))]
    problems += check_solutions(root, files, by_name)
    return checked.count, len(files), problems


def _definition_of(root: Path, solution: Path) -> str:
    """The path of a solution's definition, as the solution's folders say."""
    parts = relative(root, solution).split("/")
    return "/".join((DEFINITIONS, *parts[2:4])) if len(parts) == 5 else f"{DEFINITIONS}/?/?"
