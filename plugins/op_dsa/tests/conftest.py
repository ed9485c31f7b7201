"""What the tests share: modules as SGLang constructs them, and definitions in small sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

import fibcore_op_dsa as plugin
from fibcore.plugin import Definition, ModuleNode, Serving
from fibcore.testing.mutations import with_constants
from fibcore.testing.sglang_modules import radix_attention
from fibcore.testing.templates import Template
from fibcore.testing.trees import module, tree

PATH = "model.layers.0.self_attn"


def make_indexer(path: str = PATH, cls: str = "Indexer", **changed: Any) -> ModuleNode:
    """The indexer of a module; `attributes` among the changes are those of the node."""
    attributes = changed.pop("attributes", {})
    arguments = {"index_n_heads": 64, "index_head_dim": 128, "index_topk": 2048, **changed}
    name = f"sglang.srt.layers.attention.dsa.dsa_indexer.{cls}"
    return module(f"{path}.indexer", name, arguments, attributes=attributes)


def make_layer(
    path: str = PATH,
    *,
    indexer: ModuleNode | bool = True,
    mqa: dict[str, Any] | None = None,
    attributes: dict[str, Any] | None = None,
    **sizes: Any,
) -> ModuleNode:
    """DeepseekV2AttentionMLA with an absorbed and a materialised layer, and an indexer."""
    heads, latent, rope = sizes.get("heads", 16), sizes.get("latent", 512), sizes.get("rope", 64)
    shared = {"num_heads": heads, "scaling": sizes.get("scaling", 0.1352337788608801)}
    absorbed = {"head_dim": latent + rope, "num_kv_heads": 1, "v_head_dim": latent, **(mqa or {})}
    materialised = {"head_dim": 128 + rope, "num_kv_heads": heads, "v_head_dim": 128}
    children = [
        radix_attention(f"{path}.attn_mqa", **{**shared, **absorbed}),
        radix_attention(f"{path}.attn_mha", **{**shared, **materialised}),
    ]
    if isinstance(indexer, ModuleNode):
        children.append(indexer)
    elif indexer:
        children.append(make_indexer(path))
    return module(
        path,
        "sglang.srt.models.deepseek_v2.DeepseekV2AttentionMLA",
        attributes={"use_dsa": True} if attributes is None else attributes,
        children=children,
    )


def small_tree() -> ModuleNode:
    """Few heads, small head sizes and few keys that are chosen."""
    indexer = make_indexer(index_n_heads=3, index_head_dim=16, index_topk=100)
    return make_layer(indexer=indexer, heads=3, latent=24, rope=8)


def make_definitions(
    node: ModuleNode | None = None, page_sizes: tuple[int, ...] = (1, 64), cache: str = "auto"
) -> dict[str, Definition]:
    """Definitions of one attention module, by what their names begin with and their page size."""
    serving = Serving(tp=8, options={"page_size": page_sizes})
    made = attrs.evolve(tree(node or make_layer()), kv_cache_dtype=cache)
    found = plugin.fibcore_extract(made, serving)
    return {kernel.name: plugin.fibcore_reference(kernel) for kernel in found.kernels}


def small_definitions() -> list[Definition]:
    """One of each reference, so small that tests take milliseconds, with chunks as small."""
    attention, indexer = make_definitions(small_tree(), (4,)).values()
    node = make_layer(indexer=make_indexer(index_topk=100), heads=3, latent=256, rope=8)
    scaled, _ = make_definitions(node, (4,), "fp8_e4m3").values()
    return [
        with_constants(attention, CPU_KEYS=200, GPU_KEYS=400),
        with_constants(indexer, CPU_KEYS=256, GPU_KEYS=512),
        with_constants(scaled, CPU_KEYS=200, GPU_KEYS=400),
    ]


@pytest.fixture
def layer() -> Callable[..., ModuleNode]:
    """Makes a module of sparse attention."""
    return make_layer


@pytest.fixture
def indexer() -> Callable[..., ModuleNode]:
    """Makes an indexer with other arguments of its constructor."""
    return make_indexer


@pytest.fixture
def definitions() -> Callable[..., dict[str, Definition]]:
    """Makes the definitions of a module."""
    return make_definitions


@pytest.fixture
def small() -> dict[str, Definition]:
    """The definitions in small sizes: "attention", "indexer" and "scaled"."""
    return dict(zip(("attention", "indexer", "scaled"), small_definitions(), strict=True))


@pytest.fixture(scope="session")
def template() -> Template:
    return Template.of(plugin, "dsa_paged", seed=7)
