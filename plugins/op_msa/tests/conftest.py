"""What the tests share: layers as SGLang constructs them, and definitions in small sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

import fibcore_op_msa as plugin
from fibcore.plugin import Definition, Extraction, ModuleNode, Serving
from fibcore.testing.mutations import with_constants
from fibcore.testing.sglang_modules import radix_attention
from fibcore.testing.templates import Template
from fibcore.testing.trees import TENSOR, call, module, tree

PATH = "model.layers.3.self_attn"
SPARSE: dict[str, Any] = {
    "sparse_topk_blocks": 16,
    "sparse_block_size": 128,
    "sparse_init_block": 0,
    "sparse_local_block": 1,
    "sparse_score_type": "max",
}


def make_layer(call_kwargs: Any = None, attributes: Any = None, **sizes: Any) -> ModuleNode:
    """A module of attention whose layer is called with an index."""
    given = {"num_heads": 8, "num_kv_heads": 1, "head_dim": 128, "scaling": 128**-0.5, **sizes}
    index = (
        {"idx_q": TENSOR, "idx_k": TENSOR, "idx_v": None} if call_kwargs is None else call_kwargs
    )
    layer = attrs.evolve(
        radix_attention(f"{PATH}.attn", **given), calls=(call(*[TENSOR] * 3, **index),)
    )
    held = {"num_idx_heads": 1, "idx_head_dim": 128, "disable_index_value": True}
    cls = "sglang.srt.models.minimax_m3.MiniMaxM3Attention"
    return module(PATH, cls, attributes={**held, **(attributes or {})}, children=[layer])


def extract(
    node: ModuleNode, pages: tuple[int, ...] = (64,), nested: bool = True, **changed: Any
) -> Extraction:
    settings = {"sparse_attention_config": {**SPARSE, **changed}}
    made = attrs.evolve(tree(node), config={"text_config": settings} if nested else settings)
    return plugin.fibcore_extract(made, Serving(tp=8, options={"page_size": pages}))


def small_definitions(**changed: Any) -> dict[str, Definition]:
    """Both in sizes that take milliseconds, by their kinds."""
    sizes = {"num_heads": 4, "num_kv_heads": 2, "head_dim": 8}
    node = make_layer(attributes={"num_idx_heads": 2, "idx_head_dim": 16}, **sizes)
    blocks = {"sparse_topk_blocks": 3, "sparse_block_size": 6, **changed}
    found = {}
    for kernel in extract(node, (4,), **blocks).kernels:
        made = plugin.fibcore_reference(kernel)
        found[str(kernel.parameters["kind"])] = with_constants(made, CPU_KEYS=150)
    return found


@pytest.fixture(scope="session")
def small() -> dict[str, Definition]:
    return small_definitions()


@pytest.fixture(scope="session")
def with_init() -> Definition:
    """A choice that always has the first block, and the last two."""
    return small_definitions(sparse_topk_blocks=4, sparse_init_block=1, sparse_local_block=2)[
        "indexer"
    ]


@pytest.fixture
def layer() -> Callable[..., ModuleNode]:
    """Makes a module of attention."""
    return make_layer


@pytest.fixture
def found() -> Callable[..., Extraction]:
    """What is found in a tree of one module."""
    return extract


@pytest.fixture(scope="session")
def template() -> Template:
    return Template.of(plugin, "msa_sparse", seed=9)
