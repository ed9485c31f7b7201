"""The three kinds of tests, each made from a stand-in for pytest's request."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
from fibcore.verification.emitted.checks import (  # noqa: E402 - needs torch
    Agreement,
    DefinitionFile,
    PropertyCheck,
)
from fibcore.verification.emitted.subjects import Subject  # noqa: E402 - needs torch

TRUTH = {
    "name": "torch",
    "kind": "torch",
    "entry": "entry",
    "device": "any",
    "min_capability": None,
    "max_capability": None,
    "packages": (),
}
CASE = {"id": "rows_3", "n": 3}


def make_inputs(_: Any, case: Any, __: Any, generator: Any) -> dict[str, Any]:
    return {"x": torch.rand(case["n"], generator=generator) + 1.0}


def subject(body: str = "x * 2.0", truths: Any = None, **names: Any) -> Subject:
    """The subject `scale_a`: y = 2 * x, with a ground truth that says so."""
    module: Any = ModuleType("test_scale")
    module.OP_TYPE = "scale"
    module.GROUND_TRUTHS = {"torch": TRUTH} if truths is None else truths
    keys = tuple(module.GROUND_TRUTHS)
    module.DEFINITIONS = {"scale_a": {"ground_truths": keys, "tolerance": None}}
    module.entry = lambda x: x * 2.0
    module.make_inputs = make_inputs
    for name, value in names.items():
        setattr(module, name, value)
    spec = {"shape": ["n"], "dtype": "float32"}
    definition = {
        "name": "scale_a",
        "axes": {"n": {"type": "var"}},
        "inputs": {"x": spec},
        "outputs": {"y": spec},
        "reference": f"def run(x):\n    return {body}\n",
    }
    return Subject(Path("scale_a.json"), module, definition, None, (CASE,))


class Request:
    """Stands in for pytest's: what is tested, and options by name."""

    def __init__(self, *param: Any, **options: Any) -> None:
        self.param = param
        self.node = SimpleNamespace(user_properties=[])
        values = {"device": "cpu", **options}
        self.config = SimpleNamespace(
            getoption=lambda name, default=None: values.get(name.strip("-"), default)
        )


def agreement(made: Subject, **options: Any) -> Any:
    request: Any = Request(made, CASE, **options)
    return Agreement(request)


def test_agrees() -> None:
    test = agreement(subject())
    test.check()
    assert test.record["sizes"] == {"n": 3}
    assert test.record["ground_truth"]["name"] == "torch"
    assert test.record["outputs"]["y"]["outside"] == 0
    assert test.record["unavailable"] == {}
    assert ("ground_truth", "torch") in test.node.user_properties


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("x * 3.0", "scale_a, case rows_3: differs from the ground truth torch\noutput y:\n"),
        ("x.mul_(2.0)", "the reference changed its inputs: x"),
        ("(x * 2.0).half()", "y has dtype torch.float16, expected float32"),
        ("(x * 2.0)[:2]", "y has shape [2], expected [n] with n = 3"),
        ("(x, x)", "the reference returned 2 outputs, expected 1: y"),
    ],
)
def test_wrong_reference(body: str, said: str) -> None:
    with pytest.raises(AssertionError, match=re.escape(said)):
        agreement(subject(body)).check()


def test_figures_of_a_wrong_reference_are_kept() -> None:
    test = agreement(subject("x * 3.0"))
    with pytest.raises(AssertionError):
        test.check()
    assert test.record["outputs"]["y"]["outside"] == 3


def test_option_is_the_tolerance() -> None:
    test = agreement(subject("x * 2.1"), tolerance=0.1)
    test.check()
    assert test.record["tolerance"] == 0.1


def test_tolerance_of_the_definition() -> None:
    made = subject("x * 2.1")
    made.module.DEFINITIONS["scale_a"]["tolerance"] = 0.1
    test = agreement(made)
    test.check()
    assert test.record["tolerance"] == 0.1
    with pytest.raises(AssertionError):
        agreement(made, tolerance=0.0).check()


def test_ground_truth_may_change_its_inputs() -> None:
    agreement(subject(entry=lambda x: x.mul_(2.0))).check()


