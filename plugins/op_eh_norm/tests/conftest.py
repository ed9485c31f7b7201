"""What the tests share: calls, trees and definitions in sizes of choice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import fibcore_op_eh_norm as plugin
from fibcore.plugin import Definition, ModelTree, ParameterRef, Serving
from fibcore.testing.mutations import with_constants
from fibcore.testing.templates import Template
from fibcore.testing.trees import TENSOR, module, operation, tree

FUNCTION = "sglang.kernels.ops.layernorm.fused_eh_norm.fused_eh_norm"


def make_tree(*, hidden_size: Any = 4096, eps: Any = 1e-6, **changed: Any) -> ModelTree:
    """A draft model that calls the kernel on the weights of its norms."""
    weights = {
        f"{name}_weight": ParameterRef(f"model.{name}.weight", (hidden_size,), None)
        for name in ("enorm", "hnorm")
    }
    given = {"inputs_embeds": TENSOR, "previous_hidden": TENSOR, **weights, "eps": eps, **changed}
    cls = "sglang.srt.layers.layernorm.RMSNorm"
    norms = [module(f"model.{name}", cls) for name in ("enorm", "hnorm")]
    model = module("model", "sglang.srt.models.deepseek_nextn.DeepseekModelNextN", children=norms)
    return tree(model, operations=[operation(FUNCTION, *given.values(), module="model")])


def make_definition(**changed: Any) -> Definition:
    (kernel,) = plugin.fibcore_extract(make_tree(**changed), Serving()).kernels
    return plugin.fibcore_reference(kernel)


def small_definitions() -> list[Definition]:
    """The reference, so small that tests take milliseconds, with chunks as small."""
    return [with_constants(make_definition(hidden_size=96), CHUNK_ELEMENTS=192 * 40)]


@pytest.fixture
def draft() -> Callable[..., ModelTree]:
    """Makes the tree of a draft model with other arguments of the call."""
    return make_tree


@pytest.fixture
def definition() -> Callable[..., Definition]:
    """Makes the definition of a call with other arguments."""
    return make_definition


@pytest.fixture(scope="session")
def template() -> Template:
    return Template.of(plugin, "eh_norm", seed=7)
