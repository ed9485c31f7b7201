"""Definitions of activations, and what others' definitions compute."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

import fibcore_op_activation as plugin
from fibcore.plugin import Definition
from fibcore_op_activation.kinds import KINDS

Make = Callable[..., Definition]


def test_gated_ones_have_the_format_of_flashinfers_traces(definition: Make) -> None:
    data = definition("silu_and_mul", 64).to_dict()
    assert data["name"] == "silu_and_mul_h128"
    assert data["op_type"] == "activation"
    assert data["tags"] == ["fi_api:flashinfer.activation.silu_and_mul", "tp:1"]
    assert {n: (a["type"], a.get("value")) for n, a in data["axes"].items()} == {
        "num_tokens": ("var", None),
        "hidden_size": ("const", 128),
        "hidden_div_2": ("var", None),
    }
    assert data["constraints"] == ["hidden_size == 2 * hidden_div_2"]
    assert {n: (t["shape"], t["dtype"]) for n, t in data["inputs"].items()} == {
        "input": (["num_tokens", "hidden_size"], "bfloat16")
    }
    assert {n: (t["shape"], t["dtype"]) for n, t in data["outputs"].items()} == {
        "output": (["num_tokens", "hidden_div_2"], "bfloat16")
    }
    assert "HIDDEN_SIZE = 128\n" in data["reference"]


def test_others_have_rows_of_the_intermediate_size(definition: Make) -> None:
    data = definition("relu2", 64).to_dict()
    assert data["name"] == "relu2_i64"
    assert data["tags"] == ["tp:1"]
    assert {n: (a["type"], a.get("value")) for n, a in data["axes"].items()} == {
        "num_tokens": ("var", None),
        "intermediate_size": ("const", 64),
    }
    assert "constraints" not in data
    rows = (["num_tokens", "intermediate_size"], "bfloat16")
    assert {n: (t["shape"], t["dtype"]) for n, t in data["inputs"].items()} == {"input": rows}
    assert {n: (t["shape"], t["dtype"]) for n, t in data["outputs"].items()} == {"output": rows}


def test_scalars_follow_the_input(definition: Make) -> None:
    data = definition("situ_and_mul", 64).to_dict()
    assert list(data["inputs"]) == ["input", "beta", "linear_beta"]
    assert data["inputs"]["beta"]["shape"] is None
    assert data["inputs"]["beta"]["dtype"] == "float32"


@pytest.mark.parametrize("kind", KINDS)
def test_everything_is_described(definition: Make, kind: str) -> None:
    data = definition(kind, 64).to_dict()
    described = [data, *data["axes"].values(), *data["inputs"].values(), *data["outputs"].values()]
    assert all(part["description"] for part in described)


@pytest.mark.parametrize("kind", KINDS)
def test_the_reference_says_which_activation_it_is(definition: Make, kind: str) -> None:
    made = attrs.evolve(definition(kind, 64), name="another_name", tags=(), description=None)
    assert plugin.fibcore_identify(made).variant == kind


OTHERS = {
    "silu_and_mul": "F.silu(input[..., :64]) * input[..., 64:]",
    "gelu_and_mul": "F.gelu(input[..., :64]) * input[..., 64:]",
    "gelu_tanh_and_mul": "F.gelu(input[..., :64], approximate='tanh') * input[..., 64:]",
    "": "F.mish(input[..., :64]) * input[..., 64:]",
}


@pytest.mark.parametrize("kind", OTHERS)
def test_references_of_others_are_told_by_what_they_call(definition: Make, kind: str) -> None:
    source = f"import torch.nn.functional as F\n\n\ndef run(input):\n    return {OTHERS[kind]}\n"
    made = attrs.evolve(definition("silu_and_mul", 64), reference=source)
    assert plugin.fibcore_identify(made).variant == kind


def test_a_name_that_contradicts_the_sizes_is_said(definition: Make) -> None:
    renamed = attrs.evolve(definition("silu_and_mul", 64), name="silu_and_mul_h64")
    assert plugin.fibcore_identify(renamed).contradictions == (
        "the name says h64, and hidden_size is 128",
    )
    renamed = attrs.evolve(definition("relu2", 64), name="relu2_i32")
    assert plugin.fibcore_identify(renamed).contradictions == (
        "the name says i32, and intermediate_size is 64",
    )
