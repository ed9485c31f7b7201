"""Definitions of the kernels."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

import fibcore_op_qk_norm_rope as plugin
from fibcore.plugin import Definition
from fibcore_op_qk_norm_rope.definitions import epsilon, shape_of

Make = Callable[..., Definition]

QUERIES = ["num_tokens", "num_qo_heads", "head_size"]
KEYS = ["num_tokens", "num_kv_heads", "head_size"]


def test_the_format_of_the_dataset(definition: Make) -> None:
    data = definition().to_dict()
    assert data["name"] == "qk_gemma_rmsnorm_rope_gate_mrope_d256_rd64"
    assert data["op_type"] == "qk_norm_rope"
    assert {n: (a["type"], a.get("value")) for n, a in data["axes"].items()} == {
        "num_tokens": ("var", None),
        "num_qo_heads": ("var", None),
        "num_kv_heads": ("var", None),
        "head_size": ("const", 256),
        "rotary_dim": ("const", 64),
        "gated_size": ("const", 512),
        "num_positions": ("const", 3),
        "num_pairs": ("const", 32),
        "max_seq_len": ("var", None),
    }
    assert {n: (t["shape"], t["dtype"]) for n, t in data["inputs"].items()} == {
        "q_gate": (["num_tokens", "num_qo_heads", "gated_size"], "bfloat16"),
        "k": (KEYS, "bfloat16"),
        "q_weight": (["head_size"], "bfloat16"),
        "k_weight": (["head_size"], "bfloat16"),
        "cos_sin_cache": (["max_seq_len", "rotary_dim"], "float32"),
        "positions": (["num_positions", "num_tokens"], "int64"),
        "axis_map": (["num_pairs"], "int32"),
    }
    assert {n: (t["shape"], t["dtype"]) for n, t in data["outputs"].items()} == {
        "q_out": (QUERIES, "bfloat16"),
        "k_out": (KEYS, "bfloat16"),
        "gate": (QUERIES, "bfloat16"),
    }
    described = [data, *data["axes"].values(), *data["inputs"].values(), *data["outputs"].values()]
    assert all(part["description"] for part in described)


def test_a_plain_one_has_no_gate_and_one_position(definition: Make) -> None:
    made = definition(has_gate=False, sections=None)
    assert list(made.inputs) == ["q", "k", "q_weight", "k_weight", "cos_sin_cache", "positions"]
    assert list(made.outputs) == ["q_out", "k_out"]
    assert made.inputs["positions"].shape == ("num_tokens",)
    assert "gated_size" not in made.axes


def test_constants_are_those_of_the_layer(definition: Make) -> None:
    made = definition(head_dim=64, rotary_dim=32, eps=1e-3)
    for line in ("HEAD_SIZE = 64\n", "ROTARY_DIM = 32\n", "EPSILON = 0.001\n"):
        assert line in made.reference
    assert epsilon(made) == 1e-3
    shape = shape_of(made)
    assert shape is not None
    assert shape.name == made.name


def test_other_tensors_are_no_shape(definition: Make) -> None:
    made = definition()
    assert shape_of(attrs.evolve(made, op_type="rope")) is None
    assert shape_of(attrs.evolve(made, outputs={"q_out": made.outputs["q_out"]})) is None


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("qk_norm_rope_d128_rd64", "the name says d128, and head_size is 256"),
        ("qk_norm_rope_d256_rd32", "the name says rd32, and rotary_dim is 64"),
    ],
)
def test_a_name_that_contradicts_the_sizes_is_said(definition: Make, name: str, said: str) -> None:
    renamed = attrs.evolve(definition(), name=name)
    assert plugin.fibcore_identify(renamed).contradictions == (said,)
