"""What the tests share: layers, kernels and definitions in sizes of choice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

import fibcore_op_conv as plugin
from fibcore.plugin import Definition, ModuleNode, ParameterRef, Serving
from fibcore.testing.mutations import with_constants
from fibcore.testing.templates import Template
from fibcore.testing.trees import TENSOR, call, module, tree

LINEAR = "sglang.srt.layers.linear."
ATTENTION = "sglang.srt.layers.radix_linear_attention.RadixLinearAttention"
MIXER = "sglang.srt.layers.attention.mamba.mamba.MambaMixer2"
SHORT = "sglang.srt.models.lfm2.Lfm2ShortConv"


def make_weight(path: str, **changed: Any) -> ModuleNode:
    """A linear layer that is never called, and holds the weight of a convolution."""
    cls = changed.pop("cls", "MergedColumnParallelLinear")
    sizes = {"output_sizes": [1024, 512, 512]}
    arguments = {"input_size": 4, "bias": False, "params_dtype": None, **sizes, **changed}
    return module(path, LINEAR + cls, arguments, calls=changed.pop("calls", ()))


def make_attention(
    path: str = "linear_attn", *, activation: Any = "silu", name: str = "conv1d", **changed: Any
) -> ModuleNode:
    """Linear attention of SGLang with a convolution before it."""
    attention = module(f"{path}.attn", ATTENTION, {"activation": activation}, calls=[call(TENSOR)])
    children = [make_weight(f"{path}.{name}", **changed), attention]
    return module(path, "sglang.srt.models.qwen3_next.Qwen3GatedDeltaNet", children=children)


def make_mixer(path: str = "mixer", *, activation: Any = "silu", **changed: Any) -> ModuleNode:
    """A mixer of Mamba 2 with a convolution."""
    node = module(path, MIXER, children=[make_weight(f"{path}.conv1d", **changed)])
    return attrs.evolve(node, attributes={"activation": activation}, leaf=False)


def make_short(path: str = "conv", *, cls: str = SHORT, **changed: Any) -> ModuleNode:
    """A short convolution of LFM2."""
    attributes = {
        "conv_weight": ParameterRef(f"{path}.conv_weight", (1024, 3), None),
        "use_bias": False,
        **changed,
    }
    return attrs.evolve(module(path, cls), attributes=attributes, leaf=False)


def make_definition(
    form: str = "update", *, dim: int = 2048, width: int = 4, silu: bool = True, **changed: Any
) -> Definition:
    layer = make_mixer(
        activation="silu" if silu else None,
        input_size=width,
        output_sizes=[dim],
        **changed,
    )
    kernels = plugin.fibcore_extract(tree(layer), Serving()).kernels
    (kernel,) = (k for k in kernels if k.parameters["form"] == form)
    return plugin.fibcore_reference(kernel)


def small(form: str, *, silu: bool = True, bias: bool = True, width: int = 4) -> Definition:
    """A definition so small that tests take milliseconds, in chunks as small."""
    made = make_definition(form, dim=6, width=width, silu=silu, bias=bias)
    return made if form == "update" else with_constants(made, CHUNK_ELEMENTS=6 * 40)


def small_definitions() -> list[Definition]:
    """One of each reference and variant."""
    variants = ({}, {"silu": False}, {"bias": False}, {"width": 3})
    return [small(form, **each) for form in ("update", "prefill") for each in variants]


@pytest.fixture
def attention() -> Callable[..., ModuleNode]:
    """Makes linear attention with other arguments of the layer that holds the weight."""
    return make_attention


@pytest.fixture
def mixer() -> Callable[..., ModuleNode]:
    """Makes a mixer with other arguments of the layer that holds the weight."""
    return make_mixer


@pytest.fixture
def short() -> Callable[..., ModuleNode]:
    """Makes a short convolution with other attributes."""
    return make_short


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
    return Template.of(plugin, "causal_conv1d", seed=7)
