"""Problems of SOL-ExecBench: flashinfer-bench's models read what they share with its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import fibcore
from fibcore.ops.registry import Registry


@pytest.fixture
def folder(op_plugins: Registry, tiny_source: Path, tiny_config: Path, tmp_path: Path) -> Path:
    pytest.importorskip("safetensors")
    report = fibcore.export(
        "sol-execbench",
        "tiny",
        config=tiny_config,
        sglang=tiny_source,
        registry=op_plugins,
        gpu=("B200", "H100"),
        op_type=("rmsnorm", "gqa_paged"),
        output=tmp_path / "out",
    )
    assert not report.left_out
    return tmp_path / "out"


def test_a_problem_has_workloads_with_tolerances_and_a_solution(folder: Path) -> None:
    problem = folder / "rmsnorm" / "rmsnorm_h64"
    lines = (problem / "workload.jsonl").read_text(encoding="utf-8").splitlines()
    first = json.loads(lines[0])
    assert first["tolerance"] == {
        "max_rtol": 0.01,
        "max_atol": 0.008,
        "required_matched_ratio": 1.0,
    }
    assert len({json.loads(line)["uuid"] for line in lines}) == len(lines)
    solution = json.loads((problem / "solution.json").read_text(encoding="utf-8"))
    assert solution["spec"]["target_hardware"] == ["B200", "H100"]
    assert solution["spec"]["languages"] == ["pytorch"]
    assert "def run(" in solution["sources"][0]["content"]


def test_tensors_that_have_to_be_just_so_are_beside_it(folder: Path) -> None:
    from safetensors.numpy import load_file

    for file in folder.glob("gqa_paged/*/workload.jsonl"):
        for line in file.read_text(encoding="utf-8").splitlines():
            workload = json.loads(line)
            given = workload["inputs"]["kv_indptr"]
            tensor = load_file(folder / given["path"])[given["tensor_key"]]
            assert tensor.shape == (workload["axes"]["len_indptr"],)


def test_flashinfer_bench_reads_definitions_and_workloads(folder: Path) -> None:
    data = pytest.importorskip("flashinfer_bench.data")
    files = list(folder.rglob("definition.json"))
    assert len(files) > 4
    for file in files:
        definition = data.Definition.model_validate_json(file.read_text(encoding="utf-8"))
        for line in file.with_name("workload.jsonl").read_text(encoding="utf-8").splitlines():
            given = json.loads(line)
            del given["tolerance"]
            workload = data.Workload.model_validate(given)
            assert set(workload.axes) == set(definition.var_axes)
