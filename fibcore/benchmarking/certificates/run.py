"""Certifies definitions of a dataset: measures their workloads, writes what follows."""

from __future__ import annotations

import ast
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from fibcore.benchmarking.certificates.certificate import (
    FOLDER,
    YAML,
    Certificate,
    Measured,
    certify_measured,
    settings,
)
from fibcore.dataset import BrokenFileError, Dataset
from fibcore.dataset.files import lines, read_text
from fibcore.dataset.layout import workload_file
from fibcore.dataset.selection import chosen_definitions, open_dataset
from fibcore.errors import FibcoreError, PluginError, SourceError, UsageError
from fibcore.extras import need
from fibcore.keywords import api, several
from fibcore.model.definition import Definition
from fibcore.model.json import decode, to_data, to_text
from fibcore.model.shapes import device_bytes
from fibcore.processes.children import Program
from fibcore.processes.endings import Ending, How
from fibcore.processes.limits import Limits
from fibcore.processes.pool import Worker
from fibcore.processes.sizes import GIB, format_size, parse_size
from fibcore.progress import report, report_at, report_end
from fibcore.regular_files import MAX_LINES_BYTES
from fibcore.validation.workloads import check_workloads
from fibcore.workspace import Where, Workspace

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from fibcore.ops.registry import Registry

DEVICES = ("auto", "cpu", "cuda")
WORKER = Path(__file__).with_name("worker.py")
DEFAULT_MEMORY = GIB // 4
"""Bytes of inputs and outputs of a workload: a float64 evaluation takes several times as much."""

DEFAULT_TIMEOUT_S = 1800.0
STEP = "certifying"
FIGURES = "figures"
"""The function of a test template that says what an output stands for."""


@attrs.frozen
class CertifyReport:
    """The result of `fibcore.certify`.

    Attributes:
        dataset: The dataset's folder.
        certificates: What was found, by op type and name of the definition.
        written: Files that changed, relative to the dataset.
        problems: What went wrong besides.
    """

    dataset: Path
    certificates: tuple[Certificate, ...]
    written: tuple[str, ...]
    problems: tuple[FibcoreError, ...]

    @property
    def exit_code(self) -> int:
        """0 where every chosen definition is certified, else 1."""
        return 0 if not self.problems and all(c.certified for c in self.certificates) else 1

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data."""
        return {**to_data(self), "exit_code": self.exit_code}


@api(Where)
def certify(
    *,
    op_type: str | Sequence[str] = (),
    definition_name: str | Sequence[str] = (),
    all_: bool = False,
    device: str = "auto",
    seed: int = 0,
    limit: int | None = None,
    max_memory: int | str = DEFAULT_MEMORY,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    **where: Unpack[Where],
) -> CertifyReport:
    """Find the tolerance at which workloads tell right implementations from wrong ones.

    Exactly one of the three selectors is required. On every workload of a definition right
    implementations (the reference, ground truths that run here, variants of the plugin) and wrong
    ones (of the plugin, and zeros) are compared with the reference, as flashinfer-bench does, and
    with a float64 evaluation. Where one tolerance accepts the former and rejects the latter, the
    definition is certified; where none does, the certificate says so with figures. Certificates are
    written to `reports/certificates/`.

    Args:
        op_type: Op types whose definitions are tried.
        definition_name: Names of single definitions.
        all_: Every definition of the dataset.
        device: "auto" (CUDA where there is a GPU), "cpu" or "cuda".
        seed: Of the random inputs.
        limit: The most workloads of one definition, evenly chosen.
        max_memory: What the inputs and outputs of a workload may take, in bytes or as text (`1G`);
            larger ones are not tried, and the certificate names them.
        timeout_s: Seconds that one workload may take.
        **where: Where the dataset and SGLang's source are; see `fibcore.workspace.Where`.

    Raises:
        UsageError: no selector or several, an unknown op type or name, a bound below 1.
        DatasetError: there is no such dataset, or it cannot be written.
        MissingPackageError: torch is not installed.
    """
    if device not in DEVICES:
        raise UsageError(
            "no such device", where="--device", expected=", ".join(DEVICES), found=repr(device)
        )
    if limit is not None and limit < 1:
        raise UsageError(
            "no such bound", where="--limit", expected="a number of at least 1", found=str(limit)
        )
    max_bytes = parse_size(max_memory, "--max-memory")
    need("verify", "certificates")
    workspace = Workspace.of(**where)
    store, registry = open_dataset(workspace.dataset_folder, workspace.registry)
    chosen, problems = chosen_definitions(
        store,
        registry,
        op_type=several(op_type),
        definition_name=several(definition_name),
        all_=all_,
    )
    setting = _Setting(store, registry, device, seed, limit, max_bytes, _sglang(workspace))
    certificates: list[Certificate] = []
    written: list[str] = []
    with Worker(Program(WORKER), Limits(timeout_s)) as worker:
        for done, definition in enumerate(chosen):
            report(workspace.progress, STEP, done, len(chosen))
            report_at(workspace.progress, STEP, definition.name)
            item, begun = f"[{done + 1}/{len(chosen)}] {definition.name}", time.monotonic()
            try:
                certificate = setting.certify(definition, worker)
            except (BrokenFileError, PluginError) as error:
                problems.append(error)
                report_end(workspace.progress, item, "failed", time.monotonic() - begun)
                continue
            certificates.append(certificate)
            result = "certified" if certificate.certified else "not certified"
            report_end(workspace.progress, item, result, time.monotonic() - begun)
            if store.write(certificate.path, to_text(certificate.to_dict())):
                written.append(certificate.path)
    if chosen:
        report(workspace.progress, STEP, len(chosen), len(chosen))
    if certificates and store.write(YAML, settings(_all(store))):
        written.append(YAML)
    return CertifyReport(store.root, tuple(certificates), tuple(written), tuple(problems))


def _sglang(workspace: Workspace) -> str | None:
    """The folder of SGLang's source; None where none was asked for and none is there."""
    try:
        return str(workspace.source().root.absolute())
    except SourceError:
        if workspace.sglang is not None:
            raise
        return None


