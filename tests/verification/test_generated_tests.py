"""Generated tests, run where fibcore cannot be imported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import scale_toy as toy

from fibcore.testing.shares import thorough
from fibcore.verification import add_reference_tests

torch = pytest.importorskip("torch", reason="torch is not installed")
GPU = torch.cuda.is_available()


AGREES = "test_agrees_with_ground_truth"
CPU = ("--device", "cpu")


def generate(dataset: Path, *definitions: Any, plugin: Any = None) -> None:
    toy.write(dataset, *definitions)
    registry = toy.registry(plugin) if plugin is not None else toy.registry()
    report = add_reference_tests(dataset=dataset, all_=True, registry=registry)
    assert report.exit_code == 0, report


def section(output: str, test: str) -> str:
    """What pytest printed about a test that failed."""
    return output.partition(f" {test} ")[2].partition("\n____")[0]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return tmp_path / "dataset"


def test_right_passes_and_every_kind_of_wrong_fails(dataset: Path) -> None:
    toy.write_sglang(dataset.parent / "sglang")
    wrong = {
        "scale_off": "x * FACTOR + (x > 0.5) * 0.01",
        "scale_inplace": "x.mul_(FACTOR)",
        "scale_half": "(x * FACTOR).half()",
        "scale_flat": "(x * FACTOR).reshape(-1)",
        "scale_nan": "x * FACTOR / (x - x)",
        "scale_raises": "missing_function(x)",
    }
    generate(
        dataset,
        toy.definition("scale_right"),
        *(toy.definition(name, body=body) for name, body in wrong.items()),
        toy.definition("scale_one", reference="def run(x):\n    return x * 2.0\n"),
    )
    toy.write(dataset, toy.definition("scale_later"))
    folder = dataset / "definitions" / "scale"
    (folder / "scale_broken.json").write_text('{\n  "name": oops\n}')
    result = toy.run_pytest(dataset, *CPU, "--evidence", "evidence")
    assert result.code == 1
    outcome = result.outcomes
    for rows in ("rows_1", "rows_3"):
        assert outcome[f"{AGREES}[scale_right-{rows}]"] == "PASSED"
        assert (
            "(agrees with sglang Scale.forward_native)"
            in (result.words[f"{AGREES}[scale_right-{rows}]"])
        )
        assert outcome[f"{AGREES}[scale_later-{rows}]"] == "SKIPPED"
        for name in (*wrong, "scale_one"):
            assert outcome[f"{AGREES}[{name}-{rows}]"] == "FAILED", name
    assert "fibcore add-reference-tests --definition-name scale_later" in result.output
    assert outcome["test_definition_loads[scale_broken]"] == "FAILED"
    assert "scale_broken.json: line 2 column 11: not JSON" in result.output
    assert not any("scale_broken-" in test for test in outcome)
    assert outcome["test_property[scale_later-rows_1-zero_stays_zero]"] == "PASSED"
    assert outcome["test_property[scale_right-rows_1-not_in_the_dark]"] == "PASSED"
    off = section(result.output, f"{AGREES}[scale_off-rows_3]")
    for said in (
        "scale_off, case rows_3: differs from the ground truth sglang Scale.forward_native",
        "outside tolerance: ",
        "absolute error: max 0.01, mean ",
        "relative error: max ",
        "cosine similarity: 0.9999",
        "worst elements:",
        ": got ",
    ):
        assert said in off
    # What the conftest does inside is not what people have to read.
    assert "conftest.py" not in off
    for name, said in (
        ("scale_inplace", "the reference changed its inputs: x"),
        ("scale_half", "y has dtype torch.float16, expected float32"),
        ("scale_flat", "y has shape [12], expected [n, k]"),
        ("scale_nan", "NaN or infinite on one side only"),
        ("scale_raises", "missing_function"),
        ("scale_one", "the reference returned 1 outputs, expected 2: y, negative"),
    ):
        assert said in section(result.output, f"{AGREES}[{name}-rows_3]"), name
    # The reference's own line is shown, though it never was in a file.
    assert "> y = missing_function(x)" in " ".join(
        section(result.output, f"{AGREES}[scale_raises-rows_3]").split()
    )
    evidence = dataset / "evidence"
    assert not (evidence / "scale_broken.json").exists()
    assert toy.evidence(evidence, "scale_off")["runs"][0]["result"] == "failed"
    assert toy.evidence(evidence, "scale_later")["runs"][0]["result"] == "skipped"
    (run,) = toy.evidence(evidence, "scale_right")["runs"]
    assert run["result"] == "passed"
    assert run["reference_sha256"] == toy.definition("scale_right").reference_hash
    assert run["ground_truths"][0]["version"] == "sglang 0.9.9"
    assert list(run["ground_truths"][0]["files"]) == ["srt/layers/scale.py"]
    assert [case["sizes"] for case in run["cases"]] == [{"n": 1}, {"n": 3}]
    assert run["cases"][0]["not_compared"] == ["negative"]
    assert run["tests"] == {"passed": 7, "failed": 0, "skipped": 0}
    assert str(dataset) not in json.dumps(run)


def test_nothing_passes_where_no_ground_truth_is(dataset: Path) -> None:
    generate(dataset, toy.definition("scale_off", body="x * 3.0"))
    result = toy.run_pytest(dataset, *CPU, "--evidence", "evidence")
    assert result.code == 0
    for rows in ("rows_1", "rows_3"):
        assert result.outcomes[f"{AGREES}[scale_off-{rows}]"] == "SKIPPED"
    assert "flashinfer.scale: needs CUDA: " in result.output
    assert "sglang Scale.forward_native: SGLang's source was not found" in result.output
    (run,) = toy.evidence(dataset / "evidence", "scale_off")["runs"]
    assert run["result"] == "skipped"
    assert run["ground_truths"] == []


@pytest.mark.skipif(GPU, reason="this machine has a GPU")
def test_cuda_without_gpu_skips_everything_with_the_reason(dataset: Path) -> None:
    toy.write_sglang(dataset.parent / "sglang")
    generate(dataset, toy.definition())
    result = toy.run_pytest(dataset, "--device", "cuda")
    assert result.code == 0
    outcomes = {test.partition("[")[0]: word for test, word in result.outcomes.items()}
    assert outcomes == {
        "test_definition_loads": "PASSED",
        AGREES: "SKIPPED",
        "test_property": "SKIPPED",
    }
    assert "--device cuda, but torch finds no CUDA GPU on this machine" in result.output


def test_other_sglang_version_is_a_skip_and_the_next_ground_truth_serves(dataset: Path) -> None:
    other = toy.SGLANG_FILE.replace("forward_native", "forward_other")
    sglang = toy.write_sglang(dataset.parent / "elsewhere", other, "2.0")
    truths = {
        "scale_a": (toy.SGLANG_TRUTH,),
        "scale_b": (toy.SGLANG_TRUTH, toy.TORCH_TRUTH),
        "scale_c": (),
    }
    generate(dataset, *(toy.definition(n) for n in truths), plugin=toy.ToyPlugin(truths))
    result = toy.run_pytest(dataset, *CPU, "--sglang", str(sglang), "--evidence", "evidence")
    assert result.code == 0
    assert result.outcomes[f"{AGREES}[scale_a-rows_1]"] == "SKIPPED"
    assert "SGLang 2.0: srt/layers/scale.py: 0 functions Scale.forward_native" in result.output
    assert "PASSED (agrees with torch in float64)" in result.words[f"{AGREES}[scale_b-rows_1]"]
    assert "there is no ground truth for scale_c" in result.output
    (run,) = toy.evidence(dataset / "evidence", "scale_b")["runs"]
    assert run["ground_truths"][0]["kind"] == "torch"
    assert "sglang Scale.forward_native" in run["cases"][0]["unavailable"]
    assert "negative" in run["cases"][0]["outputs"]


@thorough
def test_sglang_by_variable_and_by_configuration(dataset: Path) -> None:
    sglang = toy.write_sglang(dataset.parent / "elsewhere" / "fork")
    generate(dataset, toy.definition())
    test = f"{AGREES}[scale_k4-rows_1]"
    result = toy.run_pytest(dataset, *CPU, FIBCORE_SGLANG=str(sglang))
    assert result.outcomes[test] == "PASSED"
    # repos_config.json lies beside the dataset; its paths begin one folder above.
    config = {"repositories": {"sglang": {"path": f"{dataset.parent.name}/elsewhere/fork"}}}
    (dataset.parent / "repos_config.json").write_text(json.dumps(config))
    result = toy.run_pytest(dataset, *CPU)
    assert result.outcomes[test] == "PASSED"
    result = toy.run_pytest(dataset, *CPU, "--sglang", str(dataset))
    assert result.code == 4
    assert "no SGLang source there" in result.output


@thorough
def test_xdist_says_the_same(dataset: Path) -> None:
    pytest.importorskip("xdist", reason="pytest-xdist is not installed")
    toy.write_sglang(dataset.parent / "sglang")
    generate(dataset, toy.definition("scale_a"), toy.definition("scale_b", body="x * 3.0"))
    alone = toy.run_pytest(dataset, *CPU, "--evidence", "alone")
    spread = toy.run_pytest(dataset, *CPU, "--evidence", "spread", "-n", "2")
    assert alone.code == spread.code == 1
    assert "9 passed" not in spread.output
    for name in ("scale_a", "scale_b"):
        assert toy.evidence(dataset / "alone", name) == toy.evidence(dataset / "spread", name)


TEMPLATE_WITH_COMPARE = (
    toy.TEMPLATE
    + '''
# The toy rounds to hundredths.
TOLERANCES = {"float32": (0.0, 0.02)}


def compare(definition, case, name, actual, expected, check):
    """Signs do not matter here."""
    assert definition["name"].startswith("scale")
    check(actual.abs(), expected.abs())
'''
)


def test_template_has_the_last_word_on_equality(dataset: Path) -> None:
    truths = (toy.SGLANG_TRUTH,)
    toy.write_sglang(dataset.parent / "sglang")
    generate(
        dataset,
        toy.definition("scale_sign", body="x * -FACTOR"),
        toy.definition("scale_near", body="x * FACTOR + 0.015"),
        toy.definition("scale_far", body="x * FACTOR + 0.03"),
        plugin=toy.ToyPlugin(truths, TEMPLATE_WITH_COMPARE),
    )
    outcomes = toy.run_pytest(dataset, *CPU).outcomes
    found = {n: outcomes[f"{AGREES}[scale_{n}-rows_3]"] for n in ("sign", "near", "far")}
    assert found == {"sign": "PASSED", "near": "PASSED", "far": "FAILED"}
    strict = toy.run_pytest(dataset, *CPU, "--tolerance", "1e-4", "--definition", "scale_near")
    assert strict.outcomes[f"{AGREES}[scale_near-rows_3]"] == "FAILED"
    assert not any("scale_far" in test for test in strict.outcomes)
    unknown = toy.run_pytest(dataset, *CPU, "--definition", "scale_naer")
    assert unknown.code == 4
    assert "no definition scale_naer" in unknown.output


BAD_TEMPLATE = """
import torch


