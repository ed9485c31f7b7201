"""Writes workloads into a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fibcore.benchmarking.workloads import blobs, lines
from fibcore.benchmarking.workloads.blobs import Blob
from fibcore.benchmarking.workloads.origins import mark_synthetic
from fibcore.benchmarking.workloads.report import AddWorkloadsReport, LeftOut
from fibcore.dataset import BrokenFileError, Dataset, files
from fibcore.dataset.files import read_text, relative
from fibcore.dataset.layout import blob_folder, trace_file, workload_file
from fibcore.dataset.selection import chosen_definitions, open_dataset
from fibcore.errors import FibcoreError, PluginError, UsageError
from fibcore.extras import need
from fibcore.keywords import api, several
from fibcore.model.definition import Definition
from fibcore.model.json import decode
from fibcore.model.kernel import Scalar
from fibcore.model.shapes import device_bytes, shape_of
from fibcore.ops.hookspecs import WorkloadCase
from fibcore.processes.sizes import GIB, format_size, parse_size
from fibcore.progress import report, report_at
from fibcore.regular_files import MAX_LINES_BYTES
from fibcore.validation.constraints import broken_constraints
from fibcore.workspace import Where, Workspace

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from fibcore.ops.registry import Registry

DEFAULT_LIMIT = 16 * GIB
"""Bytes of inputs and outputs that a workload may take unless another bound is given."""

STEP = "writing workloads"


@api(Where)
def add_workloads(
    *,
    op_type: str | Sequence[str] = (),
    definition_name: str | Sequence[str] = (),
    all_: bool = False,
    seed: int = 0,
    max_memory: int | str = DEFAULT_LIMIT,
    limit: int | None = None,
    **where: Unpack[Where],
) -> AddWorkloadsReport:
    """Write `workloads/<op_type>/<name>.jsonl` and the tensors that they need, below `blob/`.

    Exactly one of the three selectors is required. Workloads that fibcore wrote earlier are
    replaced; those that others wrote (also: that were edited) stay, byte for byte. The same call
    again changes no byte.

    Args:
        op_type: Op types whose definitions get workloads.
        definition_name: Names of single definitions.
        all_: Every definition of the dataset.
        seed: Of everything that is drawn: lengths, page tables, scales.
        max_memory: What the inputs and outputs of a workload may take on a device, in bytes or as
            text (`16G`, see `fibcore.processes.sizes`); larger ones are left out and reported.
        limit: The most workloads of one definition, evenly chosen from small to large.
        **where: Where the dataset is, and the plugins; see `fibcore.workspace.Where`.

    Raises:
        UsageError: no selector or several, an unknown op type or name, a bound below 1.
        DatasetError: there is no such dataset, or it cannot be written.
    """
    max_bytes = parse_size(max_memory, "--max-memory")
    if limit is not None and limit < 1:
        raise UsageError(
            "no such bound", where="--limit", expected="a number of at least 1", found=str(limit)
        )
    need("bench", "workloads")  # plugins draw them with NumPy
    workspace = Workspace.of(**where)
    store, registry = open_dataset(workspace.dataset_folder, workspace.registry)
    with store.locked():
        chosen, problems = chosen_definitions(
            store,
            registry,
            op_type=several(op_type),
            definition_name=several(definition_name),
            all_=all_,
        )
        writer = _Writer(store, registry, seed, max_bytes, limit)
        writer.problems += problems
        for done, definition in enumerate(chosen):
            report(workspace.progress, STEP, done, len(chosen))
            report_at(workspace.progress, STEP, definition.name)
            writer.add(definition)
        if chosen:
            report(workspace.progress, STEP, len(chosen), len(chosen))
        return writer.report()


class _Writer:
    """Writes the files of one call and remembers what became of them."""

    def __init__(
        self, dataset: Dataset, registry: Registry, seed: int, max_memory: int, limit: int | None
    ) -> None:
        self.dataset = dataset
        self.registry = registry
        self.seed = seed
        self.max_memory = max_memory
        self.limit = limit
        self.workloads: dict[str, int] = {}
        self.kept: dict[str, int] = {}
        self.written: list[str] = []
        self.unchanged: list[str] = []
        self.blobs_written = 0
        self.blobs_removed = 0
        self.blob_bytes = 0
        self.left_out: list[LeftOut] = []
        self.without: dict[str, str] = {}
        self.problems: list[FibcoreError] = []

    def report(self) -> AddWorkloadsReport:
        """The result so far."""
        return AddWorkloadsReport(
            dataset=self.dataset.root,
            max_memory=self.max_memory,
            workloads=self.workloads,
            kept=self.kept,
            written=tuple(self.written),
            unchanged=tuple(self.unchanged),
            blobs_written=self.blobs_written,
            blobs_removed=self.blobs_removed,
            blob_bytes=self.blob_bytes,
            left_out=tuple(self.left_out),
            without=self.without,
            problems=tuple(self.problems),
        )

    def add(self, definition: Definition) -> None:
        """Bring the workloads of one definition up to date; what goes wrong is a problem."""
        path = workload_file(definition)
        try:
            kept = self._others(path)
            cases = self._cases(definition)
            if cases is None:
                return
            made = [self._line(definition, case) for case in cases]
        except (BrokenFileError, PluginError) as error:
            self.problems.append(error)
            return
        text = "".join(line + "\n" for line in (*kept, *made))
        if self.dataset.write(path, text) if text else self.dataset.remove(path):
            self.written.append(path)
        elif text:
            self.unchanged.append(path)
        self.workloads[definition.name] = len(made)
        try:
            mark_synthetic(self.dataset, definition.name, map(lines.uuid_of, made))
        except BrokenFileError as error:
            self.problems.append(error)
        if kept:
            self.kept[definition.name] = len(kept)
        self._tidy(definition, text)

    def _others(self, path: str) -> list[str]:
        """The lines of a file that fibcore did not write, or that were edited since.

        Raises:
            BrokenFileError: the file cannot be read, or a line is no JSON.
        """
        file = self.dataset.root / path
        if not file.exists():
            return []
        kept = []
        for number, line in files.lines(read_text(self.dataset.root, file, MAX_LINES_BYTES)):
            try:
                data = decode(line)
            except ValueError as error:
                raise BrokenFileError(
                    "a line is not JSON",
                    path=path,
                    place=f"line {number}",
                    found=str(error),
                    hint="repair or remove the line",
                ) from None
            if not lines.is_own(data):
                kept.append(line)
        return kept

    def _cases(self, definition: Definition) -> list[WorkloadCase] | None:
        """The cases to write; None where the plugins have none at all.

        Raises:
            PluginError: a plugin failed.
        """
        found = self.registry.workloads(definition, self._constants(definition), self.seed)
        if not found:
            self.without[definition.name] = (
                f"no plugin gives workloads of the op type {definition.op_type}"
                if found is None
                else "the plugin cannot tell what valid inputs are"
            )
            return None
        fitting = []
        for case in found:
            size = device_bytes(definition, case.axes)
            if size > self.max_memory:
                self.left_out.append(LeftOut(definition.name, case.label, size))
            else:
                fitting.append(case)
        if not fitting:
            least = min(device_bytes(definition, case.axes) for case in found)
            self.without[definition.name] = (
                f"the smallest takes {format_size(least)}, "
                f"the bound is {format_size(self.max_memory)}"
            )
        return _spread(fitting, self.limit)

    def _constants(self, definition: Definition) -> Mapping[str, Scalar]:
        """Constants of the kernel, from the first model in the definition's provenance."""
        try:
            provenance = self.dataset.provenance(definition.name)
        except BrokenFileError as error:
            self.problems.append(error)
            return {}
        if provenance is None or not provenance.entries:
            return {}
        return {name: fact.value for name, fact in provenance.entries[0].facts.items()}

    def _line(self, definition: Definition, case: WorkloadCase) -> str:
        """The line of a workload, whose blobs are written first."""
        tensors = {blob.key: blob for blob in encoded(definition, case)}
        inputs: dict[str, dict[str, Any]] = {}
        for name in definition.inputs:
            if name in tensors:
                blob = tensors[name]
                inputs[name] = {"type": "safetensors", "path": blob.path, "tensor_key": blob.key}
                self.blobs_written += self.dataset.write(blob.path, blob.data)
            elif name in case.scalars:
                inputs[name] = {"type": "scalar", "value": case.scalars[name]}
            else:
                inputs[name] = {"type": "random"}
        axes = {name: case.axes[name] for name in definition.var_axes}
        return lines.line(definition.name, axes, inputs)

    def _tidy(self, definition: Definition, text: str) -> None:
        """Remove the blobs that neither a workload nor a trace of the definition names."""
        folder = self.dataset.root / blob_folder(definition)
        if not folder.is_dir():
            return
        traces = self.dataset.root / trace_file(definition)
        try:
            if traces.exists():
                text += read_text(self.dataset.root, traces, MAX_LINES_BYTES)
        except BrokenFileError as error:
            self.problems.append(error)
            return
        for file in sorted(folder.iterdir()):
            path = relative(self.dataset.root, file)
            if path in text:
                self.blob_bytes += file.stat().st_size
            elif blobs.is_own(file.name) and self.dataset.remove(path):
                self.blobs_removed += 1


