"""Definitions of index queries and keys."""

from __future__ import annotations

import attrs
import pytest

import fibcore_op_dsa_index as plugin
from fibcore.plugin import Definition, const
from fibcore_op_dsa_index.definitions import kind_of
from fibcore_op_dsa_index.names import KINDS

Small = dict[str, Definition]
TABLE = {"cos_sin_cache": ("max_position", "rope_dim"), "positions": ("num_tokens",)}
CACHE = ("num_pages", "page_size", "kv_cache_num_heads", "head_dim_with_scale")
HEADS = ("num_tokens", "num_heads", "head_dim")


def test_every_kind_is_there_and_known(small: Small) -> None:
    assert set(small) == set(KINDS)
    for kind, made in small.items():
        assert kind_of(made) == kind
        assert made.op_type == KINDS[kind].op_type  # type: ignore[index]
        assert plugin.fibcore_identify(made).contradictions == ()
        data = made.to_dict()
        parts = [data, *data["axes"].values(), *data["inputs"].values(), *data["outputs"].values()]
        assert all(part["description"] for part in parts)
    assert [t.name for t in plugin.fibcore_op_types()] == ["dsa_index_k_store", "dsa_index_q"]


def test_tensors(small: Small) -> None:
    shapes = {
        kind: ({n: s.shape for n, s in made.inputs.items()}, [*made.outputs.values()])
        for kind, made in small.items()
    }
    assert shapes["k_store"][0] == {
        "k": ("num_tokens", "head_dim"),
        "weight": ("head_dim",),
        "bias": ("head_dim",),
        **TABLE,
        "out_loc": ("num_tokens",),
        "k_index_cache_fp8": CACHE,
    }
    assert [(s.shape, s.dtype) for s in shapes["k_store"][1]] == [(CACHE, "int8")]
    assert shapes["q"][0] == {"q": HEADS, "weights": HEADS[:2], "weight_scale": None, **TABLE}
    assert [(s.shape, s.dtype) for s in shapes["q"][1]] == [
        (HEADS, "float8_e4m3fn"),
        (HEADS[:2], "float32"),
    ]
    assert "EPS = 1e-06" in small["k_store"].reference
    assert "EPS" not in small["q"].reference
    assert small["q"].description.endswith("The model's weight_scale is 0.0510310363.")


@pytest.mark.parametrize(
    ("kind", "axis", "size", "said"),
    [
        ("k_store", "head_dim_with_scale", 9, "head_dim_with_scale is 9, and head_dim + 4 is 36"),
        ("q", "num_heads", 9, "the name says h3, and num_heads is 9"),
        ("q", "rope_dim", 40, "rope_dim is 40, and a head has 32 elements"),
    ],
)
def test_sizes_that_do_not_go_together_are_said(
    small: Small, kind: str, axis: str, size: int, said: str
) -> None:
    made = small[kind]
    other = attrs.evolve(made, axes={**made.axes, axis: const(size)})
    assert any(said in text for text in plugin.fibcore_identify(other).contradictions)
