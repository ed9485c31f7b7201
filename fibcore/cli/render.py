"""Reports as people read them; with `--json` also as the one document on standard output."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from fibcore.cli.output import Output

if TYPE_CHECKING:
    from fibcore.extraction.report import ExtractReport, ModelReport, Remark
    from fibcore.queries import Explanation, HierarchyReport, ModelsReport, PluginsReport
    from fibcore.sources.repos_config import ReposConfig
    from fibcore.validation.report import ValidationReport
    from fibcore.verification import AddTestsReport, DefinitionResult, VerifyReport
    from fibcore.workflow import RunReport

PATHS_SHOWN = 3


def run(report: RunReport, out: Output) -> None:
    """Print the report of the whole workflow, step by step, and the summary last."""
    out.close()
    out.document(report.to_dict())
    if report.repositories is not None:
        _repos(report.repositories, out)
        out.line()
    _extract(report.extraction, out)
    if report.tests is not None:
        _added_tests(report.tests, out)
    if report.verification is not None:
        out.line()
        _verified(report.verification, out)
    for error in report.errors:
        out.warn(str(error))
    c = report.counts
    out.line()
    out.result(
        f"definitions: {c['new']} new, {c['merged']} merged, {c['unchanged']} unchanged, "
        f"{c['conflicting']} conflicting; models: {len(report.extraction.models)}, "
        f"{c['partial models']} of them partial, {c['refused']} refused"
    )
    if report.verification is not None:
        out.result(
            f"tests: {c['tests passed']} passed, {c['tests skipped']} skipped, "
            f"{c['tests failed']} failed; {c['verified']} of {c['definitions']} definitions "
            "verified against a ground truth"
        )


def repos(report: ReposConfig, out: Output) -> None:
    """Print what is in the target folder."""
    out.close()
    out.document(report.to_dict())
    _repos(report, out)


def _repos(report: ReposConfig, out: Output) -> None:
    for key, repository in report.repositories.items():
        version = repository.version or (repository.commit or "")[:12]
        words = " ".join(w for w in (repository.status, version) if w)
        out.line(f"{key}: {words} ({repository.path})")
        if repository.message:
            out.line(f"  {repository.message}")


def extract(report: ExtractReport, out: Output) -> None:
    """Print what was found in every model, shared kernels, and what is missing."""
    out.close()
    out.document(report.to_dict())
    _extract(report, out)
    c = report.counts
    kinds = ", ".join(
        f"{n} {kind}" for kind, n in c.items() if kind in set(report.outcomes.values())
    )
    out.result(f"{c['definitions']} definitions: {kinds or 'none'} ({_where(report)})")


def _where(report: ExtractReport) -> str:
    return f"dry run, nothing written to {report.dataset}" if report.dry_run else report.dataset


def _extract(report: ExtractReport, out: Output) -> None:
    for model in report.models:
        _model(model, out)
        out.line()
    shared = {name: models for name, models in report.definitions.items() if len(models) > 1}
    if shared:
        out.line("Shared kernels:")
        for name, models in shared.items():
            out.line(f"  {name}: [{', '.join(models)}]")
        out.line()
    for conflict in report.conflicts:
        out.line(f"conflict: {conflict}")
    for plugin in report.skipped_plugins:
        out.warn(f"plugin left out: {plugin}")
    for refused in report.refused:
        out.warn(f"refused: {refused.label}: {refused.error}")
    for model in report.models:
        for error in model.errors:
            out.warn(f"{model.label}: {error}")
    for error in report.errors:
        out.warn(str(error))
    for failure in report.failures:
        out.warn(f"not complete: {failure}")


def _model(model: ModelReport, out: Output) -> None:
    out.line(model.label)
    out.line(f"  {model.architecture}, constants from {model.constants}, {model.source}")
    for cls, keys in model.class_defaults.items():
        out.line(f"  from class defaults: {', '.join(keys)} ({cls})")
    out.table(
        ("op type", "definition", "outcome", "layers", "from"),
        [(k.op_type, k.name, k.outcome, k.layers, k.where) for k in model.kernels],
        indent=2,
    )
    for kernel in model.kernels:
        for note in kernel.notes:
            out.line(f"  note: {kernel.name}: {note}")
        for path in kernel.paths:
            out.line(f"  {kernel.name}: {path}", level=1)
    for warning in model.warnings:
        out.line(f"  note: {warning}")
    _remarks("missing", model.missing, out)
    _remarks("undecided", model.problems, out)
    _remarks("no definition", model.not_covered, out)
    if model.unclaimed:
        classes = ", ".join(f"{name} ({count})" for name, count in model.unclaimed.items())
        out.line(f"  not covered by any installed plugin: {classes}")


def _remarks(label: str, remarks: Iterable[Remark], out: Output) -> None:
    for remark in remarks:
        out.line(f"  {label}: {remark}")
        shown = remark.paths if out.verbosity > 0 else remark.paths[:PATHS_SHOWN]
        for path in shown:
            out.line(f"    {path}")
        if len(shown) < len(remark.paths):
            out.line(f"    and {len(remark.paths) - len(shown)} more (-v shows them)")


def added_tests(report: AddTestsReport, out: Output) -> None:
    """Print which test files were written."""
    out.close()
    out.document(report.to_dict())
    _added_tests(report, out)
    for problem in report.problems:
        out.warn(str(problem))


def _added_tests(report: AddTestsReport, out: Output) -> None:
    for path in report.written:
        out.line(f"written: {report.dataset / path}")
    for path in report.unchanged:
        out.line(f"unchanged: {report.dataset / path}", level=0 if not report.written else 1)
    for refusal in report.refused:
        out.warn(f"kept: {report.dataset / refusal.path}: {refusal.reason}")
    for name, truths in report.ground_truths.items():
        out.line(f"  {name}: {', '.join(truths) or 'no ground truth'}", level=1)


class VerifyProgress:
    """Shows how far the tests are: a bar on a terminal, a line for each definition elsewhere."""

    def __init__(self, out: Output) -> None:
        self.out = out
        self.done = 0
        self.total = 0
        if sys.stderr.isatty():
            out.progress("running the tests")

    def progress(self, _: str, done: float | None, total: float | None) -> None:
        """Show how many definitions' tests have ended."""
        self.done, self.total = int(done or 0), int(total or 0)
        if sys.stderr.isatty():
            self.out.progress("running the tests", done, total)

    def finished(self, result: DefinitionResult) -> None:
        """Show what came of the tests of the definition that ended last."""
        if not sys.stderr.isatty():
            took = "" if result.seconds is None else f"{result.seconds:.1f} s, "
            self.out.note(
                f"[{self.done}/{self.total}] {result.name}: {result.outcome} "
                f"({took}{result.worker})"
            )


