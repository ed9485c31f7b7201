"""fibcore: GPU kernel definitions of LLMs, derived from SGLang's source and `config.json`.

The names below are the public API. They are loaded when first used, so that `import fibcore` costs
next to nothing.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_WHERE = {
    "hookimpl": "fibcore.ops.hookspecs",
    "FibcoreError": "fibcore.errors",
    "Definition": "fibcore.model.definition",
    "Serving": "fibcore.model.serving",
    "run": "fibcore.workflow",
    "check": "fibcore.checking.run",
    "clone_repos": "fibcore.workspace",
    "extract": "fibcore.extraction.run",
    "add_new_model": "fibcore.web",
    "add_reference_tests": "fibcore.verification",
    "add_solutions": "fibcore.benchmarking.solutions",
    "add_workloads": "fibcore.benchmarking.workloads.add",
    "certify": "fibcore.benchmarking.certificates.run",
    "verify": "fibcore.verification",
    "plugins": "fibcore.workspace",
    "publish": "fibcore.publishing",
    "models": "fibcore.extraction.hierarchy",
    "new_op": "fibcore.scaffolding",
    "hierarchy": "fibcore.extraction.hierarchy",
    "explain": "fibcore.dataset.explanation",
    "export": "fibcore.exporting.run",
    "shapes": "fibcore.exporting.shapes",
    "sizes": "fibcore.reports.sizes",
    "step": "fibcore.reports.step",
    "survey": "fibcore.reports.survey",
    "validate": "fibcore.validation.run",
    "diff": "fibcore.reports.diff",
    "report": "fibcore.reports.dataset",
    "import_trace": "fibcore.traces",
    "import_workloads": "fibcore.benchmarking.recorded",
    "onboard": "fibcore.onboarding",
    "track": "fibcore.onboarding",
    "list": "fibcore.reports.listing",
    "tree": "fibcore.extraction.one_model",
    "cost": "fibcore.benchmarking.costs",
    "coverage": "fibcore.reports.coverage",
}

__all__ = [
    "Definition",
    "FibcoreError",
    "Serving",
    "__version__",
    "add_new_model",
    "add_reference_tests",
    "add_solutions",
    "add_workloads",
    "certify",
    "check",
    "clone_repos",
    "cost",
    "coverage",
    "diff",
    "explain",
    "export",
    "extract",
    "hierarchy",
    "hookimpl",
    "import_trace",
    "import_workloads",
    "list",
    "models",
    "new_op",
    "onboard",
    "plugins",
    "publish",
    "report",
    "run",
    "shapes",
    "sizes",
    "step",
    "survey",
    "track",
    "tree",
    "validate",
    "verify",
]

if TYPE_CHECKING:
    from fibcore.benchmarking.certificates.run import certify
    from fibcore.benchmarking.costs import cost
    from fibcore.benchmarking.recorded import import_workloads
    from fibcore.benchmarking.solutions import add_solutions
    from fibcore.benchmarking.workloads.add import add_workloads
    from fibcore.checking.run import check
    from fibcore.dataset.explanation import explain
    from fibcore.errors import FibcoreError
    from fibcore.exporting.run import export
    from fibcore.exporting.shapes import shapes
    from fibcore.extraction.hierarchy import hierarchy, models
    from fibcore.extraction.one_model import tree
    from fibcore.extraction.run import extract
    from fibcore.model.definition import Definition
    from fibcore.model.serving import Serving
    from fibcore.onboarding import onboard, track
    from fibcore.ops.hookspecs import hookimpl
    from fibcore.publishing import publish
    from fibcore.reports.coverage import coverage
    from fibcore.reports.dataset import report
    from fibcore.reports.diff import diff
    from fibcore.reports.listing import list  # noqa: A004 - the command's name
    from fibcore.reports.sizes import sizes
    from fibcore.reports.step import step
    from fibcore.reports.survey import survey
    from fibcore.scaffolding import new_op
    from fibcore.traces import import_trace
    from fibcore.validation.run import validate
    from fibcore.verification import add_reference_tests, verify
    from fibcore.web import add_new_model
    from fibcore.workflow import run
    from fibcore.workspace import clone_repos, plugins


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        value = getattr(importlib.import_module(_WHERE[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> Sequence[str]:
    return sorted(__all__)
