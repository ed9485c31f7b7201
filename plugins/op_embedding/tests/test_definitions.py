"""Definitions of embeddings."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

import fibcore_op_embedding as plugin
from fibcore.plugin import Definition

Make = Callable[..., Definition]


@pytest.mark.parametrize(
    ("tp", "name", "rows"),
    [(1, "embedding_v128256_h64", 128256), (8, "vocab_parallel_embedding_v16032_h64", 16032)],
)
def test_the_format(definition: Make, tp: int, name: str, rows: int) -> None:
    data = definition(tp, 128256, 64).to_dict()
    assert data["name"] == name
    assert data["op_type"] == "embedding"
    assert data["tags"] == [f"tp:{tp}"]
    assert {n: (a["type"], a.get("value")) for n, a in data["axes"].items()} == {
        "num_tokens": ("var", None),
        "vocab_size": ("const", rows),
        "hidden_size": ("const", 64),
    }
    expected = [
        ("input_ids", ["num_tokens"], "int64"),
        ("weight", ["vocab_size", "hidden_size"], "bfloat16"),
        ("vocab_start_index", None, "int32"),
    ]
    found = [(n, t["shape"], t["dtype"]) for n, t in data["inputs"].items()]
    assert found == expected[: 2 + (tp > 1)]
    assert [(n, t["shape"], t["dtype"]) for n, t in data["outputs"].items()] == [
        ("output", ["num_tokens", "hidden_size"], "bfloat16")
    ]
    described = [data, *data["axes"].values(), *data["inputs"].values(), *data["outputs"].values()]
    assert all(part["description"] for part in described)
    assert f"VOCAB_SIZE = {rows}\nHIDDEN_SIZE = 64\n" in data["reference"]


def test_a_part_is_told_from_a_whole_by_its_inputs(definition: Make) -> None:
    whole, part = definition(1, 64, 8), definition(2, 128, 8)
    assert whole.const_axes == part.const_axes
    assert whole.structure() != part.structure()
    assert plugin.fibcore_identify(whole) == plugin.fibcore_identify(part)


@pytest.mark.parametrize("tp", [1, 2])
def test_a_name_that_contradicts_the_sizes_is_said(definition: Make, tp: int) -> None:
    made = definition(tp, 64 * tp, 8)
    prefix = "vocab_parallel_" * (tp > 1)
    renamed = attrs.evolve(made, name=f"{prefix}embedding_v32_h16")
    assert plugin.fibcore_identify(renamed).contradictions == (
        "the name says v32, and vocab_size is 64",
        "the name says h16, and hidden_size is 8",
    )


def test_op_types() -> None:
    assert [t.name for t in plugin.fibcore_op_types()] == ["embedding"]
