"""Reference tests: writing them into a dataset, and running them for evidence."""

from __future__ import annotations

from fibcore.dataset.generated_files import Refusal
from fibcore.verification.add import add_reference_tests
from fibcore.verification.report import (
    AddTestsReport,
    Failure,
    VerifiedDefinition,
    VerifyReport,
)
from fibcore.verification.result import DefinitionResult
from fibcore.verification.run import verify

__all__ = [
    "AddTestsReport",
    "DefinitionResult",
    "Failure",
    "Refusal",
    "VerifiedDefinition",
    "VerifyReport",
    "add_reference_tests",
    "verify",
]
