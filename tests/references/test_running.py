"""References in a process of their own: what is checked there, and what that process survives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fibcore.errors import FibcoreError
from fibcore.model.definition import Definition, const, scalar, tensor, var
from fibcore.references.running import Execution, ReferenceRunner

REFERENCE = '''\
import torch

SIZE = 6


def run(x, indptr, scale):
    """Rows times a scale."""
    assert x.shape[1] == SIZE
    assert indptr.shape[0] == x.shape[0] + 1
    rows = x.float() * scale
    return rows.to(x.dtype), rows.sum(-1)
'''

TEMPLATE = """\
import itertools

import torch


def cases(definition):
    return [{"id": f"rows_{n}", "rows": n} for n in (9, 0, 4, 70)]


def make_inputs(definition, case, device, generator):
    rows = case["rows"]
    x = torch.randn(rows, definition["axes"]["size"]["value"], generator=generator)
    return {
        "x": x.to(device, torch.bfloat16),
        "indptr": torch.tensor(list(range(rows)) + [rows], dtype=torch.int32, device=device),
        "scale": 2.0,
    }


def sum_is_linear(run, definition, case, device, generator):
    inputs = make_inputs(definition, case, device, generator)
    once = run(*inputs.values())[1]
    inputs["scale"] = 4.0
    torch.testing.assert_close(run(*inputs.values())[1], 2 * once)


