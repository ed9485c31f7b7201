"""Surveys: what every architecture of a SGLang source needs, and what no plugin covers yet."""

from __future__ import annotations

from fibcore.reports.survey.report import (
    MissingOp,
    NeededDefinition,
    Reason,
    Shared,
    SurveyedModel,
    SurveyReport,
)
from fibcore.reports.survey.run import survey

__all__ = [
    "MissingOp",
    "NeededDefinition",
    "Reason",
    "Shared",
    "SurveyReport",
    "SurveyedModel",
    "survey",
]
