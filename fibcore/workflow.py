"""The whole workflow in one call: repositories, definitions, reference tests, verification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from fibcore.errors import FibcoreError
from fibcore.extraction.report import ExtractReport
from fibcore.extraction.run import dataset_folder, extract
from fibcore.ops.registry import Registry, load_plugins
from fibcore.progress import Progress, report
from fibcore.sources.clone import clone_repos
from fibcore.sources.finding import find_source
from fibcore.sources.repos_config import ReposConfig

if TYPE_CHECKING:
    from fibcore.verification import AddTestsReport, VerifyReport


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


def run(
    model_name: str | Sequence[str] = ("llama",),
    target_dir: str | Path = "./repos",
    *,
    dataset: str | Path | None = None,
    hf_repo_id: str | None = None,
    config: str | Path | Mapping[str, Any] | None = None,
    tp: int | Sequence[int] | None = None,
    ep: int | Sequence[int] | None = None,
    op_type: str | Sequence[str] = (),
    stage: str | Sequence[str] | None = None,
    sglang: str | None = None,
    flashinfer: str | None = None,
    flashinfer_trace: str | None = None,
    device: str = "auto",
    tolerance: float | None = None,
    evidence_dir: str | Path | None = None,
    jobs: int | None = None,
    timeout_s: float = 1800.0,
    memory_bytes: int | str | None = None,
    dask: str | None = None,
    registry: Registry | None = None,
    disable_plugin: Sequence[str] = (),
    progress: Progress | None = None,
    **options: Any,
) -> RunReport:
    """Set up what is missing, extract models, write their reference tests and run them.

    Where GitHub or Hugging Face cannot be reached, released packages, an empty dataset and the
    built-in catalogue take their place, and the report says so.

    Args:
        model_name: One or several models, as for `fibcore.extract`.
        target_dir: Folder of the repositories.
        dataset: Folder of the dataset; by default the flashinfer-trace repository.
        hf_repo_id: As for `fibcore.extract`, like all up to `stage`.
        config: See there.
        tp: See there.
        ep: See there.
        op_type: See there.
        stage: See there.
        sglang: SGLang's source, as for `fibcore.clone_repos`; what is there already stays if None.
        flashinfer: FlashInfer's source, likewise.
        flashinfer_trace: The dataset's source, likewise.
        device: Where the tests run: "auto" (CUDA where there is a GPU), "cpu" or "cuda".
        tolerance: rtol and atol of the tests, in place of the defaults by dtype.
        evidence_dir: Folder with evidence of another machine (a GPU host), to be taken in where it
            is of the same references.
        jobs: Worker processes of the tests, as for `fibcore.verify`, like all up to `dask`.
        timeout_s: See there.
        memory_bytes: See there.
        dask: See there.
        registry: The plugins; by default all that are installed.
        disable_plugin: Plugins to leave out, by name, where no registry is given.
        progress: Called with the step, and how far it is.
        **options: Values of options that op types declare, as for `fibcore.extract`.

    Returns:
        The report of every step. What could not be done is in it, and its `exit_code` is 1 then.

    Raises:
        UsageError: a name or an option is wrong.
        FibcoreError: a repository, the dataset or the one model asked for cannot be had at all.
    """
    from fibcore.verification.run import check_usage

    evidence = None if evidence_dir is None else Path(evidence_dir)
    check_usage(
        device,
        tolerance,
        evidence,
        jobs=jobs,
        timeout_s=timeout_s,
        memory_bytes=memory_bytes,
        dask=dask,
    )
    registry = registry or load_plugins(disable=disable_plugin)
    registry.options.asked(options)  # before anything is downloaded
    repositories = clone_repos(
        target_dir,
        sglang=sglang or "auto",
        flashinfer=flashinfer or "auto",
        flashinfer_trace=flashinfer_trace or "auto",
        progress=progress,
    )
    extraction = extract(
        model_name,
        target_dir=target_dir,
        dataset=dataset,
        hf_repo_id=hf_repo_id,
        config=config,
        tp=tp,
        ep=ep,
        op_type=op_type,
        stage=stage,
        registry=registry,
        progress=progress,
        **options,
    )
    result = RunReport(extraction, repositories)
    if not extraction.outcomes:
        nothing = FibcoreError("no kernel was found, so there is nothing to test")
        return attrs.evolve(result, errors=(nothing,))
    return _test(
        result,
        dataset_folder(target_dir, dataset),
        Path(target_dir),
        device=device,
        tolerance=tolerance,
        evidence_dir=evidence,
        jobs=jobs,
        timeout_s=timeout_s,
        memory_bytes=memory_bytes,
        dask=dask,
        registry=registry,
        progress=progress,
    )


def _test(
    result: RunReport,
    dataset: Path,
    target_dir: Path,
    *,
    device: str,
    tolerance: float | None,
    evidence_dir: Path | None,
    jobs: int | None,
    timeout_s: float,
    memory_bytes: int | str | None,
    dask: str | None,
    registry: Registry,
    progress: Progress | None,
) -> RunReport:
    """Write and run the tests of what was extracted; a step that fails is an error of the report.

    The test modules cover all definitions of their op type. Those that other models brought into
    the dataset are not run here.
    """
    from fibcore.verification import add_reference_tests, verify

    kernels = [k for m in result.extraction.models for k in m.kernels]
    op_types = sorted({k.op_type for k in kernels if k.name in result.extraction.outcomes})
    try:
        report(progress, "writing the reference tests")
        tests = add_reference_tests(
            dataset=dataset, op_type=op_types, tolerance=tolerance, registry=registry
        )
        result = attrs.evolve(result, tests=tests)
        verification = verify(
            dataset=dataset,
            definition_name=tuple(result.extraction.outcomes),
            device=device,
            tolerance=tolerance,
            sglang=find_source(None, target_dir).root,
            evidence_dir=evidence_dir,
            jobs=jobs,
            timeout_s=timeout_s,
            memory_bytes=memory_bytes,
            dask=dask,
            registry=registry,
            progress=progress,
        )
    except FibcoreError as error:
        return attrs.evolve(result, errors=(*result.errors, error))
    return attrs.evolve(result, verification=verification)
