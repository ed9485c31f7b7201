"""flashinfer-bench takes a dataset as it is: definitions, workloads and solutions.

It is another project's judgement of the format: its models load every file, its inputs are made
from the workloads, and its builder makes the solutions run.
"""

from __future__ import annotations

import importlib
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import fibcore
from fibcore.ops.registry import Registry

MODELS = ("llama-3.1-8b", "qwen3-30b-a3b", "mixtral-8x7b", "deepseek-v3")
OP_TYPES = {"gemm", "rmsnorm", "gqa_paged", "gqa_ragged", "mla_paged", "mla_ragged", "moe"}


USED = {
    "BenchmarkConfig": "bench.config",
    "normalize_result": "bench.evaluators.utils",
    "compute_error_stats": "bench.utils",
    "gen_inputs": "bench.utils",
    "load_safetensors": "bench.utils",
    "BuilderRegistry": "compile",
    "Trace": "data",
    "TraceSet": "data",
}


@pytest.fixture(scope="module")
def bench() -> SimpleNamespace:
    """What is used of flashinfer-bench."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the packages that it imports
        pytest.importorskip("flashinfer_bench", reason="flashinfer-bench is not installed")
        try:
            found = {
                name: getattr(importlib.import_module(f"flashinfer_bench.{module}"), name)
                for name, module in USED.items()
            }
        except ImportError as error:
            pytest.skip(f"flashinfer-bench cannot be imported: {error}")
    return SimpleNamespace(**found)


@pytest.fixture(scope="module")
def dataset(
    sglang: Callable[[str], Path],
    op_plugins: Registry,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The kernels of several models, with workloads and solutions."""
    root = tmp_path_factory.mktemp("flashinfer-bench") / "dataset"
    report = fibcore.extract(
        MODELS, sglang=str(sglang("0.5.23")), dataset=root, registry=op_plugins
    )
    assert report.exit_code == 0
    solutions = fibcore.add_solutions(dataset=root, all_=True, registry=op_plugins)
    assert solutions.exit_code == 0
    # bfloat16 hidden states of thousands of tokens are what takes time and disk.
    workloads = fibcore.add_workloads(
        dataset=root, all_=True, limit=3, max_memory=1500 * 2**20, registry=op_plugins
    )
    assert workloads.problems == ()
    return root


@pytest.fixture(scope="module")
def trace_set(bench: SimpleNamespace, dataset: Path) -> Any:
    return bench.TraceSet.from_path(str(dataset))


def files(dataset: Path, folder: str) -> list[Path]:
    return sorted((dataset / folder).rglob("*.json*"))


def test_every_definition_loads_and_needs_no_repair(dataset: Path, trace_set: Any) -> None:
    found = files(dataset, "definitions")
    assert {path.parent.name for path in found} >= OP_TYPES
    assert len(trace_set.definitions) == len(found) > 40
    for path in found:
        data = json.loads(path.read_text())
        model = trace_set.definitions[path.stem]
        # What their model keeps is all that stands in the file, in the same spelling.
        assert model.model_dump(mode="json", exclude_unset=True) == data


def test_every_solution_loads(dataset: Path, trace_set: Any) -> None:
    found = files(dataset, "solutions")
    loaded = [s for solutions in trace_set.solutions.values() for s in solutions]
    assert len(loaded) == len(found)
    assert {s.author for s in loaded} == {"baseline"}
    for path in found:
        data = json.loads(path.read_text())
        model = trace_set.get_solution(data["name"])
        assert model.model_dump(mode="json", exclude_unset=True) == data
    assert set(trace_set.solutions) == set(trace_set.definitions)


def test_every_workload_loads_as_it_would_be_written(
    bench: SimpleNamespace, dataset: Path, trace_set: Any
) -> None:
    uuids = []
    for path in files(dataset, "workloads"):
        for line in path.read_text().splitlines():
            trace = bench.Trace.model_validate_json(line)
            assert trace.is_workload_trace()
            assert trace.model_dump_json() == line
            uuids.append(trace.workload.uuid)
    assert len(set(uuids)) == len(uuids) == sum(map(len, trace_set.workloads.values()))