@attrs.frozen
class _Setting:
    """What is the same for all definitions of a call."""

    dataset: Dataset
    registry: Registry
    device: str
    seed: int
    limit: int | None
    max_bytes: int
    sglang: str | None

    def certify(self, definition: Definition, worker: Worker) -> Certificate:
        """Measure the workloads of a definition.

        Raises:
            BrokenFileError: its workloads cannot be read.
            PluginError: a plugin failed, or none is in use for the op type.
        """
        if definition.op_type not in self.registry.op_types():
            # A certificate of before says more than one that nothing was tried for.
            raise PluginError(
                "no plugin in use has implementations to try",
                where=definition.name,
                found=f"op type {definition.op_type}",
                hint="fibcore plugins lists them; pip install 'fibcore[ops]' has the project's own",
            )
        workloads = self._workloads(definition)
        not_tried: dict[str, str] = {}
        reasons: list[str] = []
        if not workloads:
            reasons.append("it has no workloads: fibcore add-workloads writes them")
        fitting = []
        for workload in workloads:
            size = device_bytes(definition, {**definition.const_axes, **workload["axes"]})
            if size > self.max_bytes:
                not_tried[workload["uuid"]] = f"it takes {format_size(size)}"
            else:
                fitting.append(workload)
        kept = _spread(fitting, self.limit)
        uuids = {workload["uuid"] for workload in kept}
        not_tried |= {w["uuid"]: "--limit" for w in fitting if w["uuid"] not in uuids}
        task = self._task(definition)
        measured = []
        for workload in kept:
            answer = worker.call({**task, "workload": workload})
            if isinstance(answer, Ending):
                if answer.how is How.FAULT:
                    raise FibcoreError("certificates need torch", found=answer.reason)
                answer = {"failed": answer.sentence}
            if "failed" in answer:
                reasons.append(f"workload {workload['uuid']}: {answer['failed']}")
                continue
            measured.append(
                Measured(
                    *(workload["uuid"], workload["axes"]),
                    *(answer["implementations"], answer["machine"]),
                    *(answer["figures"], answer["yardstick"]),
                )
            )
        return certify_measured(definition, measured, self.seed, not_tried, reasons)

    def _workloads(self, definition: Definition) -> list[dict[str, Any]]:
        """The workloads of a definition, which hold what they have to."""
        file = self.dataset.root / workload_file(definition)
        if not file.exists():
            return []
        checked = check_workloads(self.dataset.root, {definition.name: definition})
        for problem in checked.problems:
            if problem.severity == "error":
                raise BrokenFileError(
                    problem.message,
                    path=problem.path,
                    place=problem.place,
                    expected=problem.expected,
                    found=problem.found,
                    hint="fibcore validate says more",
                )
        text = read_text(self.dataset.root, file, MAX_LINES_BYTES)
        return [decode(line)["workload"] for _, line in lines(text)]

    def _task(self, definition: Definition) -> dict[str, Any]:
        """What a worker needs for each workload."""
        truths = self.registry.ground_truths(definition)
        for error in truths.errors:
            raise error
        return {
            "definition": definition.to_dict(),
            "implementations": to_data(self.registry.implementations(definition)),
            "truths": to_data(list(truths.truths)),
            "template": self._template(definition.op_type),
            "root": str(self.dataset.root.absolute()),
            "device": self.device,
            "seed": self.seed,
            "sglang": self.sglang,
        }

    def _template(self, op_type: str) -> str | None:
        """The source of the test template, where it says what outputs stand for."""
        template = self.registry.test_template(op_type)
        if template is None:
            return None
        names = {
            node.name
            for node in ast.parse(template.source).body
            if isinstance(node, ast.FunctionDef)
        }
        return template.source if FIGURES in names else None


def _spread(workloads: list[dict[str, Any]], limit: int | None) -> list[dict[str, Any]]:
    """At most `limit` of them, evenly from the first to the last."""
    if limit is None or len(workloads) <= limit:
        return workloads
    if limit == 1:
        return [workloads[len(workloads) // 2]]
    step = (len(workloads) - 1) / (limit - 1)
    return [workloads[round(index * step)] for index in range(limit)]


def _all(dataset: Dataset) -> Iterator[Mapping[str, Any]]:
    """The certificates in a dataset; those of definitions that changed since are no more valid."""
    for file in sorted((dataset.root / FOLDER).glob("*.json")):
        definition = dataset.get(file.stem)
        data = decode(read_text(dataset.root, file, MAX_LINES_BYTES))
        if definition is not None and data["reference_sha256"] == definition.reference_hash:
            yield data
