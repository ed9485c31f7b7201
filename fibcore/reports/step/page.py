"""The step view in HTML: a picture and a table for every step."""

from __future__ import annotations

from fibcore import __version__
from fibcore.pages import render_page
from fibcore.reports.step.report import StepReport
from fibcore.reports.step_pictures import step_parts


def render(report: StepReport) -> str:
    """The page's text."""
    return render_page(
        "step.html",
        title="Steps of served models",
        generated_from=f"fibcore {__version__}, from {report.source}",
        models=[
            (model.label, model.partial, list(step_parts(report.gpus, number, model.steps)))
            for number, model in enumerate(report.models)
        ],
        refused=report.refused,
    )
