"""A light benchmark of baselines on a GPU: whether they pass on one workload each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from fibcore.dataset.layout import solution_file
from fibcore.dataset.needs import fits
from fibcore.extras import missing
from fibcore.model.definition import Definition
from fibcore.model.json import decode
from fibcore.processes.machine import Gpu, find_gpus
from fibcore.validation.completeness import baselines
from fibcore.validation.problems import ValidationProblem, error, warning
from fibcore.validation.traces import PASSED


def check_benchmark(
    root: Path, definitions: Sequence[tuple[Definition, str]], author: str
) -> Iterator[ValidationProblem]:
    """Run the baselines of definitions on their first workload, with flashinfer-bench.

    Without a GPU or flashinfer-bench there is one warning that says what is missing. A baseline
    that says it needs another GPU, or a package that is not installed, is not run.

    Args:
        root: The dataset folder.
        definitions: Each with its file, relative to the dataset.
        author: The author of baselines.
    """
    gone = missing("torch", "flashinfer_bench")
    gpus = () if gone else find_gpus()
    if not gpus:
        why = f"not installed: {', '.join(gone)}" if gone else "there is no CUDA GPU"
        yield warning("solutions", None, "no benchmark was run", found=why)
        return
    paths = {definition.name: path for definition, path in definitions}
    names = [
        name
        for definition, _ in definitions
        for name in baselines(root, definition, author)
        if _runs_here(root / solution_file(author, definition, name), gpus[0])
    ]
    for definition, solution, status, log in _run(root, list(paths), names):
        if status != PASSED:
            message = f"the baseline {solution} does not pass a light benchmark"
            yield error(paths[definition], None, message, PASSED, f"{status}: {log}"[:500])


def _runs_here(path: Path, gpu: Gpu) -> bool:
    try:
        solution = decode(path.read_text("utf-8"))
        needed, description = solution["spec"].get("dependencies") or [], solution["description"]
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return True  # what is wrong with a file is another check's; flashinfer-bench says it too
    # Others may name versions too, of which it is not known whether they are installed.
    modules = [name for name in needed if str(name).isidentifier()]
    return not missing(*modules) and fits(str(description), gpu.capability)


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