def verified(report: VerifyReport, out: Output) -> None:
    """Print what the tests said of every definition."""
    out.close()
    out.document(report.to_dict())
    _verified(report, out)
    out.result(
        f"tests: {report.passed} passed, {report.skipped} skipped, {report.failed} failed; "
        f"{len(report.verified)} of {len(report.definitions)} definitions verified"
    )


def _verified(report: VerifyReport, out: Output) -> None:
    out.table(
        ("definition", "status", "passed", "skipped", "failed", "agrees with"),
        [
            (
                d.name,
                "verified" if d.verified else "unverified",
                d.passed,
                d.skipped,
                d.failed,
                ", ".join(d.ground_truths) or "; ".join(d.reasons),
            )
            for d in report.definitions
        ],
    )
    for d in report.definitions:
        if d.seconds is not None:
            amounts = [f"{d.seconds:.1f} s"]
            for what, size in (("memory", d.memory_bytes), ("GPU memory", d.gpu_memory_bytes)):
                amounts += [f"{size / 2**30:.1f} GiB of {what}"] if size else []
            out.line(f"  {d.name}: {', '.join(amounts)} ({d.worker})", level=1)
    for reason, count in report.skip_reasons.items():
        out.line(f"  skipped {count}: {reason}")
    for definition in report.definitions:
        for failure in definition.failures:
            out.warn(f"failed: {failure.test}\n{failure.message}")
    for broken in report.broken:
        out.warn(f"broken: {broken.test}: {broken.message}")
    for problem in report.problems:
        out.warn(str(problem))


