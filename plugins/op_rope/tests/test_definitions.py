"""Definitions and variants of rotary position embeddings."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

import fibcore_op_rope as plugin
from fibcore.plugin import Definition

Make = Callable[..., Definition]

STYLES = ("neox", "gptj")


@pytest.mark.parametrize("style", STYLES)
def test_the_format_of_the_dataset(definition: Make, style: str) -> None:
    data = definition(style, 128, 64).to_dict()
    assert data["name"] == f"rope_with_cos_sin_cache_{style}_style_d128_rd64"
    assert data["op_type"] == "rope"
    assert data["tags"] == ["fi_api:flashinfer.rope.apply_rope_with_cos_sin_cache"]
    assert {n: (a["type"], a.get("value")) for n, a in data["axes"].items()} == {
        "num_tokens": ("var", None),
        "num_qo_heads": ("var", None),
        "num_kv_heads": ("var", None),
        "head_size": ("const", 128),
        "rotary_dim": ("const", 64),
        "max_seq_len": ("var", None),
    }
    assert [(n, t["shape"], t["dtype"]) for n, t in data["inputs"].items()] == [
        ("q", ["num_tokens", "num_qo_heads", "head_size"], "bfloat16"),
        ("k", ["num_tokens", "num_kv_heads", "head_size"], "bfloat16"),
        ("cos_sin_cache", ["max_seq_len", "rotary_dim"], "float32"),
        ("positions", ["num_tokens"], "int64"),
    ]
    assert [(n, t["shape"], t["dtype"]) for n, t in data["outputs"].items()] == [
        ("q_out", ["num_tokens", "num_qo_heads", "head_size"], "bfloat16"),
        ("k_out", ["num_tokens", "num_kv_heads", "head_size"], "bfloat16"),
    ]
    described = [data, *data["axes"].values(), *data["inputs"].values(), *data["outputs"].values()]
    assert all(part["description"] for part in described)
    assert "constraints" not in data


def test_descriptions_say_the_pairs(definition: Make) -> None:
    assert "pair j is element j and element j + 32" in str(definition("neox", 128, 64).description)
    assert "the first 64 of 128" in str(definition("neox", 128, 64).description)
    assert "pair j is elements 2 j and 2 j + 1" in str(definition("gptj").description)
    assert "all of 128" in str(definition("gptj").description)


@pytest.mark.parametrize("style", STYLES)
def test_a_reference_has_the_lines_of_its_style_alone(definition: Make, style: str) -> None:
    whole, partial = definition(style, 64, 64).reference, definition(style, 64, 32).reference
    assert "HEAD_SIZE = 64\nROTARY_DIM = 64\n" in whole
    assert "HEAD_SIZE = 64\nROTARY_DIM = 32\n" in partial
    assert ("slice(half, ROTARY_DIM)" in whole) == (style == "neox")
    assert ("GPT-J" in whole) == (style == "gptj")
    assert "[..., ROTARY_DIM:]" in partial
    assert "[..., ROTARY_DIM:]" not in whole
    assert "only:" not in whole + partial


OTHERS = """
import torch

def run(q, k, cos_sin_cache, positions):
    cos, sin = cos_sin_cache[positions].chunk(2, dim=-1)
    cos, sin = cos[:, None], sin[:, None]

    def turn(x):
        {pairs}

    return turn(q), turn(k)
"""
HALVES = "a, b = x.chunk(2, -1); return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)"
STRIDED = "return torch.stack((x[..., ::2] * cos, x[..., 1::2]), -1).flatten(-2)"


@pytest.mark.parametrize(
    ("pairs", "style"),
    [
        (HALVES, "neox"),
        (STRIDED, "gptj"),
        ("return torch.view_as_complex(x)", "gptj"),
        ("return x.reshape(*x.shape[:-1], -1, 2)", "gptj"),
        ("return x.unflatten(-1, (-1, 2))", "gptj"),
        ("return x.unflatten(-1, (2, -1))", "neox"),
        ("return x * cos.repeat_interleave(2, dim=-1)", "gptj"),
        ("return x[..., slice(0, 8, 2)]", "gptj"),
    ],
)
def test_the_reference_of_others_says_the_style(definition: Make, pairs: str, style: str) -> None:
    made = attrs.evolve(definition(style), reference=OTHERS.format(pairs=pairs))
    assert plugin.fibcore_identify(made).variant == style
    assert plugin.fibcore_identify(made).contradictions == ()


def test_both_styles_have_the_same_tensors(definition: Make) -> None:
    neox, gptj = definition("neox"), definition("gptj")
    assert neox.structure() == gptj.structure()
    assert plugin.fibcore_identify(neox).variant == "neox"
    assert plugin.fibcore_identify(gptj).variant == "gptj"


def test_a_name_that_contradicts_is_said(definition: Make) -> None:
    made = definition("neox", 128, 64)
    renamed = attrs.evolve(made, name="rope_with_cos_sin_cache_gptj_style_d64_rd32")
    assert plugin.fibcore_identify(renamed).contradictions == (
        "the name says d64, and head_size is 128",
        "the name says rd32, and rotary_dim is 64",
        "the name says gptj, and the reference has pairs as neox has",
    )


def test_sizes_that_contradict_each_other_are_said(definition: Make) -> None:
    made = definition("neox", 128, 128)
    axes = {**made.axes, "rotary_dim": attrs.evolve(made.axes["rotary_dim"], value=131)}
    other = attrs.evolve(made, axes=axes, name="rope_of_others")
    assert plugin.fibcore_identify(other).contradictions == (
        "rotary_dim is 131, and pairs need an even number",
        "rotary_dim is 131, more than head_size, 128",
    )


def test_op_types() -> None:
    assert [t.name for t in plugin.fibcore_op_types()] == ["rope"]
