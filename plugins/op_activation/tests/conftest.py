"""What the tests share: feed-forward layers, kernels and definitions in sizes of choice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import fibcore_op_activation as plugin
from fibcore.plugin import Definition, ModuleNode, Operation, Serving
from fibcore.testing.mutations import with_constants
from fibcore.testing.sglang_modules import linear
from fibcore.testing.templates import Template
from fibcore.testing.trees import TENSOR, call, module, operation, tree
from fibcore_op_activation.kinds import KINDS

LAYERS = "sglang.srt.layers.activation."
# Kind to class and arguments, as SGLang's constructors take them.
CLASSES: dict[str, tuple[str, dict[str, Any]]] = {
    "silu_and_mul": (LAYERS + "SiluAndMul", {"args": ()}),
    "gelu_and_mul": (LAYERS + "GeluAndMul", {"approximate": "none"}),
    "gelu_tanh_and_mul": (LAYERS + "GeluAndMul", {"approximate": "tanh"}),
    "situ_and_mul": (LAYERS + "SituAndMul", {"beta": 4.0, "linear_beta": 25.0}),
    "silu": ("torch.nn.SiLU", {}),
    "gelu": ("torch.nn.GELU", {}),
    "gelu_tanh": (LAYERS + "NewGELU", {}),
    "quick_gelu": (LAYERS + "QuickGELU", {}),
    "relu": ("torch.nn.ReLU", {}),
    "relu2": (LAYERS + "ReLU2", {}),
}
EXPERTS = "sglang.srt.layers.moe.moe_runner.triton_utils.fused_moe."
# Kind to function and arguments behind the tensor, for those that no class has.
FUNCTIONS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "silu_and_mul_clamp": (
        "sglang.kernels.ops.activation.silu_and_mul_clamp.silu_and_mul_clamp",
        (TENSOR, 10.0),
    ),
    "swiglu_oai_and_mul": (
        f"{EXPERTS}swiglu_no_interleaved_with_alpha_and_limit",
        (1.702, 7.0),
    ),
}


def make_activation(kind: str, path: str = "act_fn", **changed: Any) -> ModuleNode:
    cls, arguments = CLASSES[kind]
    return module(path, cls, {**arguments, **changed}, calls=[call(TENSOR)])


def make_layer(kind: str, size: int = 4096, path: str = "mlp", **changed: Any) -> ModuleNode:
    """A feed-forward layer with `size` elements between its linear layers."""
    if KINDS[kind].gated:
        arguments = {"input_size": 64, "output_sizes": [size, size]}
        cls = "sglang.srt.layers.linear.MergedColumnParallelLinear"
        first = module(f"{path}.gate_up_proj", cls, arguments, calls=[call(TENSOR)])
    else:
        first = linear(f"{path}.up_proj", "ColumnParallelLinear", 64, size, calls=[call(TENSOR)])
    last = linear(f"{path}.down_proj", "RowParallelLinear", size, 64, calls=[call(TENSOR)])
    children = [first, last]
    if kind not in FUNCTIONS:
        children.append(make_activation(kind, f"{path}.act_fn", **changed))
    return module(path, "sglang.srt.models.example.MLP", children=children, leaf=False)


def make_call(kind: str, path: str = "mlp", *arguments: Any) -> Operation:
    """A call of the function of a kind, in a feed-forward layer."""
    function, given = FUNCTIONS[kind]
    return operation(function, TENSOR, *(arguments or given), module=path)


def make_definition(kind: str, size: int = 4096) -> Definition:
    calls = [make_call(kind)] if kind in FUNCTIONS else []
    made = tree(make_layer(kind, size), kernel_calls=calls)
    (kernel,) = plugin.fibcore_extract(made, Serving()).kernels
    return plugin.fibcore_reference(kernel)


def small_definitions() -> list[Definition]:
    """One of each reference, so small that tests take milliseconds, with chunks as small."""
    made = []
    for kind in KINDS:
        small = make_definition(kind, 64)
        chunked = "CHUNK_ELEMENTS" in small.reference
        made.append(with_constants(small, CHUNK_ELEMENTS=64 * 40) if chunked else small)
    return made


@pytest.fixture
def activation() -> Callable[..., ModuleNode]:
    """Makes an activation of a kind."""
    return make_activation


@pytest.fixture
def layer() -> Callable[..., ModuleNode]:
    """Makes a feed-forward layer with an activation of a kind, and a size."""
    return make_layer


@pytest.fixture
def function() -> Callable[..., Operation]:
    """Makes a call of the function of a kind, in the layer of a path."""
    return make_call


@pytest.fixture
def definition() -> Callable[..., Definition]:
    """Makes a definition of a kind and a size."""
    return make_definition


@pytest.fixture(scope="session")
def template() -> Template:
    return Template.of(plugin, "activation", seed=7)
