"""Definitions and variants of sampling kernels."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable

import attrs
import pytest

import fibcore_op_sampling as plugin
from fibcore.plugin import Definition
from fibcore_op_sampling.names import kind_of

Make = Callable[..., Definition]

ROWS = {"shape": ["batch_size", "vocab_size"], "dtype": "float32"}
# As the published dataset has them; else as FlashInfer 0.7.4's trace templates do.
TENSORS = {
    "top_k_sampling_from_probs": ({"top_k": "int32"}, "samples", "int64"),
    "top_p_sampling_from_probs": ({"top_p": "float32"}, "samples", "int64"),
    "top_k_top_p_sampling_from_probs": (
        {"top_k": "int32", "top_p": "float32"},
        "samples",
        "int64",
    ),
    "min_p_sampling": ({"min_p": "float32"}, "samples", "int32"),
    "sampling_from_probs": ({}, "samples", "int32"),
    "top_k_renorm_probs": ({"top_k": "int32"}, "renormalized", None),
    "top_p_renorm_probs": ({"top_p": "float32"}, "renormalized", None),
}


@pytest.mark.parametrize("stem", TENSORS)
def test_the_format_of_the_dataset(definition: Make, stem: str) -> None:
    data = definition(stem, 128256).to_dict()
    parameters, output, dtype = TENSORS[stem]
    assert data["name"] == f"{stem}_v128256"
    assert data["op_type"] == "sampling"
    assert {n: (a["type"], a.get("value")) for n, a in data["axes"].items()} == {
        "batch_size": ("var", None),
        "vocab_size": ("const", 128256),
    }
    inputs = {n: {k: v[k] for k in ("shape", "dtype")} for n, v in data["inputs"].items()}
    expected = {"probs": ROWS}
    expected |= {n: {"shape": ["batch_size"], "dtype": t} for n, t in parameters.items()}
    assert list(inputs.items()) == list(expected.items())
    (found,) = data["outputs"].items()
    shape = {"shape": ["batch_size"], "dtype": dtype} if dtype else ROWS
    assert (found[0], {k: found[1][k] for k in ("shape", "dtype")}) == (output, shape)
    assert not [t for t in data["tags"] if t.startswith(("tp:", "ep:", "stage:"))]
    for part in (*data["axes"].values(), *data["inputs"].values(), *data["outputs"].values()):
        assert part["description"]


def test_softmax(definition: Make) -> None:
    made = definition("softmax", 128256)
    assert list(made.inputs) == ["logits", "temperature"]
    assert list(made.outputs) == ["output"]
    assert made.tags == ("fi_api:flashinfer.sampling.softmax",)


def test_references_need_torch_alone(definition: Make, stem: str) -> None:
    imports = [
        name.name
        for node in ast.walk(ast.parse(definition(stem).reference))
        if isinstance(node, ast.Import)
        for name in node.names
    ]
    assert imports == ["torch"]


def test_filters_one_after_the_other_are_told_from_joint_ones(definition: Make) -> None:
    first, joint = (
        definition(f"top_k_top_p_sampling_from_probs{order}") for order in ("", "_joint")
    )
    assert first.structure() == joint.structure()
    assert plugin.fibcore_identify(first).variant == ""
    assert plugin.fibcore_identify(joint).variant == "joint"
    assert plugin.fibcore_identify(definition("top_k_sampling_from_probs")).variant == ""


def test_definitions_of_others_are_recognised(definition: Make) -> None:
    theirs = attrs.evolve(
        definition("top_p_sampling_from_probs"),
        name="nucleus_v32000",
        tags=(),
        description=None,
        reference="def run(probs, top_p):\n    return probs.argmax(-1)\n",
    )
    kind = kind_of(theirs)
    assert kind is not None
    assert kind.stem == "top_p_sampling_from_probs"
    (contradiction,) = plugin.fibcore_identify(theirs).contradictions
    assert "32000" in contradiction
    assert kind_of(attrs.evolve(theirs, op_type="gemm")) is None


def test_matcher_and_definitions_need_no_torch() -> None:
    code = "import sys, fibcore_op_sampling; assert not {'torch', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 - our own code
