"""What the tests share: layers, kernels and definitions in sizes of choice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import fibcore_op_qk_norm_rope as plugin
from fibcore.plugin import Definition, ModelTree, Named, ParameterRef, Serving
from fibcore.testing.mutations import with_constants
from fibcore.testing.templates import Template
from fibcore.testing.trees import TENSOR, module, operation, tree

FUNCTION = (
    "sglang.kernels.ops.attention.fused_qk_rmsnorm_rope_gate.fused_qk_gemma_rmsnorm_rope_gate"
)
ROTARY = "sglang.srt.layers.rotary_embedding.mrope.MRotaryEmbedding"
NORM = "sglang.srt.layers.layernorm.GemmaRMSNorm"


def make_layers(*paths: str, sections: Any = (11, 11, 10), **changed: Any) -> ModelTree:
    """Attention layers that hand weights and the table of their rotary embedding over."""
    nodes, calls = [], []
    for path in paths or ("layers.3",):
        norms = [module(f"{path}.{name}_norm", NORM, {"hidden_size": 256}) for name in "qk"]
        rotary = module(f"{path}.rotary_emb", ROTARY, {"mrope_section": sections})
        nodes.append(module(path, "sglang.srt.models.qwen3_5.Layer", children=[*norms, rotary]))
        weights = [ParameterRef(f"{path}.{name}_norm.weight", (256,), None) for name in "qk"]
        given = {"eps": 1e-6, "heads": 16, "keys": 2, "head_dim": 256, "rotary_dim": 64, **changed}
        gate = given.pop("has_gate", True)
        calls.append(
            operation(
                FUNCTION,
                *(TENSOR, TENSOR, *weights, Named("torch.Tensor"), TENSOR, *given.values()),
                module=path,
                has_gate=gate,
            )
        )
    return tree(*nodes, operations=calls)


def make_definition(**changed: Any) -> Definition:
    (kernel,) = plugin.fibcore_extract(make_layers(**changed), Serving()).kernels
    return plugin.fibcore_reference(kernel)


VARIANTS: dict[str, dict[str, Any]] = {
    "gate_mrope": {},
    "mrope": {"has_gate": False},
    "gate": {"sections": None},
    "plain": {"sections": None, "has_gate": False},
    "whole": {"head_dim": 16},
}


def small(variant: str) -> Definition:
    """A definition so small that tests take milliseconds, in chunks as small."""
    made = make_definition(**{"head_dim": 32, "rotary_dim": 16, **VARIANTS[variant]})
    return with_constants(made, CHUNK_ELEMENTS=32 * 40)


def small_definitions() -> list[Definition]:
    """One of each reference."""
    return [small(variant) for variant in VARIANTS]


@pytest.fixture
def layers() -> Callable[..., ModelTree]:
    """Makes layers with other arguments of the function."""
    return make_layers


@pytest.fixture
def definition() -> Callable[..., Definition]:
    """Makes a definition of a layer with other arguments of the function."""
    return make_definition


@pytest.fixture
def small_one() -> Callable[..., Definition]:
    """Makes a small definition of a variant."""
    return small


@pytest.fixture(scope="session")
def template() -> Template:
    return Template.of(plugin, "qk_norm_rope", seed=7)
