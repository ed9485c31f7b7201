"""Definitions of the kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

import fibcore_op_gated_rmsnorm as plugin
from fibcore.plugin import Definition
from fibcore_op_gated_rmsnorm.definitions import epsilon, shape_of

Make = Callable[..., Definition]


def test_the_format_of_the_dataset(definition: Make) -> None:
    data = definition(hidden_size=256, group_size=64).to_dict()
    assert data["name"] == "gated_rmsnorm_h256_g64"
    assert data["op_type"] == "gated_rmsnorm"
    assert {n: (a["type"], a.get("value")) for n, a in data["axes"].items()} == {
        "batch_size": ("var", None),
        "hidden_size": ("const", 256),
        "num_groups": ("const", 4),
        "group_size": ("const", 64),
    }
    assert data["constraints"] == ["hidden_size == num_groups * group_size"]
    rows = (["batch_size", "hidden_size"], "bfloat16")
    assert {n: (t["shape"], t["dtype"]) for n, t in data["inputs"].items()} == {
        "hidden_states": rows,
        "gate": rows,
        "weight": (["hidden_size"], "bfloat16"),
    }
    assert {n: (t["shape"], t["dtype"]) for n, t in data["outputs"].items()} == {"output": rows}
    described = [data, *data["axes"].values(), *data["inputs"].values(), *data["outputs"].values()]
    assert all(part["description"] for part in described)


def test_one_group_has_no_axes_of_groups(definition: Make) -> None:
    data = definition(hidden_size=256).to_dict()
    assert list(data["axes"]) == ["batch_size", "hidden_size"]
    assert "constraints" not in data


def test_constants_are_those_of_the_layer(definition: Make) -> None:
    made = definition(hidden_size=64, eps=1e-3)
    assert "HIDDEN_SIZE = 64\n" in made.reference
    assert "EPSILON = 0.001\n" in made.reference
    assert "Epsilon is 0.001" in str(made.description)
    assert epsilon(made) == 1e-3


@pytest.mark.parametrize("activation", ["swish", "sigmoid"])
@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("group", [None, 16])
def test_the_reference_says_what_its_tensors_do_not(
    definition: Make, activation: str, before: bool, group: int | None
) -> None:
    made = definition(
        hidden_size=64, activation=activation, norm_before_gate=before, group_size=group
    )
    words = ["sigmoid"] * (activation == "sigmoid") + ["gate_first"] * (not before)
    assert plugin.fibcore_identify(made).variant == "_".join(words)
    shape = shape_of(made)
    assert shape is not None
    assert (shape.hidden_size, shape.group_size) == (64, group or 64)
    assert shape.name == made.name
    assert plugin.fibcore_identify(made).contradictions == ()


OTHERS = """
import torch

def run(hidden_states, gate, weight):
    eps = 1e-5
    x = hidden_states.float(){before}
    x = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * weight.float(){behind}
    return x.to(hidden_states.dtype)
"""


@pytest.mark.parametrize(
    ("before", "behind", "variant"),
    [
        ("", " * torch.nn.functional.silu(gate.float())", ""),
        ("", " * gate.float().sigmoid()", "sigmoid"),
        (" * torch.nn.functional.silu(gate.float())", "", "gate_first"),
    ],
)
def test_definitions_of_others_are_told_by_their_reference(
    definition: Make, before: str, behind: str, variant: str
) -> None:
    text = OTHERS.format(before=before, behind=behind)
    made = attrs.evolve(definition(hidden_size=64), reference=text, description="A norm.")
    assert plugin.fibcore_identify(made).variant == variant
    assert epsilon(made) == 1e-5


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"name": "gated_rmsnorm_h32"}, "the name says h32, and hidden_size is 64"),
        ({"name": "gated_rmsnorm_h64_g8"}, "the name says g8, and group_size is 16"),
    ],
)
def test_a_name_that_contradicts_the_sizes_is_said(
    definition: Make, changed: dict[str, Any], said: str
) -> None:
    made = attrs.evolve(definition(hidden_size=64, group_size=16), **changed)
    assert plugin.fibcore_identify(made).contradictions == (said,)


def test_groups_that_do_not_fit_are_said(definition: Make) -> None:
    made = definition(hidden_size=64, group_size=16)
    for axis, value, said in (
        ("group_size", 24, "hidden_size is 64, no multiple of group_size 24"),
        ("num_groups", 8, "8 groups of 16 are not 64 elements"),
    ):
        axes = {**made.axes, axis: attrs.evolve(made.axes[axis], value=value)}
        other = attrs.evolve(made, axes=axes, name="norm")
        assert plugin.fibcore_identify(other).contradictions == (said,)
