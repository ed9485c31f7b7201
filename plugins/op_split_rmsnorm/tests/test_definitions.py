"""Definitions of the kernels."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

import fibcore_op_split_rmsnorm as plugin
from fibcore.plugin import Definition
from fibcore_op_split_rmsnorm.definitions import constant, form_of

Make = Callable[..., Definition]

Q, K = (["num_tokens", "q_size"], "bfloat16"), (["num_tokens", "k_size"], "bfloat16")
SUMS = (["num_rows", "num_tokens"], "float32")
AXES = {
    "num_tokens": ("var", None),
    "q_size": ("const", 1536),
    "k_size": ("const", 256),
    "num_rows": ("const", 2),
}


@pytest.mark.parametrize(
    ("form", "name", "inputs", "outputs"),
    [
        ("sums", "split_rmsnorm_sums_q1536_k256", {"q": Q, "k": K}, {"sums": SUMS}),
        (
            "apply",
            "split_rmsnorm_apply_q1536_k256_r4",
            {
                "q": Q,
                "k": K,
                "q_weight": (["q_size"], "bfloat16"),
                "k_weight": (["k_size"], "bfloat16"),
                "sums": SUMS,
            },
            {"q_out": Q, "k_out": K},
        ),
    ],
)
def test_the_format_of_the_dataset(
    definition: Make, form: str, name: str, inputs: object, outputs: object
) -> None:
    made = definition(form)
    data = made.to_dict()
    assert (data["name"], data["op_type"]) == (name, "split_rmsnorm")
    assert {n: (a["type"], a.get("value")) for n, a in data["axes"].items()} == AXES
    for kind, wanted in (("inputs", inputs), ("outputs", outputs)):
        assert {n: (t["shape"], t["dtype"]) for n, t in data[kind].items()} == wanted
    described = [data, *data["axes"].values(), *data["inputs"].values(), *data["outputs"].values()]
    assert all(part["description"] for part in described)
    assert form_of(made) == form


def test_constants_are_those_of_the_layer(definition: Make) -> None:
    made = definition("apply", ranks=8, eps=1e-3)
    assert "Q_SIZE = 1536\n" in made.reference
    assert (constant(made, "RANKS"), constant(made, "EPSILON")) == (8, 1e-3)
    assert "Epsilon is 0.001" in str(made.description)
    assert constant(definition("sums"), "RANKS") is None


def test_other_tensors_are_no_form(definition: Make) -> None:
    made = definition()
    assert form_of(attrs.evolve(made, op_type="rmsnorm")) is None
    assert form_of(attrs.evolve(made, outputs={"sum": made.outputs["sums"]})) is None


def test_a_name_that_contradicts_the_sizes_is_said(definition: Make) -> None:
    renamed = attrs.evolve(definition(), name="split_rmsnorm_sums_q64_k256")
    assert plugin.fibcore_identify(renamed).contradictions == (
        "the name says q64, and q_size is 1536",
    )
