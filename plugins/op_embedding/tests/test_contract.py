"""The contract that every plugin has to hold, on a whole table and a rank's part of one."""

from __future__ import annotations

import fibcore_op_embedding
from fibcore.plugin import ModuleNode, Serving
from fibcore.testing.contract import PluginContract
from fibcore.testing.trees import TENSOR, call, module, tree


def layer(path: str, vocab: int, hidden: int) -> ModuleNode:
    arguments = {
        "num_embeddings": vocab,
        "embedding_dim": hidden,
        "params_dtype": None,
        "output_dtype": None,
        "org_num_embeddings": None,
        "padding_size": 64,
        "enable_tp": True,
    }
    cls = "sglang.srt.layers.vocab_parallel_embedding.VocabParallelEmbedding"
    return module(path, cls, arguments, calls=[call(TENSOR)])


TREE = tree(layer("embed_tokens", 100, 48), layer("embed_layers", 256, 32))


class TestContract(PluginContract):
    plugin = fibcore_op_embedding
    trees = ((TREE, Serving()), (TREE, Serving(tp=2)))