PROPERTIES = [sum_is_linear]
"""


def example(reference: str = REFERENCE, **changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "name": "scaled_h6",
        "op_type": "scaled",
        "axes": {"n": var(), "len": var(), "size": const(6)},
        "constraints": ("len == n + 1", "n == indptr[-1].item()"),
        "inputs": {
            "x": tensor("n size", "bfloat16"),
            "indptr": tensor("len", "int32"),
            "scale": scalar("float32"),
        },
        "outputs": {"y": tensor("n size", "bfloat16"), "total": tensor("n", "float32")},
        "reference": reference,
    }
    return Definition(**{**values, **changes}).to_dict()


@pytest.fixture(scope="module")
def runner() -> Iterator[ReferenceRunner]:
    pytest.importorskip("torch", reason="references need torch to run")
    with ReferenceRunner(timeout_s=120) as runner:
        yield runner


def one(execution: Execution) -> tuple[str, str]:
    """The check and the words of the only problem (of the first of several alike)."""
    assert execution.problems
    assert len({p.check for p in execution.problems}) == 1, execution.problems
    return execution.problems[0].check, str(execution.problems[0])


def test_a_good_reference_runs_on_the_smallest_cases(runner: ReferenceRunner) -> None:
    found = runner.run(example(), TEMPLATE, deep=True, max_cases=3)
    assert found == Execution((), ("rows_0", "rows_4", "rows_9"))
    assert runner.run(example(), TEMPLATE, max_cases=1).cases == ("rows_0",)


WRONG_REFERENCES = {
    "another number of outputs": (("return rows.to(x.dtype), ", "return "), "number of outputs"),
    "outputs by name": (
        ("return rows.to(x.dtype), rows.sum(-1)", "return {'y': rows}"),
        "number of outputs",
    ),
    "another dtype": (("rows.to(x.dtype)", "rows"), "y has another dtype"),
    "another shape": (("rows.sum(-1)", "rows.sum(-1, keepdim=True)"), "total has another shape"),
    "another length": (("rows.sum(-1)", "rows.sum(0)"), "expected [n] = [4]; found [6]"),
    "no tensor": (("rows.sum(-1)", "None"), "total is no tensor"),
    "an exception": (("rows.sum(-1)", "rows.summe()"), "AttributeError"),
    "an end of the process": (("rows.sum(-1)", "exit(3)"), "SystemExit"),
    "a failed assertion": (("== SIZE", "== SIZE + 1"), "reference line 8 in run"),
}


@pytest.mark.parametrize("case", WRONG_REFERENCES)
def test_outputs_are_held_against_the_definition(runner: ReferenceRunner, case: str) -> None:
    (old, new), message = WRONG_REFERENCES[case]
    assert old in REFERENCE
    found = runner.run(example(REFERENCE.replace(old, new)), TEMPLATE.replace("0, 4", "4"))
    check, text = one(found)
    assert check == "outputs"
    assert message in text
    assert found.cases == ("rows_4", "rows_9")


UNLOADABLE = {
    "fibcore": ("import torch", "import fibcore", "may not import fibcore"),
    "another package": ("import torch", "import pytest", "may not import pytest"),
    "a module inside run": ("rows = ", "import os; rows = ", "may not import os"),
    "a relative module": ("import torch", "from . import torch", "may not import"),
    "an error at the top": ("SIZE = 6", "SIZE = 6 // 0", "reference line 3"),
}


@pytest.mark.parametrize("case", UNLOADABLE)
def test_references_can_import_torch_math_and_numpy_alone(
    runner: ReferenceRunner, case: str
) -> None:
    old, new, message = UNLOADABLE[case]
    assert message in one(runner.run(example(REFERENCE.replace(old, new)), TEMPLATE))[1]


def test_even_templates_cannot_reach_fibcore(runner: ReferenceRunner) -> None:
    source = TEMPLATE + "\nimport importlib\nimportlib.import_module('fibcore')\n"
    check, text = one(runner.run(example(), source))
    assert check == "template"
    assert "emitted code must not import fibcore" in text


WRONG_TEMPLATES = {
    "inputs in another order": (("return {\n", 'return {\n        "scale": 2.0,\n'), "inputs"),
    "another dtype": (("torch.bfloat16", "torch.float16"), "inputs"),
    "another size": (('["value"]', '["value"] + 1'), "inputs"),
    "a broken constraint": (("+ [rows]", "+ [rows + 1]"), "inputs"),
    "no seed": (("generator=generator", "generator=None"), "inputs"),
    "one id twice": (('f"rows_{n}"', '"rows"'), "template"),
    "a case that JSON changes": (('"rows": n', '"rows": n, "shape": (1, 2)'), "template"),
    "cases that are none": (("return [{", "return [*{"), "template"),
    "no property": (("PROPERTIES = [sum_is_linear]", "PROPERTIES = None"), "template"),
    "a package": (("import itertools", "import pytest"), "template"),
    "a property that fails": (("2 * once", "3 * once + 1"), "property sum_is_linear"),
}


@pytest.mark.parametrize("case", WRONG_TEMPLATES)
def test_templates_are_checked_too(runner: ReferenceRunner, case: str) -> None:
    (old, new), check = WRONG_TEMPLATES[case]
    assert old in TEMPLATE
    source = TEMPLATE.replace(old, new).replace("(9, 0, 4, 70)", "(4,)")
    if case == "one id twice":
        source = source.replace("(4,)", "(4, 5)")
    assert one(runner.run(example(), source, deep=True))[0] == check


def test_a_template_without_case(runner: ReferenceRunner) -> None:
    source = TEMPLATE.replace("(9, 0, 4, 70)", "()")
    assert runner.run(example(), source) == Execution((), ())
    assert "no case" in one(runner.run(example(), source, need_cases=True))[1]


def test_a_reference_has_to_refuse_other_sizes(runner: ReferenceRunner) -> None:
    reference = REFERENCE.replace("    assert x.shape[1] == SIZE\n", "")
    assert runner.run(example(reference), TEMPLATE).problems == ()
    check, text = one(runner.run(example(reference), TEMPLATE, deep=True))
    assert check == "wrong shapes"
    assert "size" in text


def test_a_reference_may_not_change_its_inputs(runner: ReferenceRunner) -> None:
    reference = REFERENCE.replace("    rows =", "    x.zero_()\n    rows =")
    check, text = one(runner.run(example(reference), TEMPLATE.replace("9, 0, ", ""), deep=True))
    assert check == "inputs kept"
    assert "input x" in text


def test_eight_bit_floats_and_nan(runner: ReferenceRunner) -> None:
    reference = "def run(x):\n    assert x.shape[1] == 6\n    return x.float()\n"
    source = (
        TEMPLATE.split("def make_inputs")[0]
        + "def make_inputs(definition, case, device, generator):\n"
        + "    x = torch.full((case['rows'], 6), float('nan')).to(torch.float8_e4m3fn)\n"
        + "    return {'x': x}\n\n\nPROPERTIES = []\n"
    )
    definition = example(
        reference,
        constraints=(),
        axes={"n": var(), "size": const(6)},
        inputs={"x": tensor("n size", "float8_e4m3fn")},
        outputs={"y": tensor("n size", "float32")},
    )
    assert runner.run(definition, source, deep=True).problems == ()


@pytest.mark.parametrize(("factor", "right"), [(2, True), (3, False)])
def test_a_constraint_on_an_axis_of_outputs_alone_waits_for_them(
    runner: ReferenceRunner, factor: int, right: bool
) -> None:
    definition = example(
        REFERENCE.replace("rows.to(x.dtype)", "rows[:, : SIZE // 2].to(x.dtype)"),
        axes={"n": var(), "len": var(), "size": const(6), "half": var()},
        constraints=("n == indptr[-1].item()", f"size == {factor} * half"),
        outputs={"y": tensor("n half", "bfloat16"), "total": tensor("n", "float32")},
    )
    found = runner.run(definition, TEMPLATE, max_cases=1)
    assert [problem.check for problem in found.problems] == ["outputs"] * (not right)


def test_what_a_reference_prints_is_no_answer(runner: ReferenceRunner) -> None:
    reference = REFERENCE.replace("    rows =", "    print('{}')\n    rows =")
    assert runner.run(example(reference), TEMPLATE).problems == ()


def test_a_reference_that_does_not_end_is_ended_and_the_next_one_runs() -> None:
    pytest.importorskip("torch", reason="references need torch to run")
    endless = REFERENCE.replace("    rows =", "    while True: pass\n    rows =")
    dying = REFERENCE.replace("    rows =", "    torch.serialization.os._exit(7)\n    rows =")
    with ReferenceRunner(timeout_s=3) as runner:
        check, text = one(runner.run(example(endless), TEMPLATE))
        assert (check, "longer than 3 s" in text) == ("process", True)
        check, text = one(runner.run(example(dying), TEMPLATE))
        assert (check, "exit status 7" in text) == ("process", True)
        assert runner.run(example(), TEMPLATE).problems == ()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read in /proc")
def test_a_reference_that_takes_too_much_memory_is_ended() -> None:
    pytest.importorskip("torch", reason="references need torch to run")
    big = REFERENCE.replace("    rows =", "    hoard = torch.ones(1 << 29)\n    rows =")
    with ReferenceRunner(memory_bytes=1 << 30) as runner:
        check, text = one(runner.run(example(big), TEMPLATE))
        assert check == "process"
        assert "over the limit of 1.0 GiB" in text


def test_without_torch_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", {}.get)
    with pytest.raises(FibcoreError, match="need torch"):
        ReferenceRunner()
