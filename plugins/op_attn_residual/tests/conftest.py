"""What the tests share: layers, trees and definitions in sizes of choice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

import fibcore_op_attn_residual as plugin
from fibcore.plugin import Definition, ModelTree, Operation, ParameterRef, Serving, SourcePlace
from fibcore.testing.mutations import with_constants
from fibcore.testing.templates import Template
from fibcore.testing.trees import TENSOR, module, operation, tree

PLACE = SourcePlace("sglang/srt/layers/attn_residual.py", 81)


def make_weight(layer: str, size: Any = 7168, projection: Any = None) -> Operation:
    """The product of both weights of a layer."""
    weights = [
        ParameterRef(f"{layer}.res_norm.weight", (size,), None),
        ParameterRef(f"{layer}.res_proj.weight", (1, projection or size), "bfloat16"),
    ]
    return attrs.evolve(operation("torch.mul", *weights, module=layer), place=PLACE)


def make_layer(path: str, size: Any = 7168, eps: Any = 1e-5, kept: Any = 3) -> Any:
    """A layer with a norm and a projection that it does not call."""
    norm, projection = f"{path}.res_norm", f"{path}.res_proj"
    children = [
        module(norm, "sglang.srt.layers.layernorm.RMSNorm", {"hidden_size": size, "eps": eps}),
        module(projection, "sglang.srt.layers.linear.ReplicatedLinear", {"input_size": size}),
    ]
    attributes = {"prev_valid_blocks": kept}
    return module(path, "sglang.srt.models.a.Layer", attributes=attributes, children=children)


def make_tree(*operations: Operation, **changed: Any) -> ModelTree:
    """A layer with its product, and other calls."""
    size = changed.get("size", 7168)
    weight = make_weight("layers.0", size, changed.pop("projection", None))
    return tree(make_layer("layers.0", **changed), operations=[weight, weight, *operations])


def make_definition(**changed: Any) -> Definition:
    (kernel,) = plugin.fibcore_extract(make_tree(**changed), Serving()).kernels
    return plugin.fibcore_reference(kernel)


def small_definitions() -> list[Definition]:
    """The reference, so small that tests take milliseconds, with chunks as small."""
    return [with_constants(make_definition(size=96), CHUNK_ELEMENTS=96 * 4 * 40)]


@pytest.fixture
def model() -> Callable[..., ModelTree]:
    """Makes the tree of a model of one layer, with other sizes."""
    return make_tree


@pytest.fixture
def two_layers() -> ModelTree:
    """Layers that find one stream kept, and four."""
    layers = [make_layer(f"layers.{at}", kept=kept) for at, kept in enumerate((1, 4))]
    return tree(*layers, operations=[make_weight(f"layers.{at}") for at in range(2)])


@pytest.fixture
def fused() -> Operation:
    """A call of a kernel that computes the norm as well."""
    return operation("sglang.kernels.ops.attention.attn_res.attn_res_fused_tma", TENSOR)


@pytest.fixture
def definition() -> Callable[..., Definition]:
    """Makes the definition of a layer with other sizes."""
    return make_definition


@pytest.fixture(scope="session")
def template() -> Template:
    return Template.of(plugin, "attn_residual", seed=7)
