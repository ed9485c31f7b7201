"""Writing workloads: lines and tensors, what is kept, left out and removed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pick_toy as toy
import pytest
from click.testing import CliRunner

import fibcore
from fibcore.benchmarking.workloads.lines import is_own
from fibcore.benchmarking.workloads.report import AddWorkloadsReport
from fibcore.cli import cli
from fibcore.dataset import ProvenanceEntry, write_provenance
from fibcore.errors import DatasetError, PluginError, UsageError
from fibcore.model.kernel import Fact, Use
from fibcore.model.serving import Serving
from fibcore.model.shapes import device_bytes
from fibcore.model.tree import SourcePlace
from fibcore.ops.hookspecs import WorkloadCase

FILE = "workloads/pick/pick_w4.jsonl"
BLOBS = "blob/workloads/pick/pick_w4"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    root = tmp_path / "dataset"
    toy.write(root, toy.definition(), toy.definition("pick_w8", 8))
    return root


def add(dataset: Path, plugin: object = None, **options: Any) -> AddWorkloadsReport:
    if not {"op_type", "definition_name", "all_"} & set(options):
        options["definition_name"] = ["pick_w4"]
    return fibcore.add_workloads(dataset=dataset, registry=toy.registry(plugin), **options)


def lines(dataset: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (dataset / FILE).read_text().splitlines()]


def rows(dataset: Path) -> list[int]:
    return [line["workload"]["axes"]["rows"] for line in lines(dataset)]


def blobs(dataset: Path) -> set[str]:
    return {p.name for p in (dataset / BLOBS).iterdir()}


def snapshot(dataset: Path) -> dict[str, tuple[bytes, int]]:
    files = (p for p in dataset.rglob("*") if p.is_file())
    return {str(p): (p.read_bytes(), p.stat().st_mtime_ns) for p in files}


def test_a_line_is_a_trace_without_solution(dataset: Path) -> None:
    report = add(dataset)
    assert report.exit_code == 0
    assert report.written == (FILE,)
    assert report.workloads == {"pick_w4": 5}
    assert rows(dataset) == [1, 8, 64, 512, 4096]
    first = lines(dataset)[0]
    assert list(first) == ["definition", "workload", "solution", "evaluation"]
    assert first["definition"] == "pick_w4"
    assert first["solution"] is first["evaluation"] is None
    assert list(first["workload"]) == ["axes", "inputs", "uuid"]
    assert first["workload"]["axes"] == {"rows": 1, "len_indptr": 3}
    inputs = first["workload"]["inputs"]
    assert list(inputs) == ["table", "indptr", "scale"]
    assert inputs["table"] == {"type": "random"}
    assert inputs["scale"] == {"type": "scalar", "value": 0.5}
    assert inputs["indptr"]["type"] == "safetensors"
    assert inputs["indptr"]["tensor_key"] == "indptr"
    assert Path(inputs["indptr"]["path"]).parent == Path(BLOBS)


def test_tensors_stand_in_safetensors_files(dataset: Path) -> None:
    from safetensors.numpy import load_file

    report = add(dataset, seed=5)
    path = dataset / lines(dataset)[1]["workload"]["inputs"]["indptr"]["path"]
    found = load_file(path)["indptr"]
    assert found.dtype == np.int32
    assert found.tolist() == [0, 5, 8]
    assert report.blobs_written == 5
    assert report.blob_bytes == sum(p.stat().st_size for p in (dataset / BLOBS).iterdir())


def test_a_second_run_changes_no_byte(dataset: Path) -> None:
    add(dataset, all_=True)
    before = snapshot(dataset)
    report = add(dataset, all_=True)
    assert snapshot(dataset) == before
    assert report.written == ()
    assert report.unchanged == (FILE, "workloads/pick/pick_w8.jsonl")
    assert report.blobs_written == report.blobs_removed == 0


def test_ids_follow_from_the_content(dataset: Path, tmp_path: Path) -> None:
    add(dataset)
    other = tmp_path / "other"
    toy.write(other, toy.definition())
    add(other)
    first, second = lines(dataset), lines(other)
    assert first == second
    assert len({line["workload"]["uuid"] for line in first}) == 5
    add(other, seed=1)
    assert not {line["workload"]["uuid"] for line in first[1:]} & {
        line["workload"]["uuid"] for line in lines(other)[1:]
    }


def test_the_same_sizes_of_another_definition_are_another_workload(dataset: Path) -> None:
    random = case(scalars={"scale": 1.0}, tensors=dict)
    add(dataset, toy.Plugin(cases=lambda _: [random]), all_=True)
    (line,) = lines(dataset)
    other = json.loads((dataset / "workloads/pick/pick_w8.jsonl").read_text())
    assert other["workload"]["axes"] == line["workload"]["axes"]
    assert other["workload"]["inputs"] == line["workload"]["inputs"]
    assert other["workload"]["uuid"] != line["workload"]["uuid"]


def test_another_seed_takes_the_place_of_the_first_one(dataset: Path) -> None:
    add(dataset, seed=1)
    before = blobs(dataset)
    report = add(dataset, seed=3)
    assert rows(dataset) == [1, 8, 64, 512, 4096]
    assert report.kept == {}
    # The first case has the same offsets for both.
    assert report.blobs_removed == 4
    assert len(before & blobs(dataset)) == 1


def test_lines_of_others_stay_byte_for_byte(dataset: Path) -> None:
    add(dataset)
    own = (dataset / FILE).read_text()
    foreign = '{"definition": "pick_w4",  "workload": {"axes": {}, "inputs": {}, "uuid": "x"}}'
    edited = own.splitlines()[2].replace("0.5", "0.25")
    (dataset / FILE).write_text(foreign + "\n" + edited + "\n" + own)
    report = add(dataset)
    assert (dataset / FILE).read_text() == foreign + "\n" + edited + "\n" + own
    assert report.kept == {"pick_w4": 2}
    assert report.unchanged == (FILE,)
    assert not is_own(json.loads(edited))
    assert is_own(json.loads(own.splitlines()[2]))


def test_a_broken_file_is_left_alone_and_reported(dataset: Path) -> None:
    path = dataset / FILE
    path.parent.mkdir(parents=True)
    path.write_text('{"definition": \n')
    report = add(dataset, all_=True)
    assert path.read_text() == '{"definition": \n'
    assert report.exit_code == 1
    (problem,) = report.problems
    assert problem.where == f"{FILE} line 1"
    assert report.workloads == {"pick_w8": 5}


def test_what_is_too_large_is_left_out_and_reported(dataset: Path) -> None:
    # A row takes 8 bytes in, 8 out; the offsets 12.
    report = add(dataset, max_memory=512 * 16 + 12)
    assert rows(dataset) == [1, 8, 64, 512]
    (item,) = report.left_out
    assert (item.definition, item.label, item.bytes) == ("pick_w4", "4096 rows", 4096 * 16 + 12)
    assert report.exit_code == 0
    report = add(dataset, max_memory=512 * 16 + 11)
    assert rows(dataset) == [1, 8, 64]


def test_nothing_that_fits_leaves_no_file(dataset: Path) -> None:
    add(dataset)
    report = add(dataset, max_memory=1)
    assert not (dataset / FILE).exists()
    assert blobs(dataset) == set()
    assert report.exit_code == 1
    assert report.without == {"pick_w4": "the smallest takes 28 B, the bound is 1 B"}


def test_a_limit_chooses_from_small_to_large(dataset: Path) -> None:
    for limit, wanted in (
        (1, [64]),
        (2, [1, 4096]),
        (3, [1, 64, 4096]),
        (9, [1, 8, 64, 512, 4096]),
    ):
        add(dataset, limit=limit)
        assert rows(dataset) == wanted


def test_a_blob_that_a_trace_names_stays(dataset: Path) -> None:
    add(dataset)
    before = blobs(dataset)
    trace = dataset / "traces/pick/pick_w4.jsonl"
    trace.parent.mkdir(parents=True)
    trace.write_text(json.dumps(lines(dataset)[4]) + "\n")
    (dataset / BLOBS / "somebody_elses.safetensors").write_bytes(b"")
    add(dataset, limit=1)
    named = Path(json.loads(trace.read_text())["workload"]["inputs"]["indptr"]["path"]).name
    assert blobs(dataset) >= {named, "somebody_elses.safetensors"}
    assert len(blobs(dataset)) == 3
    assert len(before) == 5


def test_the_plugin_is_told_what_a_model_has(dataset: Path) -> None:
    place = SourcePlace("sglang/srt/models/toy.py", 3)
    facts = {"width": Fact(4, (), place), "scale": Fact(0.25, (), place)}
    uses = (Use("a", "A", place),)
    entry = ProvenanceEntry("toy", None, "Toy", Serving(), "0.5", facts, uses)
    write_provenance(dataset, toy.definition(), entry)
    plugin = toy.Plugin()
    add(dataset, plugin, all_=True)
    assert plugin.asked == [{"width": 4, "scale": 0.25}, {}]


def test_definitions_without_a_plugin_are_reported(dataset: Path) -> None:
    toy.write(dataset, toy.definition("stranger", op_type="other"))
    report = add(dataset, all_=True)
    assert report.without == {"stranger": "no plugin gives workloads of the op type other"}
    assert report.exit_code == 1
    assert report.workloads == {"pick_w4": 5, "pick_w8": 5}
    report = add(dataset, toy.Plugin(cases=lambda _: ()))
    assert report.without == {"pick_w4": "the plugin cannot tell what valid inputs are"}


def case(**changes: Any) -> WorkloadCase:
    given: dict[str, Any] = {
        "label": "8 rows",
        "axes": {"rows": 8, "len_indptr": 3},
        "scalars": {"scale": 1.0},
        "tensors": lambda: toy.indptr(8, 2),
    }
    return WorkloadCase(**{**given, **changes})


def broken() -> Any:
    raise RuntimeError("no such table")


def offsets(*numbers: float, dtype: str = "int32") -> Any:
    return lambda: {"indptr": np.array(numbers, dtype=dtype)}


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"tensors": broken}, "RuntimeError: no such table"),
        ({"tensors": offsets(0, 8)}, "indptr has the shape [2], not [3]"),
        ({"tensors": offsets(0, 2, 9)}, "the constraint rows == indptr[-1].item() does not hold"),
        ({"tensors": offsets(0, 2, 8, dtype="float32")}, "indptr is float32, the definition has"),
        ({"tensors": offsets(0, 2**40, 8, dtype="int64")}, "numbers that int32 does not have"),
        ({"tensors": lambda: {"other": np.zeros(3)}}, "the definition has no input other"),
        ({"tensors": lambda: {"indptr": [0, 2, 8]}}, "indptr is list, not a NumPy array"),
        ({"tensors": lambda: {"scale": np.zeros(3)}}, "scale has the shape [3], not None"),
        ({"axes": {"rows": 8}}, "its axes are rows; the var axes are len_indptr, rows"),
        ({"axes": {"rows": -1, "len_indptr": 3}}, "its axis rows is -1"),
        ({"axes": {"rows": True, "len_indptr": 3}}, "its axis rows is True"),
        ({"scalars": {}}, "its scalars are none; the scalar inputs are scale"),
        ({"scalars": {"scale": float("nan")}}, "not a finite number"),
        ({"tensors": None}, "not a function"),
    ],
)
def test_a_plugin_s_mistake_is_reported(dataset: Path, changes: dict[str, Any], found: str) -> None:
    report = add(dataset, toy.Plugin(cases=lambda _: [case(**changes)]))
    (problem,) = report.problems
    assert isinstance(problem, PluginError)
    assert found in (problem.found or "")
    assert "pick_w4" in (problem.where or "")
    assert not (dataset / FILE).exists()


def test_two_cases_of_one_label_are_a_mistake(dataset: Path) -> None:
    report = add(dataset, toy.Plugin(cases=lambda _: [case(), case()]))
    assert "two cases have one label" in (report.problems[0].found or "")


def test_numbers_are_rounded_to_the_definition_s_dtype(dataset: Path) -> None:
    import ml_dtypes
    from safetensors import deserialize

    def tensors() -> Any:
        return {**toy.indptr(1, 1), "table": np.array([[1.0, 1.0009765625, 1e30, -0.0]])}

    one = case(axes={"rows": 1, "len_indptr": 3}, tensors=tensors)
    report = add(dataset, toy.Plugin(cases=lambda _: [one]))
    assert report.problems == ()
    (path,) = (dataset / BLOBS).glob("table-*")
    ((name, found),) = deserialize(path.read_bytes())
    assert (name, found["dtype"], found["shape"]) == ("table", "BF16", [1, 4])
    values = np.frombuffer(found["data"], ml_dtypes.bfloat16).astype(np.float64)
    assert values[0] == values[1] == 1.0
    assert values[2] == float(np.float32(1e30).astype(ml_dtypes.bfloat16))


def test_usage_is_checked(dataset: Path, tmp_path: Path) -> None:
    for selectors in ({"all_": True, "op_type": ["pick"]}, {"op_type": [], "all_": False}):
        with pytest.raises(UsageError, match="say which definitions"):
            add(dataset, **selectors)
    with pytest.raises(UsageError, match="no such definition"):
        add(dataset, definition_name=["pick_w5"])
    for bounds in ({"max_memory": 0}, {"limit": 0}):
        with pytest.raises(UsageError, match=r"no such (size|bound)"):
            add(dataset, **bounds)
    with pytest.raises(DatasetError, match="no dataset"):
        add(tmp_path / "nowhere")


def test_memory_counts_inputs_and_outputs() -> None:
    definition = toy.definition(width=4)
    assert device_bytes(definition, {"rows": 10, "len_indptr": 3}) == 10 * 4 * 2 * 2 + 3 * 4
    packed = attrs.evolve(
        definition,
        inputs={
            **definition.inputs,
            "table": attrs.evolve(definition.inputs["table"], dtype="float4_e2m1"),
        },
    )
    assert device_bytes(packed, {"rows": 10, "len_indptr": 3}) == 20 + 80 + 12


def test_the_command(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fibcore.workspace.load_plugins", lambda **_: toy.registry())
    options = ["add-workloads", "--dataset", str(dataset)]
    chosen = [*options, "--all", "--max-memory", "1K", "--limit", "2"]
    result = CliRunner().invoke(cli, [*chosen, "--json"])
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert report["workloads"] == {"pick_w4": 2, "pick_w8": 2}
    assert report["max_memory"] == 1024
    assert rows(dataset) == [1, 8]
    result = CliRunner().invoke(cli, chosen)
    assert "left out: pick_w4, 4096 rows: 64.0 KiB" in result.stdout
    assert result.stdout.endswith(f"6 sizes over 1.0 KiB left out ({dataset})\n")
    result = CliRunner().invoke(cli, [*options, "--all", "--max-memory", "much"])
    assert result.exit_code == 2
    assert "a size such as 16GiB" in result.stderr
    assert CliRunner().invoke(cli, options).exit_code == 2
