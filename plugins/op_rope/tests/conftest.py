"""What the tests share: layers, kernels and definitions in sizes of choice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import fibcore_op_rope as plugin
from fibcore.plugin import Definition, ModuleNode, Named, Serving
from fibcore.testing.mutations import with_constants
from fibcore.testing.templates import Template
from fibcore.testing.trees import TENSOR, call, module, tree

LAYERS = "sglang.srt.layers.rotary_embedding."
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


def small_definitions() -> list[Definition]:
    """Both styles, whole and partial, so small that tests take milliseconds, in chunks as small."""
    sizes = (("neox", 24, 16), ("gptj", 24, 16), ("neox", 16, 16), ("gptj", 16, 16))
    return [with_constants(make_definition(*size), CHUNK_ELEMENTS=720) for size in sizes]


@pytest.fixture
def layer() -> Callable[..., ModuleNode]:
    """Makes a layer with other arguments of its constructor."""
    return make_layer


@pytest.fixture
def definition() -> Callable[..., Definition]:
    """Makes a definition of a style, a head size and a rotary_dim."""
    return make_definition


@pytest.fixture(scope="session")
def template() -> Template:
    return Template.of(plugin, "rope", seed=7)
