"""A light benchmark of baselines on a GPU: whether they pass on one workload each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from fibcore.extras import missing
from fibcore.model.definition import Definition
from fibcore.processes.machine import find_gpus
from fibcore.validation.completeness import baselines
from fibcore.validation.problems import ValidationProblem, error, warning
from fibcore.validation.traces import PASSED


def check_benchmark(
    root: Path, definitions: Sequence[tuple[Definition, str]], author: str
) -> Iterator[ValidationProblem]:
    """Run the baselines of definitions on their first workload, with flashinfer-bench.

    Without a GPU or flashinfer-bench there is one warning that says what is missing.

    Args:
        root: The dataset folder.
        definitions: Each with its file, relative to the dataset.
        author: The author of baselines.
    """
    why = _not_possible()
    if why is not None:
        yield warning("solutions", None, "no benchmark was run", found=why)
        return
    paths = {definition.name: path for definition, path in definitions}
    names = [name for d, _ in definitions for name in baselines(root, d, author)]
    for definition, solution, status, log in _run(root, list(paths), names):
        if status != PASSED:
            message = f"the baseline {solution} does not pass a light benchmark"
            yield error(paths[definition], None, message, PASSED, f"{status}: {log}"[:500])


def _not_possible() -> str | None:
    gone = missing("torch", "flashinfer_bench")
    if gone:
        return f"not installed: {', '.join(gone)}"
    return None if find_gpus() else "there is no CUDA GPU"


def _run(
    root: Path, definitions: list[str], solutions: list[str]
) -> Iterator[tuple[str, str, str, str]]:
    """(definition, solution, status, log) of each pair, on the definition's first workload."""
    from flashinfer_bench.bench import Benchmark, BenchmarkConfig
    from flashinfer_bench.data import TraceSet

    dataset = TraceSet.from_path(str(root))
    for name, workloads in dataset.workloads.items():
        dataset.workloads[name] = workloads[:1]
    config = BenchmarkConfig(
        warmup_runs=1, iterations=1, num_trials=1, definitions=definitions, solutions=solutions
    )
    done = Benchmark(dataset, config).run_all(dump_traces=False)
    for name, traces in done.traces.items():
        for trace in traces:
            if trace.evaluation is not None:
                status = trace.evaluation.status.value
                yield name, trace.solution or "", status, trace.evaluation.log or ""
