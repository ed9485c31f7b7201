"""What the tests share: layers, kernels and definitions in sizes of choice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import fibcore_op_lightning as plugin
from fibcore.plugin import Definition, ModuleNode, Serving
from fibcore.testing.mutations import with_constants
from fibcore.testing.templates import Template
from fibcore.testing.trees import TENSOR, call, module, tree

LAYER = "sglang.srt.layers.radix_attention.RadixAttention"
LING = "sglang.srt.models.bailing_moe_linear.BailingMoELinearAttention"
MINICPM = "sglang.srt.models.minicpm.MiniCPMLightningMixer"


def make_layer(path: str = "attention", holder: str = LING, **changed: Any) -> ModuleNode:
    """A layer of linear attention in a layer of its model."""
    arguments = {"num_heads": 8, "num_kv_heads": 8, "head_dim": 128, **changed}
    attention = module(f"{path}.attn", LAYER, arguments, calls=[call(TENSOR, TENSOR, TENSOR)])
    return module(path, holder, children=[attention])


def make_definition(form: str = "decode", holder: str = LING, **sizes: Any) -> Definition:
    kernels = plugin.fibcore_extract(tree(make_layer(holder=holder, **sizes)), Serving()).kernels
    (kernel,) = (k for k in kernels if k.parameters["form"] == form)
    return plugin.fibcore_reference(kernel)


def small(form: str, holder: str = LING) -> Definition:
    """A definition so small that tests take milliseconds, in chunks and blocks as small."""
    made = make_definition(form, holder, num_heads=3, num_kv_heads=3, head_dim=8)
    if form == "decode":
        return with_constants(made, CHUNK_ELEMENTS=3 * 8 * 8 * 2)
    return with_constants(made, CHUNK=8, BLOCK_ELEMENTS=3 * 8 * 8 * 2)


def small_definitions() -> list[Definition]:
    """One of each reference and dtype."""
    return [small(form, holder) for form in ("decode", "prefill") for holder in (LING, MINICPM)]


@pytest.fixture
def layer() -> Callable[..., ModuleNode]:
    """Makes a layer with other arguments."""
    return make_layer


@pytest.fixture
def definition() -> Callable[..., Definition]:
    """Makes a definition of a form and sizes."""
    return make_definition


@pytest.fixture
def small_one() -> Callable[..., Definition]:
    """Makes a small definition of a form."""
    return small


@pytest.fixture(scope="session")
def template() -> Template:
    return Template.of(plugin, "lightning_attention", seed=7)