def _spread(cases: list[WorkloadCase], limit: int | None) -> list[WorkloadCase]:
    """At most `limit` of the cases, evenly from the first to the last."""
    if limit is None or len(cases) <= limit:
        return cases
    if limit == 1:
        return [cases[len(cases) // 2]]
    step = (len(cases) - 1) / (limit - 1)
    return [cases[round(index * step)] for index in range(limit)]


def encoded(definition: Definition, case: WorkloadCase) -> list[Blob]:
    """The tensors of a case, checked.

    Raises:
        PluginError: the plugin raised, or its tensors are not the definition's.
    """
    where = f"hook fibcore_workloads, definition {definition.name}, case {case.label!r}"
    try:
        arrays = case.tensors()
    except Exception as error:
        raise PluginError(
            "the plugin failed", where=where, found=f"{type(error).__name__}: {error}"
        ) from error
    try:
        unknown = sorted(set(arrays) - set(definition.inputs))
        if unknown:
            raise ValueError(f"the definition has no input {', '.join(unknown)}")
        made = []
        for name, array in arrays.items():
            shape = shape_of(definition.inputs[name], definition, case.axes)
            made.append(blobs.encode(definition, name, array, shape))
        broken = broken_constraints(definition, {**case.axes, **case.scalars, **arrays})
        for constraint, reason in broken.items():
            raise ValueError(f"the constraint {constraint} does not hold: {reason}")
    except ValueError as error:
        raise PluginError(
            "the plugin returned what the hook does not allow", where=where, found=str(error)
        ) from error
    return made