def plugins(report: PluginsReport, out: Output) -> None:
    """Print the plugins and their op types."""
    out.close()
    out.document(report.to_dict())
    out.table(
        ("plugin", "distribution", "version", "status", "op types"),
        [
            (p.name, p.distribution or "", p.version or "", p.status, ", ".join(p.op_types))
            for p in report.plugins
        ],
    )
    out.line()
    out.table(
        ("op type", "plugin", "what it is"),
        [(o.name, o.plugin, o.description) for o in report.op_types],
    )
    for plugin in report.plugins:
        if plugin.status == "skipped":
            out.warn(f"left out: {plugin.label}: {plugin.cause}: {plugin.reason}")


def models(report: ModelsReport, out: Output) -> None:
    """Print the catalogue, and the model files of the source."""
    out.close()
    out.document(report.to_dict())
    out.table(
        ("slug", "Hub id", "architecture", "TP", "EP"),
        [(e.slug, e.hub_id, e.architecture, _list(e.tp), _list(e.ep)) for e in report.catalogue],
        title="Models whose constants are built in",
    )
    out.line()
    if not report.files:
        out.line(f"No SGLang source: {report.source}")
        return
    out.table(
        ("file", "architectures"),
        [(name, ", ".join(classes)) for name, classes in report.files.items()],
        title=f"Model files of {report.source}",
    )


def _list(values: Iterable[object]) -> str:
    return ",".join(str(value) for value in values)


def hierarchy(report: HierarchyReport, out: Output) -> None:
    """Print a model's modules as an indented tree, repeated layers once."""
    out.close()
    out.document(report.to_dict())
    out.line(f"{report.slug} (TP {report.tp}, EP {report.ep})")
    out.line(f"{report.architecture}, constants from {report.constants}, {report.source}")
    for row in report.rows:
        count = f" x{row.count}" if row.count > 1 else ""
        place = f"  {row.place}" if out.verbosity > 0 else ""
        out.result(f"{'  ' * row.depth}{row.name} {row.cls}{count}{place}")
    for missing in report.missing:
        out.warn(f"missing: {missing}")


def validated(report: ValidationReport, out: Output) -> None:
    """Print every problem of the dataset, and the counts."""
    out.close()
    out.document(report.to_dict())
    for problem in report.problems:
        out.result(str(problem))
    for name, reason in report.not_executed.items():
        out.line(f"not executed: {name}: {reason}")
    c = report.counts
    executed = f", {c['executed']} executed" if report.executed or report.not_executed else ""
    also = "".join(f", {c[what]} {what}" for what in ("workloads", "solutions") if c[what])
    out.result(
        f"{c['definitions']} definitions{executed}{also}: "
        f"{c['errors']} errors, {c['warnings']} warnings ({report.dataset})"
    )


def explain(report: Explanation, out: Output) -> None:
    """Print where each number of a definition comes from, model by model."""
    out.close()
    out.document(report.to_dict())
    definition = report.definition
    out.result(f"{definition.name} ({definition.op_type})")
    if definition.description:
        out.line(definition.description)
    out.line(f"tags: {', '.join(definition.tags)}")
    if report.provenance is None:
        sizes = ", ".join(f"{name} = {size}" for name, size in definition.const_axes.items())
        out.result(f"constants: {sizes or 'none'}")
        out.result("No provenance is recorded: fibcore did not extract this definition.")
        return
    for entry in report.to_dict()["provenance"]:
        sizes = f"TP {entry['tp']}, EP {entry['ep']}"
        out.result(
            f"\n{entry['model']} ({entry['architecture']}, {sizes}, "
            f"sglang {entry['source_version'] or 'of unknown version'})"
        )
        for name, constant in entry["constants"].items():
            origins = ", ".join(constant["origins"]) or "the source text"
            note = f" ({constant['note']})" if constant["note"] else ""
            out.result(f"  {name} = {constant['value']}: {origins}{note}, {constant['place']}")
        out.result(f"  {entry['layers']} {'layer' if entry['layers'] == 1 else 'layers'}:")
        for group in entry["uses"]:
            out.result(
                f"    {group['paths']}  {group['class'].rpartition('.')[2]}  {group['place']}"
            )
    for file in report.provenance.imports:
        apis = f" ({', '.join(file.fi_apis)})" if file.fi_apis else ""
        model = f" for {file.model}" if file.model else ""
        out.result(f"\nimported{model} from {file.file}{apis}, sha256 {file.sha256[:12]}")
        for repair in file.repairs:
            out.line(f"  repaired: {repair}")
    for difference in report.to_dict()["differing"]:
        out.result(f"\nmodels differ: {difference}; the definition has the first one's")
