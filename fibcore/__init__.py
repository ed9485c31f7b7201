"""fibcore: GPU kernel definitions of LLMs, derived from SGLang's source and `config.json`.

The names below are the public API. They are loaded when first used, so that `import fibcore` costs
next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_WHERE = {
    "hookimpl": "fibcore.hookspecs",
    "FibcoreError": "fibcore.errors",
    "Definition": "fibcore.definition",
    "Serving": "fibcore.serving",
    "run": "fibcore.workflow",
    "clone_repos": "fibcore.sources.clone",
    "extract": "fibcore.extraction",
    "add_new_model": "fibcore.web",
    "add_reference_tests": "fibcore.reference_tests",
    "add_solutions": "fibcore.solutions",
    "add_workloads": "fibcore.workloads.add",
    "verify": "fibcore.reference_tests",
    "plugins": "fibcore.queries",
    "publish": "fibcore.publishing",
    "models": "fibcore.queries",
    "hierarchy": "fibcore.queries",
    "explain": "fibcore.queries",
    "survey": "fibcore.surveys",
    "validate": "fibcore.validation",
    "diff": "fibcore.diffing",
    "report": "fibcore.dataset_report",
    "import_trace": "fibcore.traces",
    "coverage": "fibcore.coverage_report",
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
    "clone_repos",
    "coverage",
    "diff",
    "explain",
    "extract",
    "hierarchy",
    "hookimpl",
    "import_trace",
    "models",
    "plugins",
    "publish",
    "report",
    "run",
    "survey",
    "validate",
    "verify",
]

if TYPE_CHECKING:
    from fibcore.coverage_report import coverage
    from fibcore.dataset_report import report
    from fibcore.definition import Definition
    from fibcore.diffing import diff
    from fibcore.errors import FibcoreError
    from fibcore.extraction import extract
    from fibcore.hookspecs import hookimpl
    from fibcore.publishing import publish
    from fibcore.queries import explain, hierarchy, models, plugins
    from fibcore.reference_tests import add_reference_tests, verify
    from fibcore.serving import Serving
    from fibcore.solutions import add_solutions
    from fibcore.sources.clone import clone_repos
    from fibcore.surveys import survey
    from fibcore.traces import import_trace
    from fibcore.validation import validate
    from fibcore.web import add_new_model
    from fibcore.workflow import run
    from fibcore.workloads.add import add_workloads


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        value = getattr(importlib.import_module(_WHERE[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
