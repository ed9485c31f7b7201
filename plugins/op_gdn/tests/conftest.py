"""What the tests share: layers, kernels and definitions in sizes of choice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import fibcore_op_gdn as plugin
from fibcore.plugin import Definition, ModuleNode, ParameterRef, Serving
from fibcore.testing.mutations import with_constants
from fibcore.testing.templates import Template
from fibcore.testing.trees import TENSOR, call, module, tree

CLASS = "sglang.srt.layers.radix_linear_attention.RadixLinearAttention"
FORMS = ("decode", "mtp", "prefill")
RULES = (("head", None), ("channel", None), ("channel", -5.0))


def make_layer(
    path: str = "linear_attn.attn",
    *,
    gate: str = "head",
    qk_heads: int = 4,
    v_heads: int = 8,
    head_size: int = 128,
    lower_bound: float | None = None,
    **changed: Any,
) -> ModuleNode:
    """A layer of SGLang, with parameters as Qwen3-Next or Kimi-Linear gives them."""
    calls = changed.pop("calls", (call(TENSOR),))
    biases = v_heads if gate == "head" else v_heads * head_size
    arguments = {
        "layer_id": 0,
        "num_q_heads": qk_heads,
        "num_k_heads": qk_heads,
        "num_v_heads": v_heads,
        **dict.fromkeys(("head_q_dim", "head_k_dim", "head_v_dim"), head_size),
        "A_log": ParameterRef(f"{path}.A_log", (1, 1, v_heads, 1), "float32"),
        "dt_bias": ParameterRef(f"{path}.dt_bias", (biases,), None),
        "lower_bound": lower_bound,
    }
    return module(path, CLASS, {**arguments, **changed}, calls=calls)


def make_definition(form: str = "decode", gate: str = "head", **sizes: Any) -> Definition:
    kernels = plugin.fibcore_extract(tree(make_layer(gate=gate, **sizes)), Serving(tp=4)).kernels
    (kernel,) = (k for k in kernels if k.parameters["form"] == form)
    return plugin.fibcore_reference(kernel)


def small(form: str, gate: str, bound: float | None) -> Definition:
    """A definition so small that tests take milliseconds, in chunks and blocks as small."""
    sizes = {"qk_heads": 2, "v_heads": 4, "head_size": 8, "lower_bound": bound}
    made = make_definition(form, gate, **sizes)
    if form != "prefill":
        return made
    # Two or three chunks a block of one sequence.
    elements = 4 * 8 * 8 * (2 if gate == "head" else 24)
    return with_constants(made, CHUNK=8, BLOCK_ELEMENTS=elements)


def small_definitions() -> list[Definition]:
    """One of each reference and kind of gate."""
    return [small(form, *rule) for form in FORMS for rule in RULES]


@pytest.fixture
def layer() -> Callable[..., ModuleNode]:
    """Makes a layer with other arguments of its constructor."""
    return make_layer


@pytest.fixture
def definition() -> Callable[..., Definition]:
    """Makes a definition of a form, a gate, and sizes."""
    return make_definition


@pytest.fixture
def small_one() -> Callable[..., Definition]:
    """Makes a small definition of a form, a gate, and a bound."""
    return small


@pytest.fixture(scope="session")
def templates() -> dict[str, Template]:
    """The template by gate."""
    names = {"head": "gdn", "channel": "kda"}
    return {gate: Template.of(plugin, name, seed=7) for gate, name in names.items()}
