"""Reference tests: writing them into a dataset, and running them for evidence."""

from __future__ import annotations

from fibcore.verification.add import add_reference_tests
from fibcore.verification.report import (
    AddTestsReport,
    Failure,
    Refusal,
    VerifiedDefinition,
    VerifyReport,
)
from fibcore.verification.verification import Progress, verify

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
