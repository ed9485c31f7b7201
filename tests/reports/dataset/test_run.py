"""The page of a dataset: what is on it, what is broken, and how it behaves in a real browser."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from click.testing import CliRunner

import fibcore
from fibcore.cli import cli
from fibcore.dataset import Dataset
from fibcore.dataset.inventory import read_inventory
from fibcore.errors import DatasetError
from fibcore.model.definition import Definition
from fibcore.ops.registry import Registry

if TYPE_CHECKING:
    from browser import Browser

DECODE = "gqa_paged_decode_h4_kv2_d16_ps1"
NORM = "rmsnorm_h64"
HOSTILE = "</script><script>document.title = 'taken over'</script><!-- <b>"


def evidence(definition: Definition, error: float = 2e-3) -> str:
    numbers = {
        "elements": 64,
        "outside": 0,
        "max_abs_error": error,
        "max_rel_error": 0.01,
        "cosine_similarity": 1.0,
    }
    run = {
        "reference_sha256": definition.reference_hash,
        "result": "passed",
        "device": {"type": "cuda", "name": "NVIDIA H200"},
        "ground_truths": [{"name": "flashinfer.norm", "kind": "flashinfer", "version": "0.6"}],
        "tests": {"passed": 3, "failed": 0, "skipped": 1},
        "cases": [
            {"case": "small", "result": "passed", "outputs": {"output": numbers}},
            {"case": "large", "result": "skipped", "reason": "too large for this machine"},
        ],
    }
    data = {"definition": definition.name, "op_type": definition.op_type, "runs": [run]}
    return json.dumps(data)


def trace(definition: str, batch: int, speedup: float | None, **other: Any) -> str:
    passed = speedup is not None
    data = {
        "definition": definition,
        "workload": {"axes": {"batch_size": batch}, "inputs": {}, "uuid": f"w{batch}"},
        "solution": f"baseline_{definition}",
        "evaluation": {
            "status": "PASSED" if passed else "RUNTIME_ERROR",
            "environment": {"hardware": "NVIDIA_H200"},
            "timestamp": "2025-01-01T00:00:00",
            "correctness": {"max_absolute_error": "NaN"} if passed else None,
            "performance": {
                "latency_ms": 1.0,
                "reference_latency_ms": speedup,
                "speedup_factor": speedup,
            }
            if passed
            else None,
        },
        **other,
    }
    return json.dumps(data)


def solution(definition: str, name: str | None = None) -> str:
    return json.dumps(
        {
            "name": name or f"baseline_{definition}",
            "definition": definition,
            "author": "baseline",
            "description": "calls a library",
            "spec": {"language": "python", "target_hardware": ["cuda"], "entry_point": "m.py::run"},
            "sources": [{"path": "m.py", "content": "def run(): pass"}],
        }
    )


def write(root: Path, path: str, text: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory, op_plugins: Registry) -> Path:
    """A dataset of the made-up model, with a bit of everything in it."""
    data = Path(__file__).parents[2] / "data"
    root = tmp_path_factory.mktemp("made") / "my-dataset"
    report = fibcore.extract(
        "tiny",
        config=data / "tiny_config.json",
        sglang=str(data),
        dataset=root,
        registry=op_plugins,
    )
    assert report.outcomes[DECODE] == "new"
    dataset = Dataset(root)
    definition = dataset.get(NORM)
    assert definition is not None
    write(root, f"reports/verification/{NORM}.json", evidence(definition))
    dataset.set_status(NORM, True)
    write(root, f"solutions/baseline/rmsnorm/{NORM}/baseline_{NORM}.json", solution(NORM))
    workload = json.dumps(
        {"definition": NORM, "workload": {"axes": {"batch_size": 1}, "inputs": {}, "uuid": "w1"}}
    )
    write(root, f"workloads/rmsnorm/{NORM}.jsonl", workload + "\n")
    lines = [trace(NORM, 1, 3.0), trace(NORM, 8, 12.5), trace(NORM, 64, None)]
    write(root, f"traces/rmsnorm/{NORM}.jsonl", "\n".join(lines) + "\n")
    return root


@pytest.fixture
def dataset(made_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made_once, tmp_path / "my-dataset"))


def page_of(dataset: Path) -> str:
    return (dataset / "reports/index.html").read_text(encoding="utf-8")


def test_the_page_holds_all_definitions_and_is_the_same_again(dataset: Path) -> None:
    first = fibcore.report(dataset=dataset)
    assert first.exit_code == 0
    assert first.changed
    text = page_of(dataset)
    definitions = Dataset(dataset).read().definitions
    assert first.counts["definitions"] == len(definitions)
    for definition in definitions:
        assert f'id="{definition.name}"' in text
    again = fibcore.report(dataset=dataset)
    assert not again.changed
    assert str(dataset.parent) not in text  # it can be moved, and says nothing of this machine


def test_the_counts_are_those_of_the_dataset(dataset: Path) -> None:
    counts = fibcore.report(dataset=dataset).counts
    assert counts["verified"] == 1
    assert counts["workloads"] == 1
    assert counts["solutions"] == 1
    assert counts["evaluations"] == 3
    assert counts["models"] == 1


def test_the_inventory_knows_numbers_that_are_not_finite(dataset: Path) -> None:
    holding = read_inventory(dataset).of(NORM)
    assert [e.status for e in holding.evaluations] == ["PASSED", "PASSED", "RUNTIME_ERROR"]
    error = holding.evaluations[0].max_absolute_error
    assert error is not None
    assert error != error  # NaN
    assert holding.evaluations[1].speedup == 12.5
    assert holding.evaluations[2].latency_ms is None
    assert holding.by("baseline")[0].language == "python"


BROKEN = {
    "definitions/rmsnorm/broken.json": ("{", "not JSON"),
    "reports/provenance/rmsnorm_h64.json": ("[]", "provenance"),
    "reports/verification/rmsnorm_h64.json": ('{"definition": 1}', "evidence"),
    "solutions/a/rmsnorm/rmsnorm_h64/s.json": ('{"name": "s"}', "not a solution"),
    "solutions/z/rmsnorm/rmsnorm_h64/twice.json": (solution(NORM), "has this name"),
    "workloads/rmsnorm/x.jsonl": ('\n{"definition": "rmsnorm_h64"}\n', "not a workload"),
    "traces/rmsnorm/x.jsonl": (trace(NORM, 1, 2.0, evaluation=None), "not a trace"),
    "traces/rmsnorm/y.jsonl": ("\udcff", "not UTF-8"),
}


@pytest.mark.parametrize("path", BROKEN)
def test_a_broken_file_is_listed_and_all_else_is_there(dataset: Path, path: str) -> None:
    text, message = BROKEN[path]
    file = dataset / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    report = fibcore.report(dataset=dataset)
    assert report.exit_code == 1
    (problem,) = report.problems
    assert path in str(problem.where)
    assert message in problem.message
    assert path in page_of(dataset)
    assert report.counts["definitions"] == len(Dataset(dataset).read().definitions) > 5


def test_a_broken_line_is_named_by_its_number(dataset: Path) -> None:
    path = "traces/rmsnorm/x.jsonl"
    write(dataset, path, trace(NORM, 1, 2.0) + "\n\n" + trace(NORM, 1, 2.0, solution=None) + "\n")
    (problem,) = fibcore.report(dataset=dataset).problems
    assert problem.where == f"{path} line 3 $.solution"


def test_traces_of_a_definition_that_is_not_there_are_named(dataset: Path) -> None:
    write(dataset, "traces/rmsnorm/x.jsonl", trace("rmsnorm_h1", 1, 2.0))
    report = fibcore.report(dataset=dataset)
    assert report.strangers == ("rmsnorm_h1",)
    assert report.exit_code == 0
    assert "rmsnorm_h1" in page_of(dataset)


def test_what_workloads_cost_is_on_the_page(dataset: Path) -> None:
    fibcore.report(dataset=dataset)
    text = page_of(dataset)
    assert "What the workloads cost" in text
    # One row and the weight of 64 bfloat16 numbers are read: 0.000256 MB.
    assert r"<td class=\"number\">0.000256<\/td><td class=\"number\">0.000128<\/td>" in text
    assert "H100 (ms)" in text
    assert "impossible" not in text


def test_a_time_below_the_floor_is_marked_and_is_no_record(dataset: Path) -> None:
    # 100 million rows take 25.6 GB, an H200 5.3 ms; the trace says 1 ms.
    write(dataset, "traces/rmsnorm/x.jsonl", trace(NORM, 10**8, 500.0))
    report = fibcore.report(dataset=dataset)
    assert [m.place for m in report.impossible] == ["traces/rmsnorm/x.jsonl:1"]
    assert report.exit_code == 0
    text = page_of(dataset)
    assert "impossible time" in text
    assert "12.5x" in text
    assert "500x</td>" not in text
    result = CliRunner().invoke(cli, ["report", "--dataset", str(dataset)], prog_name="fibcore")
    assert f"impossible: {NORM}, baseline_{NORM} (batch_size 100000000): 1 ms" in result.stderr


def test_a_folder_without_definitions_is_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="not a dataset folder"):
        fibcore.report(dataset=tmp_path)


def test_a_dataset_without_any_definition_has_no_page(tmp_path: Path) -> None:
    (tmp_path / "definitions").mkdir()
    (tmp_path / "reports").mkdir()
    before = tmp_path / "reports" / "index.html"
    before.write_text("of before")
    with pytest.raises(DatasetError, match="there are no definitions"):
        fibcore.report(dataset=tmp_path)
    assert before.read_text() == "of before"


def test_the_command(dataset: Path, tmp_path: Path) -> None:
    output = tmp_path / "deep" / "page.html"
    arguments = ["report", "--dataset", str(dataset), "--output", str(output)]
    result = CliRunner().invoke(cli, [*arguments, "--json"], prog_name="fibcore")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["output"] == str(output)
    assert "written" in result.stderr
    assert output.exists()
    assert not (dataset / "reports/index.html").exists()
    write(dataset, "definitions/rmsnorm/broken.json", "{")
    result = CliRunner().invoke(cli, arguments, prog_name="fibcore")
    assert result.exit_code == 1
    assert "definitions/rmsnorm/broken.json" in result.stderr


def test_a_folder_in_the_way_of_the_page(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="a folder is in the way"):
        fibcore.report(dataset=dataset, output=tmp_path)


# In a real browser.

NAMES = "#table-definitions .item:not([hidden]) button.toggle"


@pytest.fixture
def shown(browser: Browser, dataset: Path) -> Browser:
    hostile = Dataset(dataset).get("rmsnorm_h64")
    assert hostile is not None
    hostile = attrs.evolve(hostile, name="rmsnorm_hostile", description=HOSTILE)
    write(dataset, "definitions/rmsnorm/rmsnorm_hostile.json", hostile.to_json())
    fibcore.report(dataset=dataset)
    browser.look(width=1280, height=900)
    browser.open(dataset / "reports/index.html")
    return browser


def test_nothing_is_cut_off_at_any_width(shown: Browser, dataset: Path) -> None:
    assert shown.layout_faults(dataset / "reports/index.html") == []


def test_search_and_filters_narrow_together(shown: Browser) -> None:
    everything = shown.shown(NAMES)
    shown.choose("[data-key=op-type]", "gqa_paged")
    paged = shown.shown(NAMES)
    assert 0 < len(paged) < len(everything)
    assert all(name.startswith("gqa_paged") for name in paged)
    shown.choose("[data-key=stage]", "decode")
    shown.type("#definitions input[type=search]", "ps1")
    assert shown.shown(NAMES) == [DECODE]
    shown.type("#definitions input[type=search]", "config:num_key_value_heads")
    assert DECODE in shown.shown(NAMES)
    shown.find("#definitions .controls .reset").click()
    assert shown.shown(NAMES) == everything
    shown.choose("[data-key=status]", "verified")
    assert shown.shown(NAMES) == ["rmsnorm_h64", "rmsnorm_hostile"]
    assert shown.log() == []


def test_opening_a_definition_shows_all_of_it(shown: Browser) -> None:
    shown.find(f"[id='{NORM}'] button.toggle").click()
    detail = f"[id='{NORM}'] div.detail"
    text = shown.find(detail).text
    for words in ("batch_size", "config:hidden_size", "tiny.py", "NVIDIA H200", "calls a library"):
        assert words in text
    keyword = shown.find(f"{detail} pre.code .kn")
    assert keyword.text == "import"
    colour = "return getComputedStyle(arguments[0]).color"
    assert shown.run(colour, keyword) != shown.run(colour, shown.find(f"{detail} pre.code"))
    shown.run("document.querySelectorAll(arguments[0]).forEach(d => d.open = true)", "details")
    text = shown.find(detail).text
    for words in ("0.002", "too large for this machine", "RUNTIME_ERROR", "12.5"):
        assert words in text
    assert shown.log() == []


def test_a_link_to_a_definition_opens_it(shown: Browser, dataset: Path) -> None:
    shown.open(dataset / "reports/index.html", f"#{DECODE}?definitions.q=gqa")
    assert shown.shown(f"[id='{DECODE}'] pre.code")
    assert "rmsnorm_h64" not in shown.shown(NAMES)
    box = shown.run("return document.getElementById(arguments[0]).getBoundingClientRect()", DECODE)
    assert 0 <= box["top"] < 900


def test_sorting_by_error_and_speed(shown: Browser) -> None:
    shown.find("th[data-key=speedup] button").click()
    assert shown.shown(NAMES)[0] == NORM
    assert shown.find("th[data-key=speedup]").get_attribute("aria-sort") == "ascending"
    cells = shown.shown(f"[id='{NORM}'] tr.summary td.number")
    assert cells == ["0.002", "12.5x"]


def test_a_cell_of_the_matrix_leads_to_its_definitions(shown: Browser) -> None:
    shown.find("#table-models td a").click()
    shown.wait("location.hash.includes('definitions.model=tiny')")
    assert 0 < len(shown.shown(NAMES)) < 10
    assert len(set(shown.shown("#table-definitions .item:not([hidden]) td:nth-child(2)"))) == 1


def test_a_script_in_a_description_is_text(shown: Browser) -> None:
    shown.find("#rmsnorm_hostile button.toggle").click()
    assert shown.find("#rmsnorm_hostile div.detail p").text == HOSTILE
    assert shown.run("return document.title") == "Kernel definitions of my-dataset"
    assert shown.log() == []


def test_the_keyboard_alone_is_enough(shown: Browser) -> None:
    shown.find(f"[id='{NORM}'] button.toggle").send_keys("\ue015")  # arrow down
    assert shown.run("return document.activeElement.textContent") == "rmsnorm_hostile"
    shown.run("document.activeElement.blur()")
    shown.find("body").send_keys("/")
    assert shown.run("return document.activeElement.type") == "search"