def test_next_ground_truth_serves() -> None:
    def declines(**_: Any) -> Any:
        raise NotImplementedError("not today")

    gpu = {**TRUTH, "name": "gpu", "device": "cuda"}
    first = {**TRUTH, "name": "first", "entry": "declines"}
    made = subject(truths={"gpu": gpu, "first": first, "torch": TRUTH}, declines=declines)
    test = agreement(made)
    test.check()
    assert list(test.record["unavailable"]) == ["gpu", "first"]
    assert test.record["unavailable"]["first"] == "not today"
    assert test.record["ground_truth"]["name"] == "torch"


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (subject(truths={}), "there is no ground truth for scale_a"),
        (subject(DEFINITIONS={}), "fibcore add-reference-tests --definition-name scale_a"),
        (subject(truths={"t": {**TRUTH, "packages": ("no_such_package",)}}), "torch: the package"),
    ],
)
def test_skips_with_a_reason(made: Subject, said: str) -> None:
    with pytest.raises(pytest.skip.Exception, match=said):
        agreement(made).check()


def test_ground_truth_without_outputs_is_no_agreement() -> None:
    with pytest.raises(AssertionError, match="gave no output: nothing was compared"):
        agreement(subject(entry=lambda **_: [None])).check()


def test_template_may_compare() -> None:
    def compare(*arguments: Any) -> None:
        *_, actual, expected, check = arguments
        check(actual.abs(), expected.abs())

    agreement(subject("x * -2.0", compare=compare)).check()


def test_template_may_say_what_roundings_make() -> None:
    def compare(*arguments: Any) -> None:
        *_, actual, expected, check = arguments
        check(actual, expected, (expected.abs() * 0.2).clamp(max=100.0))

    test = agreement(subject("x * 2.3", compare=compare))
    test.check()
    (figures,) = test.record["outputs"].values()
    assert figures["outside"] == 0
    assert figures["atol"] > 0.1
    with pytest.raises(AssertionError, match="outside tolerance"):
        agreement(subject("x * 2.5", compare=compare)).check()
    with pytest.raises(AssertionError, match="outside tolerance"):  # who asks for less gets less
        agreement(subject("x * 2.3", compare=compare), tolerance=1e-3).check()


def test_template_may_compare_with_the_inputs() -> None:
    given = []

    def compare(*arguments: Any, inputs: dict[str, torch.Tensor]) -> None:
        given.append((len(arguments), inputs))
        inputs["x"].zero_()

    test = agreement(subject("x * -2.0", compare=compare))
    test.check()
    ((count, inputs),) = given
    assert count == 6
    assert list(inputs) == ["x"]


def test_inputs_of_the_template_are_checked() -> None:
    made = subject(make_inputs=lambda *_: {"z": torch.zeros(3)})
    with pytest.raises(AssertionError, match=r"make_inputs of the template gives \['z'\]"):
        agreement(made).check()


def test_seed_depends_on_definition_and_case() -> None:
    test = agreement(subject())
    draws = [torch.rand(1, generator=test.generator({"id": i})).item() for i in ("a", "a", "b")]
    assert draws[0] == draws[1] != draws[2]


def test_no_gpu_is_a_skip_but_not_for_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(pytest.skip.Exception, match="torch finds no CUDA GPU"):
        agreement(subject(), device="cuda")
    request: Any = Request(subject(), device="cuda")
    DefinitionFile(request, "definition").check()


def test_file() -> None:
    broken = Subject(Path("scale_a.json"), subject().module, None, "it is broken")
    request: Any = Request(broken)
    with pytest.raises(AssertionError, match="it is broken"):
        DefinitionFile(request, "definition").check()
    raising: Any = Request(subject())
    raising.param[0].definition["reference"] = "import no_such_module\ndef run(x): ..."
    with pytest.raises(ImportError):
        DefinitionFile(raising, "definition").check()


def test_property() -> None:
    def doubles(run: Any, _: Any, case: Any, __: Any, generator: Any) -> None:
        x = torch.rand(case["n"], generator=generator)
        assert torch.equal(run(x), x * 2.0)

    right: Any = Request(subject(), CASE, doubles)
    test = PropertyCheck(right)
    test.check()
    assert test.record["property"] == "doubles"
    wrong: Any = Request(subject("x"), CASE, doubles)
    with pytest.raises(AssertionError):
        PropertyCheck(wrong).check()


def test_property_asserts_and_returns_nothing() -> None:
    def says_so(*_: Any) -> bool:
        return True

    request: Any = Request(subject(), CASE, says_so)
    with pytest.raises(AssertionError, match="says_so returned True"):
        PropertyCheck(request).check()
