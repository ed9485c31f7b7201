"""Runs references on small inputs in a process of its own, with a time limit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import attrs

from fibcore.errors import FibcoreError
from fibcore.extras import need
from fibcore.processes.children import Program
from fibcore.processes.endings import Ending, How
from fibcore.processes.limits import Limits
from fibcore.processes.pool import Worker
from fibcore.references.reading import REFERENCE_IMPORTS

WORKER = Path(__file__).with_name("worker.py")


@attrs.frozen
class ExecutionProblem:
    """Something that went wrong when a reference ran.

    Attributes:
        check: "reference" (it does not load), "template", "inputs", "outputs", "inputs kept",
            "wrong shapes", "property NAME", or "process" (it died or took too long).
        message: What is wrong, as a sentence.
        case: Id of the test case, None where it concerns none.
        expected: What would have been right.
        found: What was there instead.
    """

    check: str
    message: str
    case: str | None = None
    expected: str | None = None
    found: str | None = None

    def __str__(self) -> str:
        text = f"{self.check}{f' [{self.case}]' if self.case else ''}: {self.message}"
        if self.expected:
            text += f"; expected {self.expected}"
        return f"{text}; found {self.found}" if self.found else text


@attrs.frozen
class Execution:
    """What came of running one definition's reference.

    Attributes:
        problems: What went wrong; empty where all is well.
        cases: Ids of the cases on which it ran.
    """

    problems: tuple[ExecutionProblem, ...]
    cases: tuple[str, ...]


class ReferenceRunner:
    """A process that runs references, started when it is first needed; use it with `with`.

    References of definitions are other people's code: they run with the rights of the user, in a
    process that cannot import fibcore, and only where the user asked for them to run.
    """

    def __init__(self, *, timeout_s: float = 120.0, memory_bytes: int | None = None) -> None:
        """Limit what each definition may use.

        Args:
            timeout_s: Seconds of real time.
            memory_bytes: Main memory that the process may occupy; None for no limit.

        Raises:
            MissingPackageError: torch is not installed.
        """
        need("verify", "runs of references", "torch")
        self._worker = Worker(Program(WORKER), Limits(timeout_s, memory_bytes))

    def __enter__(self) -> ReferenceRunner:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        self._worker.close()

    def run(
        self,
        definition: Mapping[str, Any],
        template: str,
        *,
        max_cases: int = 2,
        deep: bool = False,
        need_cases: bool = False,
        seed: int = 0,
    ) -> Execution:
        """Run a definition's reference on the smallest cases of its test template.

        Inputs are held against the definition and its constraints, outputs against the
        definition (number, shapes, dtypes).

        Args:
            definition: Its JSON data.
            template: Source of the op type's test template.
            max_cases: How many cases.
            deep: Also check that inputs are reproducible and not changed, that inputs of another
                size along a const axis are refused, and the template's properties.
            need_cases: Whether a template without a case for the definition is a problem.
            seed: Seed of the inputs.

        Raises:
            FibcoreError: torch cannot be imported in the process.
        """
        request = {
            "definition": dict(definition),
            "template": template,
            "imports": sorted(REFERENCE_IMPORTS),
            "max_cases": max_cases,
            "deep": deep,
            "need_cases": need_cases,
            "seed": seed,
        }
        answer = self._worker.call(request)
        if isinstance(answer, Ending):
            if answer.how is How.FAULT:
                raise FibcoreError("references need torch to run", found=answer.reason)
            said = answer.last_line if answer.how is How.DIED else None
            return Execution((ExecutionProblem("process", answer.sentence, found=said),), ())
        return Execution(
            tuple(ExecutionProblem(**problem) for problem in answer["problems"]),
            tuple(answer["cases"]),
        )
