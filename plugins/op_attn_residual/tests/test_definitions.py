"""Definitions of the kernels."""

from __future__ import annotations

from collections.abc import Callable

import attrs

import fibcore_op_attn_residual as plugin
from fibcore.plugin import Definition, const
from fibcore_op_attn_residual.definitions import epsilon

Make = Callable[..., Definition]


def test_the_format_of_the_dataset(definition: Make) -> None:
    data = definition(size=64).to_dict()
    assert data["name"] == "attn_residual_h64"
    assert data["op_type"] == "attn_residual"
    assert {n: (a["type"], a.get("value")) for n, a in data["axes"].items()} == {
        "num_tokens": ("var", None),
        "num_blocks": ("var", None),
        "hidden_size": ("const", 64),
    }
    rows = (["num_tokens", "hidden_size"], "bfloat16")
    assert {n: (i["shape"], i["dtype"]) for n, i in data["inputs"].items()} == {
        "prefix_sum": rows,
        "blocks": (["num_tokens", "num_blocks", "hidden_size"], "bfloat16"),
        "score_weight": (["hidden_size"], "float32"),
    }
    assert {n: (t["shape"], t["dtype"]) for n, t in data["outputs"].items()} == {"output": rows}
    parts = [data, *data["axes"].values(), *data["inputs"].values(), *data["outputs"].values()]
    assert all(part["description"] for part in parts)


def test_constants_are_the_kernels(definition: Make) -> None:
    made = definition(size=64, eps=1e-6)
    assert epsilon(made) == 1e-6
    assert "HIDDEN_SIZE = 64\nEPSILON = 1e-06\n" in made.reference
    assert epsilon(attrs.evolve(made, reference=made.reference.replace("EPSILON", "E"))) is None


def test_sizes_that_do_not_go_together_are_said(definition: Make) -> None:
    made = definition()
    assert plugin.fibcore_identify(made).contradictions == ()
    other = attrs.evolve(made, axes={**made.axes, "hidden_size": const(64)})
    assert plugin.fibcore_identify(other).contradictions == (
        "the name says h7168, and hidden_size is 64",
    )
