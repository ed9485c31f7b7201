"""What the tests share: layers, kernels and definitions in forms and sizes of choice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import fibcore_op_layernorm as plugin
from fibcore.plugin import Definition, ModuleNode, Named, Serving
from fibcore.testing.mutations import with_constants
from fibcore.testing.templates import Template
from fibcore.testing.trees import TENSOR, call, module, tree
from fibcore_op_layernorm.forms import FORMS

SGLANG = "sglang.srt.layers.layernorm.LayerNorm"
# Arguments as SGLang's constructor takes them.
ARGUMENTS = {
    "hidden_size": 4096,
    "eps": 1e-5,
    "elementwise_affine": True,
    "bias": True,
    "dtype": Named("torch.float32"),
}


def make_layer(path: str = "norm", **changed: Any) -> ModuleNode:
    return module(path, SGLANG, {**ARGUMENTS, **changed}, calls=[call(TENSOR)])


def make_torch_layer(path: str = "norm", **changed: Any) -> ModuleNode:
    arguments = {"normalized_shape": 4096, "eps": 1e-5, "elementwise_affine": True, "bias": True}
    return module(path, "torch.nn.LayerNorm", {**arguments, **changed}, calls=[call(TENSOR)])


def make_definition(
    form: str = "layernorm", hidden_size: int = 4096, eps: float = 1e-5
) -> Definition:
    kind = FORMS[form]
    node = make_layer(
        hidden_size=hidden_size,
        eps=eps,
        elementwise_affine="weight" in kind.parameters,
        bias="bias" in kind.parameters,
        dtype=Named(f"torch.{kind.dtype}"),
    )
    (kernel,) = plugin.fibcore_extract(tree(node), Serving()).kernels
    return plugin.fibcore_reference(kernel)


def small_definitions() -> list[Definition]:
    """One of each form, so small that tests take milliseconds, with chunks as small."""
    return [
        with_constants(make_definition(form, 512, 1e-6), CHUNK_ELEMENTS=512 * 40) for form in FORMS
    ]


@pytest.fixture
def layer() -> Callable[..., ModuleNode]:
    """Makes a layer of SGLang's with other arguments of its constructor."""
    return make_layer


@pytest.fixture
def torch_layer() -> Callable[..., ModuleNode]:
    """Makes a layer of torch's with other arguments of its constructor."""
    return make_torch_layer


@pytest.fixture
def definition() -> Callable[..., Definition]:
    """Makes a definition of a form, a row length and an epsilon."""
    return make_definition


@pytest.fixture(scope="session")
def template() -> Template:
    return Template.of(plugin, "layernorm", seed=7)
