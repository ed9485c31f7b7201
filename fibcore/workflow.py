"""The whole workflow in one call: repositories, definitions, reference tests, verification."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import attrs

from fibcore.errors import FibcoreError
from fibcore.extraction.report import ExtractReport
from fibcore.extraction.request import ModelsLaunched, Request
from fibcore.extraction.run import extract
from fibcore.keywords import api, part, several
from fibcore.processes.limits import WorkerLimits
from fibcore.sources.repos_config import ReposConfig
from fibcore.workspace import Where, Workspace, clone_repos

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from fibcore.verification import AddTestsReport, VerifyReport


MODEL = "llama"
"""The model where none is named."""


@attrs.frozen
class RunReport:
    """The result of `fibcore.run`.

    Attributes:
        repositories: The repositories and what had to be done to have them; None where the caller's
            own source and dataset were used.
        extraction: What was extracted.
        tests: The test files; None where nothing was extracted, or their step failed.
        verification: What the tests said; None where they could not run.
        errors: Steps that failed as a whole.
    """

    extraction: ExtractReport
    repositories: ReposConfig | None = None
    tests: AddTestsReport | None = None
    verification: VerifyReport | None = None
    errors: tuple[FibcoreError, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """The summary in numbers: definitions by outcome, models, tests."""
        outcomes = list(self.extraction.outcomes.values())
        counts = {
            "definitions": len(outcomes),
            "new": outcomes.count("new"),
            "merged": outcomes.count("merged"),
            "unchanged": outcomes.count("unchanged"),
            "under another name": outcomes.count("same-kernel-other-name"),
            "conflicting": outcomes.count("conflict"),
            "partial models": sum(not m.complete for m in self.extraction.models),
            "refused": len(self.extraction.refused),
        }
        if self.verification is not None:
            counts |= {
                "verified": len(self.verification.verified),
                "tests passed": self.verification.passed,
                "tests skipped": self.verification.skipped,
                "tests failed": self.verification.failed,
            }
        return counts

    @property
    def exit_code(self) -> int:
        """0 where every step did all of its work, else 1."""
        steps = (self.extraction, self.tests, self.verification)
        failed = self.errors or any(step is not None and step.exit_code for step in steps)
        return 1 if failed else 0

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `--json` prints it."""

        def data(step: Any) -> Any:
            return None if step is None else step.to_dict()

        return {
            "repositories": data(self.repositories),
            "extraction": data(self.extraction),
            "tests": data(self.tests),
            "verification": data(self.verification),
            "counts": self.counts,
            "errors": [error.to_dict() for error in self.errors],
            "exit_code": self.exit_code,
        }


class RunAsked(ModelsLaunched, WorkerLimits, total=False):
    """The keywords of `run`: those of `fibcore.extract`, and the limits of `fibcore.verify`."""


@api(RunAsked, options=True)
def run(
    model_name: str | Sequence[str] = (),
    *,
    flashinfer: str | None = None,
    flashinfer_trace: str | None = None,
    device: str = "auto",
    tolerance: float | None = None,
    evidence_dir: str | Path | None = None,
    force: bool = False,
    **asked: Unpack[RunAsked],
) -> RunReport:
    """Set up what is missing, extract models, write their reference tests and run them.

    Where GitHub or Hugging Face cannot be reached, released packages, an empty dataset and the
    built-in catalogue take their place, and the report says so.

    Args:
        model_name: One or several models, as for `fibcore.extract`; without one that of the launch
            line, and without a launch line llama.
        flashinfer: FlashInfer's source, as for `fibcore.clone_repos`; what is there already stays
            if None. `sglang` likewise.
        flashinfer_trace: The dataset's source, likewise.
        device: Where the tests run: "auto" (CUDA where there is a GPU), "cpu" or "cuda".
        tolerance: rtol and atol of the tests, in place of the defaults by dtype.
        evidence_dir: Folder with evidence of another machine (a GPU host), to be taken in where it
            is of the same references.
        force: Run tests again of which nothing has changed since they ran.
        **asked: How the models are served, where, and what the tests may use; see `RunAsked`,
            `fibcore.extraction.request.ModelsLaunched` and `fibcore.workspace.Where`.

    Returns:
        The report of every step. What could not be done is in it, and its `exit_code` is 1 then.

    Raises:
        UsageError: a name or an option is wrong.
        FibcoreError: a repository, the dataset or the one model asked for cannot be had at all.
    """
    from fibcore.verification.run import TIMEOUT_S, check_usage

    evidence = None if evidence_dir is None else Path(evidence_dir)
    limits = part(WorkerLimits, asked)
    limits.setdefault("timeout_s", TIMEOUT_S)
    check_usage(device, tolerance, evidence, **limits)
    place = part(Where, asked)
    place["registry"] = registry = Workspace.of(**place).registry
    request = Request.of(registry, asked)  # what is wrong with it, before anything is downloaded
    names = several(model_name) or (() if request.launch is not None else (MODEL,))
    repositories = clone_repos(flashinfer=flashinfer, flashinfer_trace=flashinfer_trace, **place)
    place["sglang"] = asked["sglang"] = None  # the one that is in the folder now
    asked["registry"] = registry
    extraction = extract(names, **part(ModelsLaunched, asked))
    result = RunReport(extraction, repositories)
    if not extraction.outcomes:
        nothing = FibcoreError("no kernel was found, so there is nothing to test")
        return attrs.evolve(result, errors=(nothing,))
    how: _Tests = {
        "device": device,
        "tolerance": tolerance,
        "evidence_dir": evidence,
        "force": force,
    }
    return _test(result, place, limits, how)


class _Tests(TypedDict):
    """How the tests are run."""

    device: str
    tolerance: float | None
    evidence_dir: Path | None
    force: bool


def _test(
    result: RunReport,
    place: Where,
    limits: WorkerLimits,
    how: _Tests,
) -> RunReport:
    """Write and run the tests of what was extracted; a step that fails is an error of the report.

    The test modules cover all definitions of their op type. Those that other models brought into
    the dataset are not run here.
    """
    from fibcore.verification import add_reference_tests, verify

    kernels = [k for m in result.extraction.models for k in m.kernels]
    op_types = sorted({k.op_type for k in kernels if k.name in result.extraction.outcomes})
    try:
        tests = add_reference_tests(op_type=op_types, tolerance=how["tolerance"], **place)
        result = attrs.evolve(result, tests=tests)
        verification = verify(
            definition_name=tuple(result.extraction.outcomes),
            **how,
            **limits,
            **place,
        )
    except FibcoreError as error:
        return attrs.evolve(result, errors=(*result.errors, error))
    return attrs.evolve(result, verification=verification)
