"""Definitions and variants of RMSNorm kernels."""

from __future__ import annotations

import ast
from typing import Any

import attrs
import pytest

import fibcore_op_rmsnorm as plugin
from fibcore.plugin import DefinitionError, Serving
from fibcore.testing.trees import tree
from fibcore_op_rmsnorm import matcher

STEMS = ("rmsnorm", "fused_add_rmsnorm", "gemma_rmsnorm", "gemma_fused_add_rmsnorm")


@pytest.mark.parametrize("stem", STEMS)
def test_the_format_of_the_dataset(definition: Any, stem: str) -> None:
    data = definition(stem).to_dict()
    assert data["name"] == f"{stem}_h4096"
    assert data["op_type"] == "rmsnorm"
    fused = ["fused"] if "fused" in stem else []
    assert data["tags"] == [f"fi_api:flashinfer.norm.{stem}", *fused]
    assert {n: (a["type"], a.get("value")) for n, a in data["axes"].items()} == {
        "batch_size": ("var", None),
        "hidden_size": ("const", 4096),
    }
    rows = {"shape": ["batch_size", "hidden_size"], "dtype": "bfloat16"}
    inputs = {n: {k: v[k] for k in ("shape", "dtype")} for n, v in data["inputs"].items()}
    expected = {"hidden_states": rows}
    if "fused" in stem:
        expected["residual"] = rows
    expected["weight"] = {"shape": ["hidden_size"], "dtype": "bfloat16"}
    assert list(inputs.items()) == list(expected.items())
    outputs = {n: {k: v[k] for k in ("shape", "dtype")} for n, v in data["outputs"].items()}
    assert outputs == {"output": rows}
    described = (*data["axes"].values(), *data["inputs"].values(), *data["outputs"].values())
    assert all(one["description"] for one in described)
    assert ("residual stream" in data["description"]) == ("fused" in stem)
    assert "constraints" not in data
    assert "Epsilon is 1e-05" in data["description"]
    assert "EPSILON = 1e-05\n" in data["reference"]
    assert "HIDDEN_SIZE = 4096\n" in data["reference"]


@pytest.mark.parametrize("stem", STEMS)
def test_references_need_torch_alone(definition: Any, stem: str) -> None:
    imported = [
        name.name
        for node in ast.walk(ast.parse(definition(stem).reference))
        if isinstance(node, ast.Import)
        for name in node.names
    ]
    assert imported == ["torch"]


def test_gemma_is_told_from_plain_although_the_tensors_are_the_same(definition: Any) -> None:
    plain, gemma = definition("rmsnorm"), definition("gemma_rmsnorm")
    assert plain.structure() == gemma.structure()
    assert plugin.fibcore_identify(plain).variant == ""
    assert plugin.fibcore_identify(gemma).variant == "gemma"
    assert plugin.fibcore_identify(definition("fused_add_rmsnorm")).variant == ""
    assert plugin.fibcore_identify(definition("gemma_fused_add_rmsnorm")).variant == "gemma"


OTHERS_PLAIN = """
import torch

@torch.no_grad()
def run(hidden_states, weight):
    EPS = 1e-6
    x = hidden_states.to(torch.float32)
    inv = torch.rsqrt(x.pow(2).mean(dim=-1, keepdim=True) + EPS)
    return (x * inv * weight.to(torch.float32)).to(hidden_states.dtype)
"""
OTHERS_GEMMA = OTHERS_PLAIN.replace("weight.to(torch.float32)", "(weight.to(torch.float32) + 1)")


def test_definitions_of_others_are_told_by_their_reference(definition: Any) -> None:
    base = definition("rmsnorm")
    plain = attrs.evolve(base, reference=OTHERS_PLAIN, name="norm_4096", tags=())
    gemma = attrs.evolve(base, reference=OTHERS_GEMMA, name="norm_4096", tags=())
    assert plugin.fibcore_identify(plain).variant == ""
    assert plugin.fibcore_identify(gemma).variant == "gemma"
    assert plain.structure() == base.structure()
    named = attrs.evolve(plain, name="gemma_norm_h4096")
    assert plugin.fibcore_identify(named).variant == "gemma"


@pytest.mark.parametrize(
    ("description", "reference", "expected"),
    [
        ("RMSNorm. Epsilon is 1e-05.", OTHERS_PLAIN, 1e-5),
        ("Epsilon is fixed at 1e-6.", OTHERS_PLAIN, 1e-6),
        ("RMSNorm with epsilon = 0.00001", OTHERS_PLAIN, 1e-5),
        ("RMSNorm", OTHERS_PLAIN, 1e-6),
        (None, OTHERS_PLAIN.replace("EPS = 1e-6", "eps = 1e-3"), 1e-3),
        ("Root mean square norm", OTHERS_PLAIN.replace("EPS = 1e-6", "EPS = sum([])"), None),
    ],
)
def test_epsilon_is_read(
    definition: Any, description: str | None, reference: str, expected: float | None
) -> None:
    one = attrs.evolve(definition("rmsnorm"), description=description, reference=reference)
    if expected is None:
        with pytest.raises(DefinitionError, match="epsilon"):
            plugin.definitions.epsilon(one)
        assert plugin.fibcore_ground_truths(one) == ()
    else:
        assert plugin.definitions.epsilon(one) == expected


def test_op_types() -> None:
    assert [t.name for t in plugin.fibcore_op_types()] == ["rmsnorm"]


def test_matcher_and_definitions_need_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys, fibcore_op_rmsnorm; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 - our own code
    assert matcher.extract(tree(), Serving()).kernels == ()
