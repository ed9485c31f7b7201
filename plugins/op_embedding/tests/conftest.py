"""What the tests share: layers, kernels and definitions in sizes of choice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import fibcore_op_embedding as plugin
from fibcore.plugin import Definition, ModuleNode, Serving
from fibcore.testing.templates import Template
from fibcore.testing.trees import TENSOR, call, module, tree

PARALLEL = "sglang.srt.layers.vocab_parallel_embedding.VocabParallelEmbedding"
ARGUMENTS = {
    "num_embeddings": 128256,
    "embedding_dim": 4096,
    "params_dtype": None,
    "output_dtype": None,
    "org_num_embeddings": None,
    "padding_size": 64,
    "quant_config": None,
    "enable_tp": True,
    "use_attn_tp_group": False,
    "use_presharded_weights": False,
}


def make_layer(path: str = "embed_tokens", *, cls: str = PARALLEL, **changed: Any) -> ModuleNode:
    """A layer of SGLang; `calls`, `bases` and `quantization` among the arguments are the node's."""
    of_node: dict[str, Any] = {"calls": (call(TENSOR),)}
    for name in ("calls", "bases", "quantization"):
        if name in changed:
            of_node[name] = changed.pop(name)
    return module(path, cls, {**ARGUMENTS, **changed}, leaf=True, **of_node)


def make_definition(tp: int = 1, vocab: int = 256, hidden: int = 64) -> Definition:
    layer = make_layer(num_embeddings=vocab, embedding_dim=hidden)
    (kernel,) = plugin.fibcore_extract(tree(layer), Serving(tp=tp)).kernels
    return plugin.fibcore_reference(kernel)


SCALED = "sglang.srt.models.gemma3_causal.Gemma3TextScaledWordEmbedding"


def make_scaled(vocab: int = 256, hidden: int = 64) -> Definition:
    """Makes a definition whose rows are multiplied by a number."""
    sizes = {"num_embeddings": vocab, "embedding_dim": hidden, "embed_scale": 7.25}
    layer = make_layer(cls=SCALED, bases=("torch.nn.Embedding",), **sizes)
    (kernel,) = plugin.fibcore_extract(tree(layer), Serving()).kernels
    return plugin.fibcore_reference(kernel)


def small_definitions() -> list[Definition]:
    """A whole table, a part of one and a scaled one, so small that tests take milliseconds."""
    return [make_definition(1, 64, 8), make_definition(2, 128, 8), make_scaled(64, 8)]


@pytest.fixture
def layer() -> Callable[..., ModuleNode]:
    """Makes a layer with other arguments of its constructor."""
    return make_layer


@pytest.fixture
def definition() -> Callable[..., Definition]:
    """Makes a definition of a number of ranks, a vocabulary and a hidden size."""
    return make_definition


@pytest.fixture
def scaled() -> Callable[..., Definition]:
    """Makes a definition with a number, of a vocabulary and a hidden size."""
    return make_scaled


@pytest.fixture(scope="session")
def template() -> Template:
    return Template.of(plugin, "embedding", seed=7)
