"""What the tests share: calls of SGLang's functions, and definitions in small sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import fibcore_op_mhc as plugin
from fibcore.plugin import Definition, ModelTree, Operation, ParameterRef, Serving
from fibcore.testing.templates import Template
from fibcore.testing.trees import TENSOR, module, operation, tree

MHC = "sglang.kernels.ops.layernorm.mhc."
NUMBERS: dict[str, Any] = {
    "rms_eps": 1e-6,
    "hc_pre_eps": 1e-6,
    "hc_sinkhorn_eps": 1e-6,
    "hc_post_mult_value": 2.0,
    "sinkhorn_repeat": 20,
}


def make_call(
    name: str,
    layer: str = "layers.0",
    norm: str = "",
    streams: int = 4,
    hidden: int = 32,
    **more: Any,
) -> Operation:
    """A call on a layer's parameters; `norm` is the name of the norm whose weight it is given."""
    mix, which = streams * (streams + 2), more.pop("which", "attn")
    given: dict[str, Any] = {
        "residual": TENSOR,
        "fn": ParameterRef(f"{layer}.hc_{which}_fn", (mix, streams * hidden), "float32"),
        "hc_scale": ParameterRef(f"{layer}.hc_{which}_scale", (3,), "float32"),
        "hc_base": ParameterRef(f"{layer}.hc_{which}_base", (mix,), "float32"),
        **NUMBERS,
    }
    if norm:
        weight = ParameterRef(f"{layer}.{norm}.weight", (hidden,), "bfloat16")
        given |= {"norm_weight": weight, "norm_eps": 1e-6}
    if name == "mhc_fused_post_pre":
        given = {"x": TENSOR, "post_layer_mix": TENSOR, "comb_res_mix": TENSOR, **given}
    return operation(MHC + name, module=layer, **{**given, **more})


def make_head(streams: int = 4, hidden: int = 32, **more: Any) -> Operation:
    """The call behind the last layer, on the model's parameters."""
    given: dict[str, Any] = {
        "x": TENSOR,
        "hc_fn": ParameterRef("model.hc_head_fn", (streams, streams * hidden), "float32"),
        "hc_scale": ParameterRef("model.hc_head_scale", (1,), "float32"),
        "hc_base": ParameterRef("model.hc_head_base", (streams,), "float32"),
        "norm_eps": 1e-6,
        "hc_eps": 2e-6,
        **more,
    }
    name = "sglang.kernels.ops.layernorm.mhc_head.fused_hc_head"
    x, fn, scale, base = (given.pop(n) for n in ("x", "hc_fn", "hc_scale", "hc_base"))
    return operation(name, x, fn, scale, base, module="model", **given)


def make_layer(path: str = "layers.0") -> Any:
    """A layer with two norms."""
    cls = "sglang.srt.layers.layernorm.RMSNorm"
    norms = [module(f"{path}.{n}", cls) for n in ("input_layernorm", "post_attention_layernorm")]
    return module(path, "sglang.srt.models.example.Layer", children=norms)


def make_tree(*calls: Operation, layers: tuple[str, ...] = ("layers.0",)) -> ModelTree:
    return tree(*map(make_layer, layers), operations=calls)


def whole_model(streams: int = 4, hidden: int = 32) -> ModelTree:
    """A layer: what is given to attention, and the boundary to the feed-forward layer."""
    sizes = {"streams": streams, "hidden": hidden}
    return make_tree(
        make_call("mhc_pre", norm="input_layernorm", **sizes),
        make_call("mhc_fused_post_pre", norm="post_attention_layernorm", which="ffn", **sizes),
    )


def unfused_model(streams: int = 4, hidden: int = 32) -> ModelTree:
    """A layer whose norms are kernels of their own."""
    sizes = {"streams": streams, "hidden": hidden}
    return make_tree(*(make_call("mhc_pre", which=which, **sizes) for which in ("attn", "ffn")))


def small_definitions() -> dict[str, Definition]:
    """One of each kind, by what its name begins with; four streams and three."""
    found: dict[str, Definition] = {}
    head = tree(module("model", "sglang.srt.models.example.Model"), operations=[make_head(3, 40)])
    for made in (whole_model(), unfused_model(3, 40), head):
        for kernel in plugin.fibcore_extract(made, Serving()).kernels:
            definition = plugin.fibcore_reference(kernel)
            found.setdefault(definition.name.partition("_hc")[0], definition)
    return found


@pytest.fixture(scope="session")
def small() -> dict[str, Definition]:
    return small_definitions()


@pytest.fixture
def mhc() -> Callable[..., ModelTree]:
    """Makes the tree of one layer with a call."""
    return lambda *given, **more: make_tree(make_call(*given, **more))


@pytest.fixture
def head() -> Callable[..., ModelTree]:
    """Makes the tree of a model with the call behind its last layer."""
    holder = module("model", "sglang.srt.models.example.Model")
    return lambda **more: tree(holder, operations=[make_head(**more)])


@pytest.fixture(scope="session")
def template() -> Template:
    return Template.of(plugin, "mhc_post", seed=3)


@pytest.fixture
def fused() -> ModelTree:
    """A layer whose norms are inside the kernels."""
    return whole_model()


@pytest.fixture
def unfused() -> ModelTree:
    """A layer whose norms are kernels of their own."""
    return unfused_model(4, 32)


@pytest.fixture
def unfused_post() -> Definition:
    """The definition of what puts three streams together."""
    kernels = plugin.fibcore_extract(unfused_model(3, 40), Serving()).kernels
    return plugin.fibcore_reference(next(k for k in kernels if k.op_type == "mhc_post"))
