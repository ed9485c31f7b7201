"""Reference tests: writing them into a dataset, and running them for evidence."""

from __future__ import annotations

from fibcore.reference_tests.add import add_reference_tests
from fibcore.reference_tests.report import (
    AddTestsReport,
    Failure,
    Refusal,
    VerifiedDefinition,
    VerifyReport,
)
from fibcore.reference_tests.verification import Progress, verify

__all__ = [
    "AddTestsReport",
    "Failure",
    "Progress",
    "Refusal",
    "VerifiedDefinition",
    "VerifyReport",
    "add_reference_tests",
    "verify",
]
