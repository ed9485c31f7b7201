"""`fibcore.import_workloads`: dumps of a real run into a dataset's workloads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from fibcore.benchmarking.recorded.dumps import LoggedCall, read_calls
from fibcore.benchmarking.recorded.matching import (
    CallSpec,
    NoWorkloadError,
    Workload,
    call_specs,
    workload_of,
)
from fibcore.benchmarking.recorded.report import ImportWorkloadsReport, Recorded
from fibcore.benchmarking.recorded.server_log import sanitised
from fibcore.benchmarking.workloads import blobs, lines
from fibcore.benchmarking.workloads.origins import FOLDER, mark_recorded
from fibcore.dataset import BrokenFileError, Dataset
from fibcore.dataset.files import lines as lines_of
from fibcore.dataset.files import read_text
from fibcore.dataset.layout import workload_file
from fibcore.dataset.selection import open_dataset
from fibcore.errors import FibcoreError, TraceError, UsageError
from fibcore.extras import need
from fibcore.keywords import api, several, user_path
from fibcore.model.definition import Definition
from fibcore.model.json import decode
from fibcore.model.shapes import shape_of
from fibcore.regular_files import MAX_LINES_BYTES
from fibcore.workspace import Where, Workspace

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from fibcore.ops.registry import Registry


@api(Where)
def import_workloads(
    dump: str | Path,
    *,
    definition_name: str | Sequence[str] = (),
    limit: int | None = 32,
    log: str | Path | None = None,
    dry_run: bool = False,
    **where: Unpack[Where],
) -> ImportWorkloadsReport:
    """Add the workloads of a real run, as FlashInfer logged its inputs, to a dataset.

    Kept of a call are sizes, offsets, page numbers and scalars. Activations, caches and weights are
    not, the benchmark draws them; page numbers are counted anew from 0. A call that none of the
    dataset's definitions is, or whose integers may be somebody's text, is skipped with a reason.

    Args:
        dump: What FLASHINFER_DUMP_DIR named.
        definition_name: Workloads of these definitions only.
        limit: The most different workloads of one definition, evenly chosen from small to large;
            None for all.
        log: The server's log. What says how the model was served is kept beside the workloads,
            without requests, tokens, addresses and folders.
        dry_run: Say what would happen and write nothing.
        **where: Where the dataset is, and the plugins; see `fibcore.workspace.Where`.

    Raises:
        TraceError: there is no dump.
        UsageError: a bound below 1.
        DatasetError: the dataset cannot be read or written.
    """
    if limit is not None and limit < 1:
        raise UsageError(
            "no such bound", where="--limit", expected="a number of at least 1", found=str(limit)
        )
    need("bench", "workloads of a real run")
    workspace = Workspace.of(**where)
    root = user_path(dump, "DIR")
    text = None if log is None else user_path(log, "--log").read_text("utf-8", errors="replace")
    store, registry = open_dataset(workspace.dataset_folder, workspace.registry)
    with store.locked():
        work = _Import(store, registry, several(definition_name))
        for call in read_calls(root):
            work.take(call)
        found = () if dry_run else tuple(work.write(limit))
        if dry_run:
            found = tuple(work.counted(limit))
        kept = None
        if text is not None and found:
            kept = f"{FOLDER}/server.log"
            if not dry_run:
                store.write(kept, sanitised(text))
    return ImportWorkloadsReport(
        dump=str(dump),
        dataset=str(store.root),
        dry_run=dry_run,
        definitions=found,
        skipped=dict(sorted(work.skipped.items())),
        refused=tuple(work.refused),
        log=kept,
    )


@attrs.define
class _Seen:
    """A workload, and the calls that it is."""

    workload: Workload
    first: str
    digest: str
    calls: int = 1


class _Import:
    """One run: takes calls in the order of time, and writes what they are."""

    def __init__(self, store: Dataset, registry: Registry, names: Sequence[str]) -> None:
        self.store = store
        self.registry = registry
        self.plans: dict[tuple[int, int], Mapping[str, Any]] = {}
        self.seen: dict[str, dict[str, _Seen]] = {}
        self.skipped: Counter[str] = Counter()
        self.refused: list[FibcoreError] = []
        self.definitions = [d for d in store.read().definitions if not names or d.name in names]

    def take(self, call: LoggedCall | TraceError) -> None:
        """Remember a plan, or find the definition that a call is of."""
        if isinstance(call, TraceError):
            self.refused.append(call)
            return
        if call.function.endswith(".plan") and call.instance is not None:
            self.plans[call.instance] = call.arguments
            return
        if call.function.endswith("__init__"):
            return
        spec = call_specs().get(call.function)
        if spec is None:
            self.skipped[f"{call.function}: nobody knows how it takes its inputs"] += 1
            return
        self._match(call, spec)

    def _match(self, call: LoggedCall, spec: CallSpec) -> None:
        plan = self.plans.get(call.instance, {}) if call.instance is not None else {}
        found: list[tuple[Definition, Workload]] = []
        why: list[str] = []
        for definition in self._candidates(call.function):
            one = self._try(definition, spec, call, plan)
            if isinstance(one, str):
                why.append(one)
            else:
                found.append((definition, one))
        plain = [pair for pair in found if not self.registry.variant(pair[0])]
        if len(found) > 1 and len(plain) == 1:
            found = plain
        if len(found) == 1:
            self._keep(call, *found[0])
        elif found:
            self.skipped[f"{call.function}: several definitions have these tensors"] += 1
        else:
            reason = min(why, key=_closeness) if why else "the dataset has no definition of it"
            self.skipped[f"{call.function}: {reason}"] += 1

    def _try(
        self, definition: Definition, spec: CallSpec, call: LoggedCall, plan: Mapping[str, Any]
    ) -> Workload | str:
        """The workload that a call is of a definition, or why it is none."""
        try:
            return workload_of(definition, spec, call, plan, self._constants(definition))
        except NoWorkloadError as error:
            return str(error)

    def _candidates(self, function: str) -> list[Definition]:
        wanted = function.removesuffix(".run").rpartition(".")[2]
        return [
            d
            for d in self.definitions
            if any(
                api.removesuffix(".run").rpartition(".")[2] == wanted
                for api in d.tag_values("fi_api")
            )
        ]

    def _constants(self, definition: Definition) -> Mapping[str, Any]:
        try:
            provenance = self.store.provenance(definition.name)
        except BrokenFileError:
            return {}
        if provenance is None or not provenance.entries:
            return {}
        return {name: fact.value for name, fact in provenance.entries[0].facts.items()}

    def _keep(self, call: LoggedCall, definition: Definition, workload: Workload) -> None:
        key = repr(
            (
                sorted(workload.axes.items()),
                sorted(workload.scalars.items()),
                [(name, array.tobytes()) for name, array in sorted(workload.tensors.items())],
            )
        )
        known = self.seen.setdefault(definition.name, {})
        if key in known:
            known[key].calls += 1
        else:
            known[key] = _Seen(workload, call.folder, call.digest)

    def counted(self, limit: int | None) -> list[Recorded]:
        """What would be written."""
        return [
            Recorded(name, sum(s.calls for s in seen.values()), len(_chosen(seen, limit)), 0)
            for name, seen in sorted(self.seen.items())
        ]

    def write(self, limit: int | None) -> list[Recorded]:
        """Write the workloads of all definitions."""
        by_name = {d.name: d for d in self.definitions}
        return [self._write(by_name[name], seen, limit) for name, seen in sorted(self.seen.items())]

    def _write(
        self, definition: Definition, seen: Mapping[str, _Seen], limit: int | None
    ) -> Recorded:
        path = workload_file(definition)
        file = self.store.root / path
        text = read_text(self.store.root, file, MAX_LINES_BYTES) if file.exists() else ""
        known = {_uuid(line) for _, line in lines_of(text)}
        chosen = _chosen(seen, limit)
        origins, added = {}, []
        for one in chosen:
            line = self._line(definition, one.workload)
            uuid = _uuid(line)
            origins[uuid] = {"calls": one.calls, "first": one.first, "metadata_sha256": one.digest}
            if uuid not in known:
                added.append(line)
        if added:
            whole = text if not text or text.endswith("\n") else text + "\n"
            self.store.write(path, whole + "".join(f"{line}\n" for line in added))
        mark_recorded(self.store, definition.name, origins)
        calls = sum(one.calls for one in seen.values())
        return Recorded(definition.name, calls, len(chosen), len(added))

    def _line(self, definition: Definition, workload: Workload) -> str:
        inputs: dict[str, dict[str, Any]] = {}
        for name, spec in definition.inputs.items():
            if name in workload.scalars:
                inputs[name] = {"type": "scalar", "value": workload.scalars[name]}
            elif name in workload.tensors:
                shape = shape_of(spec, definition, workload.axes)
                blob = blobs.encode(definition, name, workload.tensors[name], shape)
                self.store.write(blob.path, blob.data)
                inputs[name] = {"type": "safetensors", "path": blob.path, "tensor_key": blob.key}
            else:
                inputs[name] = {"type": "random"}
        return lines.line(definition.name, workload.axes, inputs, recorded=True)


def _closeness(reason: str) -> int:
    """How little a reason says: that sizes differ is true of most definitions."""
    return 1 if "another size" in reason else 0


def _chosen(seen: Mapping[str, _Seen], limit: int | None) -> list[_Seen]:
    """At most `limit` workloads, evenly from small to large."""
    ordered = sorted(seen.values(), key=lambda s: (sum(s.workload.axes.values()), s.first))
    if limit is None or len(ordered) <= limit:
        return ordered
    if limit == 1:
        return [ordered[len(ordered) // 2]]
    step = (len(ordered) - 1) / (limit - 1)
    return [ordered[round(index * step)] for index in range(limit)]


def _uuid(line: str) -> str:
    try:
        data = decode(line)
    except ValueError:
        return ""
    workload = data.get("workload") if isinstance(data, dict) else None
    return str(workload.get("uuid")) if isinstance(workload, dict) else ""
