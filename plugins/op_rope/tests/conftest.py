"""What the tests share: layers, kernels and definitions in sizes of choice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import fibcore_op_rope as plugin
from fibcore.plugin import Definition, ModuleNode, Named, Serving
from fibcore.testing.mutations import with_constants
from fibcore.testing.templates import Template
from fibcore.testing.trees import TENSOR, call, module, operation, tree

LAYERS = "sglang.srt.layers.rotary_embedding."
TURN = f"{LAYERS}utils.apply_rotary_pos_emb_native"
ARGUMENTS = {
    "head_size": 128,
    "rotary_dim": 128,
    "max_position_embeddings": 8192,
    "base": 500000.0,
    "is_neox_style": True,
    "dtype": Named("torch.bfloat16"),
}


def make_layer(
    path: str = "rotary_emb", *, cls: str = "base.RotaryEmbedding", **changed: Any
) -> ModuleNode:
    """A layer of SGLang; `calls` among the arguments are the node's."""
    calls = changed.pop("calls", (call(TENSOR, TENSOR, TENSOR),))
    return module(path, LAYERS + cls, {**ARGUMENTS, **changed}, calls=calls)


def make_definition(style: str = "neox", head_size: int = 128, rotary_dim: int = 128) -> Definition:
    layer = make_layer(head_size=head_size, rotary_dim=rotary_dim, is_neox_style=style == "neox")
    (kernel,) = plugin.fibcore_extract(tree(layer), Serving(tp=8)).kernels
    return plugin.fibcore_reference(kernel)


def make_sections(sections: tuple[int, int, int], *, interleaved: bool) -> Definition:
    """Makes a definition of several positions a token, whose heads are turned whole."""
    size = 2 * sum(sections)
    layer = make_layer(
        cls="mrope.MRotaryEmbedding",
        head_size=size,
        rotary_dim=size,
        mrope_section=list(sections),
        mrope_interleaved=interleaved,
    )
    (kernel,) = plugin.fibcore_extract(tree(layer), Serving()).kernels
    return plugin.fibcore_reference(kernel)


def make_rows(head_size: int = 256, cls: str = "Gemma3Attention") -> Definition:
    """Makes a definition that is given every token's cosines and sines."""
    kept = {"Gemma3Attention": "head_dim", "VisionAttention": "head_size"}[cls]
    layer = module("layer", f"sglang.srt.models.m.{cls}", attributes={kept: head_size})
    turning = operation(TURN, *(TENSOR,) * 4, module="layer")
    found = plugin.fibcore_extract(tree(layer, kernel_calls=[turning]), Serving())
    (kernel,) = found.kernels
    return plugin.fibcore_reference(kernel)


def make_angles(head_size: int = 256) -> Definition:
    """Makes the definition of what gives cosines and sines."""
    attention = "sglang.srt.models.gemma3_causal.Gemma3Attention"
    layer = module("layer", attention, attributes={"head_dim": head_size})
    rotary = "sglang.srt.models.gemma3_causal.Gemma3RotaryEmbedding"
    giving = module("rotary", rotary, calls=[call(TENSOR, TENSOR)])
    turning = operation(TURN, *(TENSOR,) * 4, module="layer")
    found = plugin.fibcore_extract(tree(layer, giving, kernel_calls=[turning]), Serving())
    return plugin.fibcore_reference(found.kernels[1])


def small_definitions() -> list[Definition]:
    """Both styles, whole and partial, so small that tests take milliseconds, in chunks as small."""
    rows = with_constants(make_rows(16), CHUNK_ELEMENTS=720)
    sizes = (("neox", 24, 16), ("gptj", 24, 16), ("neox", 16, 16), ("gptj", 16, 16))
    cached = [with_constants(make_definition(*size), CHUNK_ELEMENTS=720) for size in sizes]
    several = [make_sections((4, 2, 2), interleaved=turns) for turns in (False, True)]
    cached += [with_constants(one, CHUNK_ELEMENTS=720) for one in several]
    return [*cached, rows, make_angles(16)]


@pytest.fixture
def layer() -> Callable[..., ModuleNode]:
    """Makes a layer with other arguments of its constructor."""
    return make_layer


@pytest.fixture
def definition() -> Callable[..., Definition]:
    """Makes a definition of a style, a head size and a rotary_dim."""
    return make_definition


@pytest.fixture
def rows() -> Callable[..., Definition]:
    """Makes a definition that is given cosines and sines, of a head size."""
    return make_rows


@pytest.fixture
def angles() -> Callable[..., Definition]:
    """Makes a definition that gives cosines and sines, of a head size."""
    return make_angles


@pytest.fixture(scope="session")
def template() -> Template:
    return Template.of(plugin, "rope", seed=7)
