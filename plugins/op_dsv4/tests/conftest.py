"""What the tests share: modules as SGLang constructs them, and definitions in small sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

import fibcore_op_dsv4 as plugin
from fibcore.plugin import Definition, Extraction, ModelTree, ModuleNode, Serving
from fibcore.testing.sglang_modules import radix_attention
from fibcore.testing.templates import Template
from fibcore.testing.trees import module, tree

PATH = "model.layers.0.self_attn"
DSV4 = "sglang.srt.layers.attention.dsv4."
NORM = "sglang.srt.layers.layernorm.RMSNorm"


def make_compressor(path: str, ratio: int, head_dim: int, rope: int, **changed: Any) -> ModuleNode:
    attributes = {
        "ratio": ratio,
        "overlap": ratio == 4,
        "head_dim": head_dim,
        "rope_head_dim": rope,
        "is_in_indexer": "indexer" in path,
        **changed,
    }
    norm = module(f"{path}.norm", NORM, {"hidden_size": head_dim, "eps": 1e-6})
    cls = f"{DSV4}compressor.Compressor"
    return module(path, cls, attributes=attributes, children=[norm])


def make_indexer(path: str = f"{PATH}.indexer", **changed: Any) -> ModuleNode:
    attributes = {
        "n_heads": 64,
        "head_dim": 128,
        "rope_head_dim": 64,
        "index_topk": 512,
        "use_fp4_indexer": False,
        "weight_scale": 0.011,
        **changed,
    }
    size = (attributes["head_dim"], attributes["rope_head_dim"])
    compressor = make_compressor(f"{path}.compressor", 4, *size)
    return module(path, f"{DSV4}indexer.C4Indexer", attributes=attributes, children=[compressor])


def make_layer(ratio: int = 4, path: str = PATH, indexer: Any = None, **changed: Any) -> ModuleNode:
    """A module of attention, with a compressor where its ratio has one."""
    attributes = {
        "n_local_heads": 8,
        "head_dim": 512,
        "qk_rope_head_dim": 64,
        "softmax_scale": 512**-0.5,
        "eps": 1e-6,
        "q_head_norm": True,
        "compress_ratio": ratio,
        **changed,
    }
    children = [
        module(f"{path}.kv_norm", NORM),
        module(f"{path}.rotary_emb", "sglang.srt.layers.rotary_embedding.RotaryEmbedding"),
        radix_attention(f"{path}.attn_mqa", num_heads=8, num_kv_heads=1, head_dim=512, scaling=1.0),
    ]
    if ratio:
        size = (attributes["head_dim"], attributes["qk_rope_head_dim"])
        children.append(make_compressor(f"{path}.compressor", ratio, *size))
    if ratio == 4:
        children.append(indexer or make_indexer(f"{path}.indexer"))
    cls = "sglang.srt.models.deepseek_v4.MQALayer"
    return module(path, cls, attributes=attributes, children=children)


def make_tree(*layers: ModuleNode, window: Any = 128) -> ModelTree:
    return attrs.evolve(tree(*layers), config={"sliding_window": window})


def extract(*layers: ModuleNode, window: Any = 128) -> Extraction:
    return plugin.fibcore_extract(make_tree(*layers, window=window), Serving(tp=8))


def small_tree() -> ModelTree:
    """Few heads, small head sizes and a short window; one layer of each ratio."""
    sizes = {"n_local_heads": 3, "head_dim": 144, "qk_rope_head_dim": 16}
    index = {"n_heads": 3, "head_dim": 32, "rope_head_dim": 8}
    layers = []
    for layer, ratio in enumerate((0, 4, 128)):
        path = f"model.layers.{layer}.self_attn"
        indexer = make_indexer(f"{path}.indexer", **index)
        layers.append(make_layer(ratio, path, indexer, **sizes))
    return make_tree(*layers, window=6)


def small_definitions() -> dict[str, Definition]:
    """One of each kind, by the kind."""
    found: dict[str, Definition] = {}
    for kernel in plugin.fibcore_extract(small_tree(), Serving(tp=8)).kernels:
        kind = str(kernel.parameters["kind"])
        found.setdefault(kind, plugin.fibcore_reference(kernel))
    return found


@pytest.fixture(scope="session")
def small() -> dict[str, Definition]:
    return small_definitions()


@pytest.fixture
def layer() -> Callable[..., ModuleNode]:
    """Makes a module of attention."""
    return make_layer


@pytest.fixture
def indexer() -> Callable[..., ModuleNode]:
    """Makes an indexer."""
    return make_indexer


@pytest.fixture
def found() -> Callable[..., Extraction]:
    """What is found in a tree of layers."""
    return extract


@pytest.fixture(scope="session")
def template() -> Template:
    return Template.of(plugin, "sparse_mla_dsv4", seed=5)
