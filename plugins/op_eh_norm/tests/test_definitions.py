"""Definitions of the kernels."""

from __future__ import annotations

from collections.abc import Callable

import attrs

import fibcore_op_eh_norm as plugin
from fibcore.plugin import Definition, const
from fibcore_op_eh_norm.definitions import epsilon

Make = Callable[..., Definition]


def test_the_format_of_the_dataset(definition: Make) -> None:
    data = definition(hidden_size=64).to_dict()
    assert data["name"] == "fused_eh_norm_h64"
    assert data["op_type"] == "eh_norm"
    assert {n: (a["type"], a.get("value")) for n, a in data["axes"].items()} == {
        "batch_size": ("var", None),
        "hidden_size": ("const", 64),
        "eh_size": ("const", 128),
    }
    rows, row = ["batch_size", "hidden_size"], ["hidden_size"]
    assert {n: (i["shape"], i["dtype"]) for n, i in data["inputs"].items()} == {
        "inputs_embeds": (rows, "bfloat16"),
        "previous_hidden": (rows, "bfloat16"),
        "enorm_weight": (row, "bfloat16"),
        "hnorm_weight": (row, "bfloat16"),
    }
    assert data["outputs"]["output"]["shape"] == ["batch_size", "eh_size"]
    parts = [data, *data["axes"].values(), *data["inputs"].values(), *data["outputs"].values()]
    assert all(part["description"] for part in parts)


def test_constants_are_the_kernels(definition: Make) -> None:
    made = definition(hidden_size=64, eps=1e-5)
    assert epsilon(made) == 1e-5
    assert "HIDDEN_SIZE = 64\nEH_SIZE = 128\nEPSILON = 1e-05\n" in made.reference
    assert epsilon(attrs.evolve(made, reference=made.reference.replace("EPSILON", "E"))) is None


def test_sizes_that_do_not_go_together_are_said(definition: Make) -> None:
    made = definition()
    assert plugin.fibcore_identify(made).contradictions == ()
    other = attrs.evolve(made, axes={**made.axes, "hidden_size": const(64)})
    assert plugin.fibcore_identify(other).contradictions == (
        "the name says h4096, and hidden_size is 64",
        "eh_size is 8192, and 2 * hidden_size is 128",
    )
