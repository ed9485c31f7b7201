"""The coverage page in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from fibcore import __version__
from fibcore.reports.coverage.report import STEPS, CoverageReport, ModelCoverage, Need
from fibcore.reports.launches import GPU, SHARE_COLUMNS, share_cells, share_note

DONE, NOT = "yes", "no"


def to_markdown(report: CoverageReport, name: str) -> str:
    """The page's text.

    Args:
        report: The coverage.
        name: What the dataset is called on the page.
    """
    return "\n".join(_lines(report, name)) + "\n"


def _lines(report: CoverageReport, name: str) -> Iterator[str]:
    yield f"# Coverage of {_escaped(name)}"
    yield ""
    yield f"Written by fibcore {__version__} from the dataset and {_escaped(report.source)};"
    yield "`fibcore coverage` writes it anew."
    yield ""
    header = ("Model", "Needed", *(step.capitalize() for step in STEPS))
    rows = [(m.slug, *m.counts.values()) for m in report.models]
    rows.append(("**all, each once**", *report.counts.values()))
    yield from _table(header, rows, right=range(1, len(header)))
    steps = [(model.slug, step) for model in report.models for step in model.steps]
    if steps:
        yield ""
        yield "## Share of kernels"
        yield ""
        yield from share_note(GPU)
        yield ""
        header = ("Model", *(column.capitalize() for column in SHARE_COLUMNS))
        yield from _table(
            header, [(slug, *share_cells(step)) for slug, step in steps], right=(2, 3)
        )
    for refused in report.refused:
        yield ""
        yield f"Not looked at: {_escaped(refused.label)}: {_escaped(refused.error.message)}."
    for model in report.models:
        yield ""
        yield from _model(model)
    if report.unneeded:
        yield ""
        yield "## Definitions that a tagged model does not need"
        yield ""
        yield "They carry the model's tag; at the parallel sizes above the model does not run them."
        yield ""
        for definition, models in report.unneeded.items():
            yield f"- `{definition}`: {', '.join(models)}"
    if report.problems:
        yield ""
        yield "## Broken files"
        yield ""
        for problem in report.problems:
            yield f"- `{problem.where}`: {_escaped(problem.message)}"


def _model(model: ModelCoverage) -> Iterator[str]:
    yield f"## {_escaped(model.slug)}"
    yield ""
    if model.recorded:
        yield "It could not be extracted; this is what the dataset records of it."
    else:
        yield f"{model.architecture}, constants from {_escaped(model.constants)},"
        yield f"{'; '.join(model.servings)}."
    yield ""
    header = (
        *("Op type", "Definition", "Layers", "There", "Verified", "Workloads", "Baseline"),
        *("Benchmarks", "From"),
    )
    yield from _table(header, [_row(need) for need in model.needs], right=(2, 5, 7))
    if model.uncovered:
        yield ""
        yield "Without a definition:"
        yield ""
        for op in model.uncovered:
            layers = f"{op.layers} {'layer' if op.layers == 1 else 'layers'}"
            yield f"- {_escaped(op.what)} ({layers}): {_escaped(op.reason)}"
    if model.partial:
        yield ""
        yield "Not complete:"
        yield ""
        for remark in model.partial:
            yield f"- {_escaped(str(remark))}"
    if model.commands:
        yield ""
        yield "What adds the rest:"
        yield ""
        yield "```bash"
        yield from model.commands
        yield "```"


def _row(need: Need) -> tuple[object, ...]:
    name = f"`{need.name}`"
    if need.definition not in (None, need.kernel):
        name += f" (as `{need.kernel}` in the model)"
    return (
        need.op_type,
        name,
        need.layers,
        _yes(need.definition is not None),
        _yes(need.verified),
        need.workloads,
        _yes(need.baseline),
        f"{need.passed} of {need.evaluations}" if need.evaluations else 0,
        f"`{need.where}`" if need.where else "",
    )


def _yes(done: bool) -> str:
    return DONE if done else NOT


def _table(
    header: Sequence[str], rows: Iterable[Sequence[object]], right: Iterable[int]
) -> Iterator[str]:
    right = set(right)
    yield "| " + " | ".join(header) + " |"
    yield "|" + "|".join(" ---: " if i in right else " --- " for i in range(len(header))) + "|"
    for row in rows:
        yield "| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |"


def _escaped(text: str) -> str:
    """A text that Markdown takes as it is."""
    for character in "\\`*_<>[]|":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())
