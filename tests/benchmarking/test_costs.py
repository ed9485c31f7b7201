"""What workloads cost, the floors of GPUs, and measured times that cannot be right."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pick_toy as toy
import pytest
from click.testing import CliRunner

import fibcore
from fibcore.benchmarking.costs import GPUS, Gpu, floor, gpu_called, gpu_of_device
from fibcore.benchmarking.costs.inputs import IntegerInputs
from fibcore.cli import cli
from fibcore.errors import DatasetError, UsageError
from fibcore.model.cost import Cost
from fibcore.ops.hookspecs import hookimpl

H100, H200, B200 = map(gpu_called, ("h100", "H200", "B200"))
TRACES = "traces/pick.jsonl"


@pytest.mark.parametrize(
    ("device", "gpu"),
    [
        ("NVIDIA H100 80GB HBM3", H100),
        ("NVIDIA_H100_80GB_HBM3", H100),
        ("NVIDIA H200", H200),
        ("NVIDIA_H200", H200),
        ("NVIDIA B200", B200),
        ("NVIDIA H100 PCIe", None),
        ("NVIDIA H100 NVL", None),
        ("NVIDIA H200 NVL", None),
        ("AMD Instinct MI300X", gpu_called("MI300")),
        ("AMD Instinct MI325X", None),
        ("NVIDIA GB200", None),
        ("NVIDIA GeForce RTX 4090", None),
    ],
)
def test_devices_are_known_by_their_names(device: str, gpu: Gpu | None) -> None:
    assert gpu_of_device(device) == gpu


@pytest.mark.parametrize("gpu", GPUS, ids=lambda gpu: gpu.name)
def test_rates_are_those_of_dense_matrices(gpu: Gpu) -> None:
    """Half of the width is twice the rate; what the table lacks has the highest."""
    assert gpu.source
    assert gpu.rate("bfloat16") == gpu.rate("float16")
    for narrow, wide in (("bfloat16", "float32"), ("float8_e4m3fn", "bfloat16")):
        assert gpu.rate(narrow) / gpu.rate(wide) == pytest.approx(2, rel=1e-3)
    assert gpu.rate("bool") == max(gpu.flops.values())
    assert 1e15 < gpu.rate("float8_e4m3fn") < 5e15
    assert 3e12 < gpu.bandwidth < 1e13


def test_the_rates_of_an_h100_follow_from_its_units() -> None:
    # 132 multiprocessors with 4 tensor cores, each 512 products and sums a cycle, at 1,830 MHz.
    assert H100.rate("float16") == pytest.approx(132 * 4 * 512 * 2 * 1830e6, rel=1e-3)
    # Five stacks with 1024 wires each, 5.23 Gbit a second.
    assert H100.bandwidth == pytest.approx(5 * 1024 * 5.23e9 / 8, rel=1e-2)
    assert H100.bandwidth * H100.memory_headroom == pytest.approx(5 * 1024 * 2 * 2619e6 / 8)
    assert H100.rate("float16") * H100.clock_headroom == pytest.approx(
        132 * 4 * 512 * 2 * 1980e6, rel=1e-3
    )


def test_an_h200_is_an_h100_with_more_memory() -> None:
    assert H200.flops == H100.flops
    assert H200.clock_headroom == H100.clock_headroom
    # What CUDA reports of a device: 6016 wires, 3201 MHz, twice a cycle.
    assert H200.bandwidth * H200.memory_headroom == pytest.approx(6016 * 2 * 3201e6 / 8)
    assert H200.bandwidth / H100.bandwidth == pytest.approx(1.43, abs=0.01)  # as its sheet says


def test_eight_b200_have_what_the_sheets_of_eight_say() -> None:
    # PFLOP/s with sparsity, which is twice the rate of dense matrices; TB/s of DGX B200.
    sheet = {"float4_e2m1": 144, "float8_e4m3fn": 72, "int8": 72, "bfloat16": 36, "float32": 18}
    for dtype, rate in sheet.items():
        assert 8 * 2 * B200.rate(dtype) == rate * 1e15, dtype
    assert 8 * B200.bandwidth == 64e12


@pytest.mark.parametrize("gpu", GPUS, ids=lambda gpu: gpu.name)
def test_devices_run_a_little_faster_than_sheets_say(gpu: Gpu) -> None:
    assert 1 < gpu.clock_headroom <= 1.1
    assert 1 < gpu.memory_headroom <= 1.1
    for word in ("rates:", "memory bandwidth:", "last cache", "highest clocks"):
        assert word in gpu.source.replace("rates and last cache:", "rates: last cache")


def test_a_floor_is_the_larger_of_compute_and_memory() -> None:
    # 4096 x 4096 x 4096 in float16: 137 GFLOP, 100 MB.
    found = floor(Cost(2 * 4096**3, "float16", 2 * 2 * 4096**2, 2 * 4096**2), H100)
    assert found.compute == pytest.approx(138.9e-6, rel=1e-3)
    assert found.memory == pytest.approx(30.05e-6, rel=1e-3)
    assert (found.seconds, found.bound) == (found.compute, "compute")
    assert found.least == pytest.approx(found.compute * 1830 / 1980)
    assert found.allows(129e-6)
    assert not found.allows(127e-6)


def test_what_a_cache_holds_need_not_be_read_again() -> None:
    # One row times 4096 x 4096: 33.6 MB, which the cache of an H100 holds.
    one = Cost(2 * 4096**2, "float16", 2 * 4096**2 + 8192, 8192)
    found = floor(one, H100)
    assert (found.seconds, found.bound) == (found.memory, "memory")
    assert found.memory == pytest.approx(10.02e-6, rel=1e-3)
    assert found.least == pytest.approx(found.compute * 1830 / 1980)
    assert found.least < 1e-7
    # 335 MB less 52 MB have to come from memory.
    many = Cost(0, "float32", 335_000_000, 0)
    assert floor(many, H100).seconds == pytest.approx(100e-6)
    moved = 2 * 2619e6 * 5120 / 8
    assert floor(many, H100).least == pytest.approx((335_000_000 - 50 * 2**20) / moved)


def test_what_is_assumed_decides_nothing() -> None:
    certain = Cost(0, "bfloat16", 10, 0)
    assumed = Cost(10**12, "bfloat16", 10**9, 0, "all is well", certain)
    assert floor(assumed, H100).seconds == pytest.approx(1011e-6, rel=1e-3)
    assert floor(assumed, H100).least == 0


class Counting(toy.Plugin):
    """Reads the table once for each entry of indptr's last."""

    @hookimpl
    def fibcore_cost(self, axes: dict[str, int], values: dict[str, list[int]]) -> Cost:
        rows = axes["rows"]
        if "indptr" not in values:
            least = Cost(0, "float32", 0, rows)
            return Cost(10**9, "float32", 10**9, rows, "offsets are anything", least)
        return Cost(10**9 * values["indptr"][-1], "float32", 10**9, rows)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    root = tmp_path / "dataset"
    toy.write(root, toy.definition(), toy.definition("pick_w8", 8))
    fibcore.add_workloads(dataset=root, registry=toy.registry(), definition_name="pick_w4")
    return root


