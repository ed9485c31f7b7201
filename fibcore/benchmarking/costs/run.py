"""`fibcore.cost`: what workloads cost, and whether measured times can be right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fibcore.benchmarking.costs.counting import Counter, is_size
from fibcore.benchmarking.costs.gpus import GPUS, gpu_called
from fibcore.benchmarking.costs.report import CostReport, Measured, WorkloadCost
from fibcore.dataset.inventory import read_inventory
from fibcore.dataset.selection import open_dataset, select
from fibcore.errors import FibcoreError, UsageError
from fibcore.keywords import api, several
from fibcore.model.definition import Definition
from fibcore.progress import report
from fibcore.workspace import Where, Workspace, with_dataset

if TYPE_CHECKING:
    from typing_extensions import Unpack


@api(Where)
def cost(
    folder: str | Path | None = None,
    /,
    *,
    op_type: str | Sequence[str] = (),
    definition_name: str | Sequence[str] = (),
    gpu: str | Sequence[str] = (),
    axes: Mapping[str, int] | None = None,
    **where: Unpack[Where],
) -> CostReport:
    """Count operations and bytes of a dataset's workloads, and say what a GPU needs for them.

    Offsets and page tables of workloads are read; nothing is executed. Times that benchmarks
    measured are held against the floor of their GPU: one below it is impossible.

    Args:
        folder: The dataset; the same as `dataset`.
        op_type: Op types; all where neither these nor names are given.
        definition_name: Names of single definitions.
        gpu: GPUs to give floors for: "H100", "H200", "B200", "MI300X". All but the last by default.
        axes: Sizes of the var axes, in place of workloads and results. Each chosen definition has
            to have them.
        **where: Where the dataset is, and the plugins; see `fibcore.workspace.Where`.

    Raises:
        UsageError: an unknown op type, name or GPU, sizes that are not the definitions'.
        DatasetError: there is no such dataset.
    """
    gpus = tuple({one.name: one for one in map(gpu_called, several(gpu))}.values()) or GPUS
    workspace = Workspace.of(**with_dataset(where, folder))
    store, registry = open_dataset(workspace.dataset_folder, workspace.registry)
    selection = select(
        store,
        op_type=several(op_type),
        definition_name=several(definition_name),
        known_op_types=tuple(registry.op_types()),
    )
    chosen = [d for d in selection.definitions if d.name in selection.names]
    counter = Counter(store.root, registry, gpus)
    if axes:
        return _at_sizes(store.root, counter, chosen, axes, selection.problems)
    inventory = read_inventory(store.root)
    workloads: list[WorkloadCost] = []
    measured: list[Measured] = []
    without: dict[str, str] = {}
    for done, definition in enumerate(chosen):
        report(workspace.progress, "counting", done, len(chosen))
        holding = inventory.of(definition.name)
        workloads += counter.workloads(definition, holding)
        measured += counter.measured(definition, holding)
        if not holding.workloads and not holding.passed:
            without[definition.name] = "it has neither workloads nor benchmark results"
    return CostReport(
        store.root,
        gpus,
        tuple(workloads),
        tuple(measured),
        without,
        (*selection.problems, *inventory.errors, *counter.problems),
    )


def _at_sizes(
    root: Path,
    counter: Counter,
    chosen: Sequence[Definition],
    axes: Mapping[str, int],
    errors: Sequence[FibcoreError],
) -> CostReport:
    found, problems = [], list(errors)
    for definition in chosen:
        _check_sizes(definition, axes)
        try:
            found.append(counter.at(definition, axes, counter.registry.cost(definition, axes)))
        except FibcoreError as error:
            problems.append(error)
    return CostReport(root, counter.gpus, tuple(found), (), {}, tuple(problems))


def _check_sizes(definition: Definition, axes: Mapping[str, int]) -> None:
    if not all(map(is_size, axes.values())) or set(axes) != set(definition.var_axes):
        raise UsageError(
            "not the sizes of the definition",
            where=f"--axes, for {definition.name}",
            expected="a size of at least 0 of " + (", ".join(definition.var_axes) or "nothing"),
            found=", ".join(f"{name}={size}" for name, size in axes.items()) or "none",
        )
