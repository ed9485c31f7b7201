"""What the tests share: layers, kernels and definitions in sizes of choice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import fibcore_op_gated_rmsnorm as plugin
from fibcore.plugin import Definition, ModuleNode, Serving
from fibcore.testing.mutations import with_constants
from fibcore.testing.templates import Template
from fibcore.testing.trees import TENSOR, call, module, tree

FLA = "sglang.kernels.ops.attention.fla."
CLASSES: dict[str, tuple[str, dict[str, Any]]] = {
    "rows": (
        FLA + "layernorm_gated.RMSNorm",
        {
            "hidden_size": 128,
            "eps": 1e-6,
            "group_size": None,
            "norm_before_gate": True,
            "activation": "swish",
        },
    ),
    "fused": (
        FLA + "fused_norm_gate.FusedRMSNormGated",
        {"hidden_size": 128, "elementwise_affine": True, "eps": 1e-5, "activation": "sigmoid"},
    ),
}
MIXER = "sglang.srt.layers.attention.mamba."
VARIANTS: dict[str, dict[str, Any]] = {
    "silu": {},
    "sigmoid": {"activation": "sigmoid"},
    "gate_first": {"norm_before_gate": False},
    "sigmoid_gate_first": {"activation": "sigmoid", "norm_before_gate": False},
    "groups": {"group_size": 64},
    "groups_gate_first": {"group_size": 64, "norm_before_gate": False},
}


def make_layer(path: str = "o_norm", kind: str = "rows", **changed: Any) -> ModuleNode:
    """A gated norm of linear attention, with other arguments of its constructor."""
    cls, arguments = CLASSES[kind]
    calls = changed.pop("calls", [call(TENSOR, TENSOR)])
    return module(path, cls, {**arguments, **changed}, calls=calls)


def make_mixer(path: str = "mixer", *, ranks: Any = 1, **changed: Any) -> ModuleNode:
    """A mixer of Mamba 2 with its gated norm, as a backend runs it."""
    arguments = {
        "full_hidden_size": 8192,
        "full_n_groups": 8,
        "use_rms_norm": True,
        "eps": 1e-5,
        **changed,
    }
    cls = MIXER + "mixer2_rms_norm_gated.Mixer2RMSNormGated"
    norm = module(f"{path}.norm", cls, arguments)
    return module(path, MIXER + "mamba.MambaMixer2", children=[norm], attributes={"tp_size": ranks})


def make_definition(**changed: Any) -> Definition:
    (kernel,) = plugin.fibcore_extract(tree(make_layer(**changed)), Serving()).kernels
    return plugin.fibcore_reference(kernel)


def make_gate(hidden: int = 256) -> Definition:
    """The definition of a mixer that has no norm."""
    node = make_mixer(full_hidden_size=hidden, use_rms_norm=False)
    (kernel,) = plugin.fibcore_extract(tree(node), Serving()).kernels
    return plugin.fibcore_reference(kernel)


def small_definitions() -> list[Definition]:
    """One of each reference, so small that tests take milliseconds, with chunks as small."""
    made = [make_definition(hidden_size=256, **changed) for changed in VARIANTS.values()]
    return [with_constants(one, CHUNK_ELEMENTS=256 * 40) for one in (*made, make_gate())]


@pytest.fixture
def layer() -> Callable[..., ModuleNode]:
    """Makes a layer of linear attention with other arguments of its constructor."""
    return make_layer


@pytest.fixture
def mixer() -> Callable[..., ModuleNode]:
    """Makes a mixer of Mamba 2 with other arguments of its norm's constructor."""
    return make_mixer


@pytest.fixture
def definition() -> Callable[..., Definition]:
    """Makes a definition of a layer with other arguments of its constructor."""
    return make_definition


@pytest.fixture
def gate() -> Callable[..., Definition]:
    """Makes the definition of a mixer without a norm."""
    return make_gate


@pytest.fixture(scope="session")
def gate_template() -> Template:
    return Template.of(plugin, "silu_gate", seed=7)


@pytest.fixture(scope="session")
def template() -> Template:
    return Template.of(plugin, "gated_rmsnorm", seed=7)
