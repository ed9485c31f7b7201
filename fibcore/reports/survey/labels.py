"""Words that the files of a survey have in common."""

from __future__ import annotations

from fibcore.reports.survey.report import SurveyedModel, SurveyReport, family


def config_label(row: SurveyedModel) -> str:
    """Where a row's config is from, in words."""
    kind, _, rest = row.origin.partition(":")
    if kind == "class":
        return f"class defaults ({rest})"
    return {"file": rest, "catalogue": "catalogue", "": "none"}[kind]


def layers_label(row: SurveyedModel) -> str:
    """The lengths of a model's lists of layers, `32` or `27 + 36`."""
    return " + ".join(str(count) for count in row.layers.values())


def op_reasons(report: SurveyReport) -> dict[str, str]:
    """Family of ops to why it has no definition, as it is said of the first model that runs it."""
    found: dict[str, str] = {}
    for row in report.rows:
        for op in row.not_covered:
            name = family(op.op)
            found[name] = found.get(name) or op.reason
    return {op: reason or "no installed plugin knows it" for op, reason in found.items()}
