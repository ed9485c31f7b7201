"""Ground truths of norms: which there are, and that the references agree with them."""

from __future__ import annotations

import ast
from typing import Any

import attrs
import pytest

import fibcore_op_rmsnorm as plugin
from fibcore.plugin import tensor
from fibcore.testing.templates import load_run

torch = pytest.importorskip("torch")

STEMS = ("rmsnorm", "fused_add_rmsnorm", "gemma_rmsnorm", "gemma_fused_add_rmsnorm")
CPU = torch.device("cpu")


def test_no_ground_truths_for_other_op_types(definition: Any) -> None:
    other = attrs.evolve(definition("rmsnorm"), op_type="gemm")
    assert plugin.fibcore_ground_truths(other) == ()


@pytest.mark.parametrize("stem", STEMS)
def test_ground_truths_in_order_of_preference(definition: Any, stem: str) -> None:
    truths = plugin.fibcore_ground_truths(definition(stem))
    assert truths is not None
    flashinfer, sglang = truths
    assert flashinfer.name == f"flashinfer.norm.{stem}"
    assert flashinfer.kind == "flashinfer"
    assert flashinfer.device == "cuda"
    assert flashinfer.packages == ("flashinfer",)
    layer = "GemmaRMSNorm" if "gemma" in stem else "RMSNorm"
    assert sglang.name == f"sglang {layer}.forward_native"
    assert sglang.kind == "sglang"
    assert sglang.device == "any"


def test_ground_truths_of_several_epsilons_live_in_one_module(definition: Any) -> None:
    top: dict[str, str] = {}
    entries = set()
    for stem in STEMS:
        for eps in (1e-5, 1e-6):
            for truth in plugin.fibcore_ground_truths(definition(stem, eps=eps)) or ():
                entries.add(truth.entry)
                parsed = ast.parse(truth.source)
                names = {n.name for n in parsed.body if isinstance(n, ast.FunctionDef)}
                assert names == {truth.entry}
                constants = [n for n in parsed.body if isinstance(n, ast.Assign)]
                for node in constants:
                    assert isinstance(node.targets[0], ast.Name)
                    names.add(node.targets[0].id)
                    assert ast.literal_eval(node.value) == eps
                assert len(constants) == 1
                for name in names:
                    assert top.setdefault(name, truth.source) == truth.source
    # Plain and fused-add share an entry; FlashInfer and SGLang, Gemma or not, two epsilons.
    assert len(entries) == 8


def test_rows_of_float32_are_none_of_flashinfers(definition: Any) -> None:
    made = definition("rmsnorm", 64)
    rows = attrs.evolve(made.inputs["hidden_states"], dtype="float32")
    wide = attrs.evolve(made, inputs={**made.inputs, "hidden_states": rows})
    assert [truth.kind for truth in plugin.fibcore_ground_truths(wide)] == ["sglang"]


def test_functions_with_other_tensors_have_no_ground_truth(definition: Any) -> None:
    base = definition("rmsnorm")
    two = attrs.evolve(base, outputs={**base.outputs, "scale": tensor("batch_size", "float32")})
    assert plugin.fibcore_ground_truths(two) == ()


@pytest.mark.parametrize("eps", [1e-5, 1e-6])
@pytest.mark.parametrize("stem", STEMS)
def test_agrees_with_sglang(
    definition: Any, native: Any, template: Any, stem: str, eps: float
) -> None:
    made = definition(stem, 512, eps)
    data = made.to_dict()
    for case in template.module.cases(data):
        inputs = template.module.make_inputs(data, case, CPU, torch.Generator().manual_seed(3))
        expected = native(made, {n: v.clone() for n, v in inputs.items()})
        actual = load_run(made.reference)(*inputs.values())
        torch.testing.assert_close(actual, expected, rtol=1e-2, atol=8e-3)
