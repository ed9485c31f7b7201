"""Definitions of the kernels."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

import fibcore_op_layernorm as plugin
from fibcore.plugin import Definition
from fibcore_op_layernorm.definitions import epsilon, known_form
from fibcore_op_layernorm.forms import FORMS

Make = Callable[..., Definition]


def test_the_format_of_flashinfers_traces(definition: Make) -> None:
    data = definition(hidden_size=64).to_dict()
    assert data["name"] == "layernorm_h64"
    assert data["op_type"] == "layernorm"
    assert data["tags"] == ["fi_api:flashinfer.norm.layernorm"]
    assert {n: (a["type"], a.get("value")) for n, a in data["axes"].items()} == {
        "batch_size": ("var", None),
        "hidden_size": ("const", 64),
    }
    assert {n: (t["shape"], t["dtype"]) for n, t in data["inputs"].items()} == {
        "hidden_states": (["batch_size", "hidden_size"], "bfloat16"),
        "weight": (["hidden_size"], "float32"),
        "bias": (["hidden_size"], "float32"),
    }
    assert {n: (t["shape"], t["dtype"]) for n, t in data["outputs"].items()} == {
        "output": (["batch_size", "hidden_size"], "bfloat16")
    }
    assert "constraints" not in data


@pytest.mark.parametrize("form", FORMS)
def test_a_form_has_its_parameters(definition: Make, form: str) -> None:
    made = definition(form, 64)
    data = made.to_dict()
    assert data["name"] == f"{form}_h64"
    assert list(data["inputs"]) == ["hidden_states", *FORMS[form].parameters]
    parameters = [t["dtype"] for n, t in data["inputs"].items() if n != "hidden_states"]
    assert parameters == [FORMS[form].dtype] * len(FORMS[form].parameters)
    assert "  # only" not in made.reference
    assert ("weight" in made.reference) == ("weight" in FORMS[form].parameters)
    assert ("bias" in made.reference) == ("bias" in FORMS[form].parameters)
    described = [data, *data["axes"].values(), *data["inputs"].values(), *data["outputs"].values()]
    assert all(part["description"] for part in described)
    assert known_form(made) == FORMS[form]


def test_constants_are_those_of_the_layer(definition: Make) -> None:
    made = definition(hidden_size=64, eps=1e-3)
    assert "HIDDEN_SIZE = 64\n" in made.reference
    assert "EPSILON = 0.001\n" in made.reference
    assert "Epsilon is 0.001" in str(made.description)


@pytest.mark.parametrize(
    ("description", "reference", "expected"),
    [
        ("LayerNorm. Epsilon is 1e-05.", "", 1e-5),
        ("Standard LayerNorm with gamma and beta. Epsilon fixed at 1e-6.", "", 1e-6),
        (None, "EPS = 1e-3\n", 1e-3),
        ("LayerNorm", "", None),
    ],
)
def test_epsilon_is_read(
    definition: Make, description: str | None, reference: str, expected: float | None
) -> None:
    source = reference + "def run(hidden_states, weight, bias):\n    pass\n"
    made = attrs.evolve(definition(), description=description, reference=source)
    assert epsilon(made) == expected


def test_a_name_that_contradicts_the_sizes_is_said(definition: Make) -> None:
    renamed = attrs.evolve(definition(hidden_size=64), name="layernorm_h32")
    assert plugin.fibcore_identify(renamed).contradictions == (
        "the name says h32, and hidden_size is 64",
    )
