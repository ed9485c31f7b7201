"""The contract that every plugin has to hold, on every kind of sampling."""

from __future__ import annotations

import fibcore_op_sampling
from fibcore.plugin import ModuleRef, Serving
from fibcore.testing.contract import PluginContract
from fibcore.testing.trees import TENSOR, call, module, tree

HEAD = "sglang.srt.layers.vocab_parallel_embedding.ParallelLMHead"
LOGITS = "sglang.srt.layers.logits_processor.LogitsProcessor"

MODEL = tree(
    module("lm_head", HEAD, {"num_embeddings": 64, "embedding_dim": 16}),
    module("logits_processor", LOGITS, calls=[call(TENSOR, TENSOR, ModuleRef("lm_head"))]),
)


class TestContract(PluginContract):
    plugin = fibcore_op_sampling
    trees = ((MODEL, Serving()), (MODEL, Serving(options={"sampling_order": "joint"})))
