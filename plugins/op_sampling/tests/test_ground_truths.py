"""Ground truths of sampling: which there are, and that the references agree with them."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

import attrs
import pytest

import fibcore_op_sampling as plugin
from fibcore.plugin import Definition, tensor
from fibcore.testing.templates import Template, load_run

torch = pytest.importorskip("torch")

NATIVE = "sglang top_k_top_p_min_p_sampling_from_probs_torch"
ROWS = "torch, a row at a time"
EXPECTED = {
    "top_k_sampling_from_probs": ["top_k_sampling_from_probs", NATIVE, ROWS],
    "top_p_sampling_from_probs": ["top_p_sampling_from_probs", NATIVE, ROWS],
    "top_k_top_p_sampling_from_probs": ["top_k_top_p_sampling_from_probs", ROWS],
    "top_k_top_p_sampling_from_probs_joint": [
        "top_k_top_p_sampling_from_probs (joint)",
        NATIVE,
        ROWS,
    ],
    "min_p_sampling": ["min_p_sampling_from_probs", NATIVE, ROWS],
    "sampling_from_probs": ["sampling_from_probs", "sglang sampling_from_probs_torch", ROWS],
    "top_k_renorm_probs": ["top_k_renorm_probs", ROWS],
    "top_p_renorm_probs": ["top_p_renorm_probs", "sglang top_p_normalize_probs_torch", ROWS],
    "softmax": ["softmax", "torch.softmax in float64"],
}

Make = Callable[..., Definition]


def test_ground_truths_in_order_of_preference(definition: Make, stem: str) -> None:
    first, *others = plugin.fibcore_ground_truths(definition(stem)) or ()
    kernel, *rest = EXPECTED[stem]
    assert (first.name, first.kind) == (f"flashinfer.sampling.{kernel}", "flashinfer")
    assert (first.device, first.packages) == ("cuda", ("flashinfer",))
    assert [truth.name for truth in others] == rest
    assert all(truth.device == "any" and truth.solution for truth in others)


def test_all_of_them_live_in_one_module(definition: Make) -> None:
    top: dict[str, str] = {}
    for stem in EXPECTED:
        for truth in plugin.fibcore_ground_truths(definition(stem)) or ():
            for node in ast.parse(truth.source).body:
                if isinstance(node, ast.FunctionDef):
                    assert node.name == truth.entry
                    assert top.setdefault(node.name, truth.source) == truth.source
                elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                    assert top.setdefault(node.targets[0].id, truth.source) == truth.source


def test_no_ground_truths_for_other_functions(definition: Make) -> None:
    made = definition("top_k_sampling_from_probs")
    assert plugin.fibcore_ground_truths(attrs.evolve(made, op_type="gemm")) == ()
    inputs = {**made.inputs, "indices": tensor("batch_size", "int32")}
    other = attrs.evolve(
        made, inputs=inputs, reference="def run(probs, top_k, indices):\n    pass\n"
    )
    assert plugin.fibcore_ground_truths(other) == ()


@pytest.mark.parametrize("kind", ["sglang", "torch"])
def test_references_agree(
    definition: Make, template: Template, run_truth: Any, stem: str, kind: str
) -> None:
    made = definition(stem)
    truths = plugin.fibcore_ground_truths(made) or ()
    if kind not in {truth.kind for truth in truths}:
        pytest.skip("SGLang has no such function")
    (output,) = made.outputs
    for case in template.cases(made):
        inputs = template.inputs(made, {**case, "batch_size": case["batch_size"] or 2048})
        expected = run_truth(made, kind, {n: v.clone() for n, v in inputs.items()})
        actual = load_run(made.reference)(*inputs.values())
        assert expected.dtype == actual.dtype
        template.module.compare(made.to_dict(), case, output, actual, expected, close, inputs)


def close(actual: Any, expected: Any) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


def test_flashinfer_is_called_with_what_its_functions_take(
    definition: Make, template: Template, stem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys
    import types

    called: list[tuple[str, dict[str, Any]]] = []

    class Sampling:
        def __getattr__(self, name: str) -> Any:
            def function(**inputs: Any) -> Any:
                called.append((name, inputs))
                return next(iter(inputs.values()))[:, 0].to(torch.int32)

            return function

    module = types.ModuleType("flashinfer")
    module.sampling = Sampling()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flashinfer", module)
    made = definition(stem)
    truth = (plugin.fibcore_ground_truths(made) or ())[0]
    namespace: dict[str, Any] = {}
    exec(truth.source, namespace)  # noqa: S102 - the ground truth is what is tested
    inputs = template.inputs(made, {"batch_size": 7})
    result = namespace[truth.entry](**inputs)
    ((function, given),) = called
    order = {"filter_apply_order"} if stem.endswith("joint") else set()
    assert function == truth.name.split(".")[-1].split()[0]
    assert set(given) == {*made.inputs, *order}
    (output,) = made.outputs.values()
    assert result.dtype == getattr(torch, output.dtype)