def test_their_tensors_fit(bench: SimpleNamespace, dataset: Path, trace_set: Any) -> None:
    """`load_safetensors` checks shapes and dtypes against the definition."""
    for name, traces in trace_set.workloads.items():
        definition = trace_set.definitions[name]
        for trace in traces:
            tensors = bench.load_safetensors(definition, trace.workload, dataset)
            given = {n for n, i in trace.workload.inputs.items() if i.type == "safetensors"}
            assert set(tensors) == given


def test_every_solution_builds_with_the_right_signature(
    bench: SimpleNamespace, trace_set: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The builder imports the source and counts the parameters of `run`."""
    monkeypatch.setenv("FIB_CACHE_PATH", str(tmp_path))
    registry = bench.BuilderRegistry.get_instance()
    for name, solutions in trace_set.solutions.items():
        definition = trace_set.definitions[name]
        for solution in solutions:
            runnable = registry.build(definition, solution)
            assert runnable.metadata.destination_passing_style is False


SMALL = (
    *("gemm_n_256_k_7168", "gemm_fp8_block_scale_n_2112_k_7168", "rmsnorm_h512"),
    *("gqa_paged_decode_h32_kv8_d128_ps64", "gqa_paged_prefill_causal_h32_kv8_d128_ps1"),
    *("gqa_ragged_prefill_causal_h32_kv8_d128", "mla_paged_decode_h16_ckv512_kpe64_ps64"),
    "mla_ragged_prefill_causal_h16_qk192_vo128",
)


@pytest.mark.parametrize("name", SMALL)
def test_references_run_on_their_inputs(
    bench: SimpleNamespace,
    dataset: Path,
    trace_set: Any,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """On the smallest workload; solutions that need no GPU agree as flashinfer-bench asks."""
    import torch

    monkeypatch.setenv("FIB_CACHE_PATH", str(tmp_path))
    torch.manual_seed(0)
    registry = bench.BuilderRegistry.get_instance()
    definition = trace_set.definitions[name]
    workload = trace_set.workloads[name][0].workload
    tensors = bench.load_safetensors(definition, workload, dataset)
    inputs = bench.gen_inputs(definition, workload, "cpu", tensors)
    expected = bench.normalize_result(
        definition, registry.build_reference(definition)(*inputs), "cpu"
    )
    for output in expected:
        assert torch.isfinite(output).all()  # else it is INCORRECT_NUMERICAL, right or not
    for solution in trace_set.solutions[name]:
        if "cpu" in solution.spec.target_hardware:
            runnable = registry.build(definition, solution)
            found = bench.normalize_result(definition, runnable(*inputs), "cpu")
            for one, other in zip(found, expected, strict=True):
                assert one.dtype == other.dtype
                _, _, wrong, _ = bench.compute_error_stats(one, other, bench.BenchmarkConfig())
                assert not wrong


def test_validation_agrees(dataset: Path, op_plugins: Registry) -> None:
    report = fibcore.validate(dataset, registry=op_plugins)
    # Nobody has benchmarked it; everything else that flashinfer-bench's validation wants is there.
    assert {p.message for p in report.problems} == {"no traces"}
    assert report.workloads > 100
    assert report.solutions > 60


def test_their_traces_are_left_alone(
    bench: SimpleNamespace, dataset: Path, trace_set: Any, op_plugins: Registry
) -> None:
    """A run of flashinfer-bench writes into the dataset; fibcore goes on with it as before."""
    name = "rmsnorm_h512"
    workload = trace_set.workloads[name][0].workload
    solution = trace_set.solutions[name][0].name
    evaluation = {
        "status": "PASSED",
        "environment": {"hardware": "NVIDIA H100", "libs": {}},
        "timestamp": "2026-01-01T00:00:00",
        "correctness": {},
        "performance": {"latency_ms": 1, "reference_latency_ms": 2, "speedup_factor": 2},
    }
    trace = bench.Trace(
        definition=name, workload=workload, solution=solution, evaluation=evaluation
    )
    bench.TraceSet.from_path(str(dataset)).add_traces([trace])
    path = dataset / "traces" / "rmsnorm" / f"{name}.jsonl"
    before = path.read_text()
    given: dict[str, Any] = {"definition_name": [name], "registry": op_plugins}
    assert fibcore.validate(dataset, registry=op_plugins).ok
    assert fibcore.add_workloads(dataset=dataset, limit=3, **given).written == ()
    assert fibcore.add_solutions(dataset=dataset, **given).written == ()
    assert path.read_text() == before
    assert len(bench.TraceSet.from_path(str(dataset)).traces[name]) == 1
