"""Ground truths as solutions: what is written, what is left out, what is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pick_toy as toy
import pytest
from click.testing import CliRunner

import fibcore
from fibcore.benchmarking.solutions import AddSolutionsReport
from fibcore.benchmarking.solutions.render import state_of
from fibcore.cli import cli
from fibcore.dataset.needs import fits
from fibcore.dataset.seals import State
from fibcore.errors import UsageError
from fibcore.ops.hookspecs import GroundTruth

TORCH = "solutions/baseline/pick/pick_w4/torch_pick__pick_w4.json"
FLASHINFER = "solutions/baseline/pick/pick_w4/flashinfer_pick__pick_w4.json"
REFERENCE = "reference__pick_w4"
NAMES = ("flashinfer_pick__pick_w4", "torch_pick__pick_w4")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    root = tmp_path / "dataset"
    toy.write(root, toy.definition(), toy.definition("pick_w8", 8))
    return root


def add(dataset: Path, truths: Any = None, **options: Any) -> AddSolutionsReport:
    if not {"op_type", "definition_name", "all_"} & set(options):
        options["definition_name"] = ["pick_w4"]
    registry = toy.registry(toy.Plugin(truths=truths))
    return fibcore.add_solutions(dataset=dataset, registry=registry, **options)


def solution(dataset: Path, path: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((dataset / path).read_text())
    return found


def run_of(dataset: Path, path: str) -> Any:
    namespace: dict[str, Any] = {}
    exec(solution(dataset, path)["sources"][0]["content"], namespace)  # noqa: S102 - our own file
    return namespace["run"]


def test_a_solution_is_the_ground_truth_and_a_run(dataset: Path) -> None:
    report = add(dataset)
    assert report.exit_code == 0
    assert report.solutions == {"pick_w4": NAMES}
    assert report.written == (FLASHINFER, TORCH)
    found = solution(dataset, FLASHINFER)
    assert list(found) == ["name", "definition", "author", "spec", "sources", "description"]
    assert (found["name"], found["definition"]) == (NAMES[0], "pick_w4")
    assert found["author"] == "baseline"
    assert found["spec"] == {
        "language": "python",
        "target_hardware": ["cuda"],
        "entry_point": "main.py::run",
        "dependencies": ["torch", "flashinfer"],
        "destination_passing_style": False,
    }
    ((source),) = found["sources"]
    assert source["path"] == "main.py"
    assert source["content"].startswith(toy.FLASHINFER.rstrip())
    assert "def run(table, indptr, scale):\n" in source["content"]
    assert "Needs compute capability 9.0 to 10.3, flashinfer." in found["description"]
    assert solution(dataset, TORCH)["spec"]["target_hardware"] == ["cpu", "cuda"]


def test_run_gives_outputs_their_dtype(dataset: Path) -> None:
    torch = pytest.importorskip("torch", reason="solutions run with torch")
    add(dataset)
    run = run_of(dataset, TORCH)
    table = torch.randn(3, 4).to(torch.bfloat16)
    out = run(table, torch.tensor([0, 1, 3]), 2.0)
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, table * 2)


def test_run_of_several_outputs_returns_them_in_order(dataset: Path) -> None:
    torch = pytest.importorskip("torch", reason="solutions run with torch")
    definition = toy.definition("pick_two")
    outputs = {
        **definition.outputs,
        "rows_used": attrs.evolve(definition.outputs["out"], dtype="int32"),
    }
    toy.write(dataset, attrs.evolve(definition, outputs=outputs))
    source = "def two(table, indptr, scale):\n    return table, table + 1\n"
    add(dataset, [GroundTruth("two", "torch", "two", source)], definition_name=["pick_two"])
    run = run_of(dataset, "solutions/baseline/pick/pick_two/two__pick_two.json")
    first, second = run(torch.ones(2, 4), torch.tensor([0, 1, 2]), 1.0)
    assert (first.dtype, second.dtype) == (torch.bfloat16, torch.int32)
    assert second.eq(2).all()


def test_a_second_run_changes_no_byte(dataset: Path) -> None:
    add(dataset, all_=True)
    before = {p: p.stat().st_mtime_ns for p in (dataset / "solutions").rglob("*.json")}
    report = add(dataset, all_=True)
    assert report.written == ()
    assert len(report.unchanged) == len(before) == 4
    assert {p: p.stat().st_mtime_ns for p in before} == before


def test_what_becomes_no_solution_is_said(dataset: Path) -> None:
    report = add(dataset)
    assert list(report.left_out["pick_w4"]) == ["sglang Pick.forward"]
    report = add(dataset, capability=(8, 9))
    assert report.solutions == {"pick_w4": NAMES[1:]}
    assert "9.0 or higher, not 8.9" in report.left_out["pick_w4"]["flashinfer.pick"]
    report = add(dataset, capability=(12, 0))
    assert "10.3 or lower, not 12.0" in report.left_out["pick_w4"]["flashinfer.pick"]
    assert add(dataset, capability=(10, 0)).solutions == {"pick_w4": NAMES}
    truth = GroundTruth("torch rows", "torch", "torch_pick", toy.TRUTH, solution=False)
    report = add(dataset, [truth])
    assert report.left_out["pick_w4"] == {"torch rows": "its plugin gives it for tests alone"}
    assert report.solutions == {"pick_w4": (REFERENCE,)}
    assert add(dataset, []).without == ("pick_w4",)


def test_where_no_ground_truth_can_be_a_solution_the_reference_is(dataset: Path) -> None:
    pytest.importorskip("torch", reason="references import torch")
    path = f"solutions/baseline/pick/pick_w4/{REFERENCE}.json"
    truth = GroundTruth("torch rows", "torch", "torch_pick", toy.TRUTH, solution=False)
    report = add(dataset, [truth])
    assert (report.written, report.without, report.exit_code) == ((path,), (), 0)
    found = solution(dataset, path)
    assert found["spec"]["target_hardware"] == ["cpu", "cuda"]
    assert found["sources"][0]["content"] == toy.definition().reference
    assert callable(run_of(dataset, path))
    assert add(dataset, [truth]).unchanged == (path,)


@pytest.mark.parametrize(
    ("low", "high", "fitting"),
    [
        (None, None, [(8, 0), (9, 0), (12, 0)]),
        ((9, 0), None, [(9, 0), (12, 0)]),
        (None, (9, 0), [(8, 0), (9, 0)]),
        ((9, 0), (9, 0), [(9, 0)]),
        ((8, 9), (10, 3), [(9, 0)]),
    ],
)
def test_a_solution_says_which_gpus_it_fits(
    dataset: Path, low: Any, high: Any, fitting: list[tuple[int, int]]
) -> None:
    truth = GroundTruth(
        *("torch rows", "torch", "torch_pick", toy.TRUTH),
        device="cuda",
        min_capability=low,
        max_capability=high,
    )
    add(dataset, [truth])
    description = solution(dataset, TORCH)["description"]
    assert [c for c in ((8, 0), (9, 0), (12, 0)) if fits(description, c)] == fitting


def test_edited_files_are_kept(dataset: Path) -> None:
    add(dataset)
    generated = (dataset / TORCH).read_text()
    assert state_of(generated) is State.GENERATED
    edited = generated.replace("scale", "factor")
    assert state_of(edited) is State.EDITED
    for text, reason in ((edited, "edited"), ("{}", "not generated"), ("[", "not generated")):
        (dataset / TORCH).write_text(text)
        report = add(dataset)
        assert (dataset / TORCH).read_text() == text
        (refusal,) = report.refused
        assert refusal.path == TORCH
        assert reason in refusal.reason
        assert report.exit_code == 1
    report = add(dataset, force=True)
    assert report.written == (TORCH,)
    assert (dataset / TORCH).read_text() == generated


def test_what_an_older_version_wrote_is_replaced(dataset: Path) -> None:
    truth = GroundTruth("torch rows", "torch", "torch_pick", toy.TRUTH.replace("double", "float"))
    add(dataset, [truth])
    report = add(dataset)
    assert TORCH in report.written
    assert report.refused == ()


def test_a_plugin_s_mistake_is_reported(dataset: Path) -> None:
    own_run = GroundTruth("own", "torch", "own", "def own():\n    pass\n\n\ndef run():\n    pass\n")
    usual = GroundTruth("torch rows", "torch", "torch_pick", toy.TRUTH)
    again = attrs.evolve(usual, name="again")
    report = add(dataset, [own_run, usual, again])
    assert [p.message for p in report.problems] == [
        *("a ground truth defines run itself", "two ground truths of a definition have one entry")
    ]
    assert report.solutions == {"pick_w4": NAMES[1:]}
    assert report.exit_code == 1


def test_usage_is_checked(dataset: Path) -> None:
    with pytest.raises(UsageError, match="say which definitions"):
        add(dataset, all_=True, op_type=["pick"])
    with pytest.raises(UsageError, match="no such op type"):
        add(dataset, op_type=["peck"])


def test_the_command(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fibcore.workspace.load_plugins", lambda **_: toy.registry())
    options = ["add-solutions", "--dataset", str(dataset), "--all"]
    result = CliRunner().invoke(cli, [*options, "--capability", "8.9", "--json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["solutions"]["pick_w4"] == list(NAMES[1:])
    result = CliRunner().invoke(cli, [*options, "-v"])
    assert "left out: pick_w4: sglang Pick.forward: it reads SGLang's source" in result.stdout
    assert result.stdout.endswith(f"4 solutions of 2 definitions ({dataset})\n")
    for wrong in ("9", "9.x", "nine"):
        result = CliRunner().invoke(cli, [*options, "--capability", wrong])
        assert result.exit_code == 2
        assert "a compute capability such as 9.0" in result.stderr


def test_another_author(dataset: Path) -> None:
    report = add(dataset, author="me")
    path = TORCH.replace("baseline", "me")
    assert path in report.written
    assert solution(dataset, path)["author"] == "me"
    for wrong in ("", "..", "a/b"):
        with pytest.raises(UsageError, match="author"):
            add(dataset, author=wrong)