def cases(definition):
    if definition["name"] == "scale_nocase":
        raise ValueError("no cases today")
    return [{"id": "one"}]


def make_inputs(definition, case, device, generator):
    case["spoilt"] = definition["name"] = "by the template"
    shape = (1, 5) if "shape" in case["id"] or definition["reference"] == "" else (1, 4)
    key = "z" if torch.rand((), generator=generator) < 0 else "x"
    return {key: torch.zeros(shape, dtype=torch.float64)}


def returns_a_boolean(run, definition, case, device, generator):
    assert "spoilt" not in case
    assert definition["name"] == "scale_a"
    return True


def skips(run, definition, case, device, generator):
    import pytest

    pytest.skip("not today")


PROPERTIES = [returns_a_boolean, skips]
"""


def test_faults_of_the_template_fail(dataset: Path) -> None:
    plugin = toy.ToyPlugin((toy.TORCH_TRUTH,), BAD_TEMPLATE)
    generate(dataset, toy.definition("scale_a"), toy.definition("scale_nocase"), plugin=plugin)
    result = toy.run_pytest(dataset, *CPU, "--evidence", "evidence")
    assert result.outcomes == {
        "test_definition_loads[scale_a]": "PASSED",
        "test_definition_loads[scale_nocase]": "FAILED",
        f"{AGREES}[scale_a-one]": "FAILED",
        "test_property[scale_a-one-returns_a_boolean]": "FAILED",
        "test_property[scale_a-one-skips]": "SKIPPED",
    }
    assert "no cases today" in result.output
    assert "make_inputs of the template: x has dtype torch.float64" in result.output
    assert "returned True; a property asserts and returns nothing" in result.output


@thorough
def test_two_datasets_at_once_and_no_argument_at_all(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    toy.write_sglang(tmp_path / "sglang")
    generate(one, toy.definition("scale_a"))
    generate(two, toy.definition("scale_b"))
    # pytest's own default import mode takes no two modules of one name.
    options = (*CPU, "--import-mode=importlib", "--evidence", str(tmp_path / "evidence"))
    both = toy.run_pytest(one, str(two / "tests" / "references"), *options)
    assert both.code == 0, both.output
    assert both.outcomes[f"{AGREES}[scale_a-rows_1]"] == "PASSED"
    assert both.outcomes[f"{AGREES}[scale_b-rows_1]"] == "PASSED"
    for name in ("scale_a", "scale_b"):
        assert toy.evidence(tmp_path / "evidence", name)["runs"][0]["result"] == "passed"
    # Called from the dataset's folder, pytest finds this conftest too late to add its options.
    late = toy.run_pytest(one, above=True)
    assert late.code == 0
    assert late.outcomes[f"{AGREES}[scale_a-rows_1]"] == "PASSED"


def test_evidence_is_added_to_and_cut_short_runs_do_not_count(dataset: Path) -> None:
    toy.write_sglang(dataset.parent / "sglang")
    generate(dataset, toy.definition())
    options = (*CPU, "--evidence", "evidence")
    toy.run_pytest(dataset, *options)
    whole = toy.evidence(dataset / "evidence")
    gpu = {**whole["runs"][0], "device": {"type": "cuda", "name": "GPU"}}
    whole["runs"].append(gpu)
    (dataset / "evidence" / "scale_k4.json").write_text(json.dumps(whole))
    toy.run_pytest(dataset, *options, "-k", "rows_1")
    assert toy.evidence(dataset / "evidence") == whole
    toy.write(dataset, toy.definition(body="x + x"))
    toy.run_pytest(dataset, *options, "-k", "rows_1")
    (run,) = toy.evidence(dataset / "evidence")["runs"]
    assert run["result"] == "incomplete"