def lines(dataset: Path) -> list[dict[str, Any]]:
    text = (dataset / "workloads/pick/pick_w4.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def trace(dataset: Path, *times: tuple[str, float | None], **changed: Any) -> None:
    """Traces of the first workload on devices, in milliseconds."""
    first = lines(dataset)[0]
    made = [
        {
            "definition": "pick_w4",
            "workload": {**first["workload"], **changed},
            "solution": "fast__pick_w4",
            "evaluation": {
                "status": "PASSED" if ms is not None else "RUNTIME_ERROR",
                "environment": {"hardware": device},
                "performance": None if ms is None else {"latency_ms": ms},
            },
        }
        for device, ms in times
    ]
    (dataset / TRACES).parent.mkdir(exist_ok=True)
    (dataset / TRACES).write_text("".join(json.dumps(line) + "\n" for line in made))


def count(dataset: Path, **options: Any) -> Any:
    return fibcore.cost(dataset, registry=toy.registry(Counting()), **options)


def test_workloads_are_counted_with_their_offsets(dataset: Path) -> None:
    report = count(dataset, gpu=["h100", "B200"])
    assert [one.axes["rows"] for one in report.workloads] == [1, 8, 64, 512, 4096]
    assert [one.uuid for one in report.workloads] == [
        line["workload"]["uuid"] for line in lines(dataset)
    ]
    for one in report.workloads:
        assert one.cost.assumes == ""
        assert one.cost.flops == 10**9 * one.axes["rows"]
        assert list(one.floors) == ["H100", "B200"]
        assert one.floors["H100"] == floor(one.cost, H100)
    assert list(report.without) == ["pick_w8"]
    assert report.exit_code == 0


def test_times_below_the_floor_are_impossible(dataset: Path) -> None:
    needs = (10**9 + 1 - H100.cache) / H100.bandwidth * 1000
    trace(
        dataset,
        ("NVIDIA H100 80GB HBM3", needs * 1.01),
        ("NVIDIA H100 80GB HBM3", needs * 0.99),
        ("NVIDIA H200", needs * 0.99),
        ("a toaster", needs * 0.01),
        ("NVIDIA B200", None),
    )
    report = count(dataset)
    assert [(m.gpu, m.impossible) for m in report.measured] == [
        *(("H100", False), ("H100", True), ("H200", False), (None, False)),
    ]
    assert [m.place for m in report.impossible] == [f"{TRACES}:2"]
    assert report.measured[0].share == pytest.approx(1 / (needs * 1.01) * 1e12 / 3.35e12, rel=1e-3)
    assert report.measured[3].share is None
    assert report.exit_code == 1
    data = report.to_dict()
    assert [m["impossible"] for m in data["measured"]] == [False, True, False, False]
    assert data["workloads"][0]["floors"]["H100"]["bound"] == "memory"
    json.dumps(data)


def test_tensors_that_are_not_there_leave_an_assumption(dataset: Path) -> None:
    gone = {"type": "safetensors", "path": "blob/gone.safetensors", "tensor_key": "indptr"}
    trace(dataset, ("NVIDIA H100 80GB HBM3", 1e-3), inputs={"indptr": gone})
    (measured,) = count(dataset).measured
    assert measured.cost.assumes == "offsets are anything"
    assert not measured.impossible  # nothing but the outputs is certain


@pytest.mark.parametrize("size", [None, -1, 10**200])
def test_sizes_that_are_none_are_a_problem(dataset: Path, size: int | None) -> None:
    axes = {"rows": 3} | ({} if size is None else {"len_indptr": size})
    trace(dataset, ("NVIDIA H100 80GB HBM3", 1.0), axes=axes)
    report = count(dataset)
    assert report.measured == ()
    assert "a size of len_indptr" in str(report.problems[0])
    assert TRACES in str(report.problems[0])


def test_a_call_can_name_sizes(dataset: Path) -> None:
    report = count(dataset, axes={"rows": 7, "len_indptr": 2}, definition_name="pick_w8")
    (one,) = report.workloads
    assert (one.definition, one.uuid, one.cost.bytes_written) == ("pick_w8", "", 7)
    for axes in ({"rows": 7}, {"rows": 7, "len_indptr": -1}, {"rows": 7, "len_indptr": 2, "w": 8}):
        with pytest.raises(UsageError, match="a size of at least 0 of rows, len_indptr"):
            count(dataset, axes=axes)


def test_wrong_usage(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="H200"):
        count(dataset, gpu="H20")
    with pytest.raises(UsageError, match="pick_w4"):
        count(dataset, definition_name="pick_w44")
    with pytest.raises(DatasetError):
        count(tmp_path / "nowhere")


def test_tensors_are_read_without_numpy(dataset: Path) -> None:
    definition = toy.definition()
    inputs = lines(dataset)[2]["workload"]["inputs"]
    assert list(IntegerInputs(dataset).of(definition, inputs)["indptr"])[-1] == 64
    path = dataset / inputs["indptr"]["path"]
    whole = path.read_bytes()
    for broken in (b"", whole[:5], whole[:-4], b"\xff" * 64, whole.replace(b"I32", b"F32")):
        path.write_bytes(broken)
        assert IntegerInputs(dataset).of(definition, inputs) == {}
    outside = {"indptr": {**inputs["indptr"], "path": "../indptr.safetensors"}}
    assert IntegerInputs(dataset).of(definition, outside) == {}


def test_the_command_prints_what_is_impossible(dataset: Path) -> None:
    trace(dataset, ("NVIDIA H100 80GB HBM3", 1e-9))
    given = ["cost", str(dataset), "--gpu", "H100"]
    # Without the toy's plugin shapes alone are known: its outputs are certain, and tiny.
    done = CliRunner().invoke(cli, given)
    assert done.exit_code == 0, done.output
    assert "~ if every input is read whole; operations are not counted" in done.output
    assert "5 workloads, 1 measured times, 0 of them impossible" in done.output
    done = CliRunner().invoke(
        cli,
        [*given, "--definition-name", "pick_w4", "--axes", "rows=3,len_indptr=4", "--json", "-q"],
    )
    assert done.exit_code == 0, done.output
    (one,) = json.loads(done.stdout)["workloads"]
    assert one["axes"] == {"rows": 3, "len_indptr": 4}
    for wrong in (["--axes", "rows"], ["--axes", "rows=x"], ["--gpu", "H20"]):
        assert CliRunner().invoke(cli, [*given, *wrong]).exit_code == 2


def test_counting_loads_no_numpy(dataset: Path) -> None:
    code = (
        "import fibcore, sys\n"
        f"assert len(fibcore.cost({str(dataset)!r}).workloads) == 5\n"
        "assert not {'numpy', 'torch'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 - the line above
