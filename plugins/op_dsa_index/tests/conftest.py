"""What the tests share: indexers as SGLang constructs them, and definitions in small sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import fibcore_op_dsa_index as plugin
from fibcore.plugin import Definition, Extraction, ModuleNode, Named, Serving
from fibcore.testing.templates import Template
from fibcore.testing.trees import TENSOR, call, module, tree

PATH = "model.layers.0.self_attn.indexer"


def make_indexer(
    path: str = PATH, norm: str = "LayerNorm", *, fused: Any = True, eps: Any = 1e-6, **sizes: Any
) -> ModuleNode:
    """An indexer that hands its norm to a fused kernel, or calls it."""
    arguments = {"index_n_heads": 32, "index_head_dim": 128, "rope_head_dim": 64, **sizes}
    scale = arguments.pop("softmax_scale", 128**-0.5)
    weights = {"hidden_size": arguments["index_head_dim"], "dtype": Named("torch.float32")}
    k_norm = module(
        f"{path}.k_norm", f"sglang.srt.layers.layernorm.{norm}", {**weights, "eps": eps}
    )
    return module(
        path,
        "sglang.srt.layers.attention.dsa.dsa_indexer.Indexer",
        arguments,
        attributes={"use_dsa_indexer_fusion": fused, "softmax_scale": scale},
        calls=[call(TENSOR)],
        children=[k_norm],
    )


def extract(*nodes: ModuleNode, tp: int = 8) -> Extraction:
    return plugin.fibcore_extract(tree(*nodes), Serving(tp=tp))


def small_definitions() -> dict[str, Definition]:
    """Both kinds, by the kind."""
    node = make_indexer(index_n_heads=3, index_head_dim=32, rope_head_dim=12)
    return {
        str(kernel.parameters["kind"]): plugin.fibcore_reference(kernel)
        for kernel in extract(node).kernels
    }


@pytest.fixture(scope="session")
def small() -> dict[str, Definition]:
    return small_definitions()


@pytest.fixture
def indexer() -> Callable[..., ModuleNode]:
    """Makes an indexer."""
    return make_indexer


@pytest.fixture
def found() -> Callable[..., Extraction]:
    """What is found in a tree of indexers."""
    return extract


@pytest.fixture(scope="session")
def template() -> Template:
    return Template.of(plugin, "dsa_index_q", seed=5)
