"""The contract that every plugin has to hold, on both layouts of the cache."""

from __future__ import annotations

import fibcore_op_move
from fibcore.plugin import ModuleRef, Serving, TensorRef, Unknown
from fibcore.testing.contract import PluginContract
from fibcore.testing.trees import module, operation, tree

TOKENS = Unknown("the number of tokens")
POOLS = "sglang.srt.mem_cache.memory_pool."


def rows(heads: int, size: int) -> TensorRef:
    return TensorRef((TOKENS, heads, size), "bfloat16")


PLACES = TensorRef((TOKENS,), "int64")
CALLS = (
    operation(
        f"{POOLS}MHATokenToKVPool.set_kv_buffer",
        *(ModuleRef("a"), PLACES, rows(2, 64), rows(2, 64)),
        module="a",
    ),
    operation(
        f"{POOLS}MLATokenToKVPool.set_mla_kv_buffer",
        *(ModuleRef("b"), PLACES, rows(1, 512), rows(1, 64)),
        module="b",
    ),
    operation("sglang.srt.distributed.communication_op.tensor_model_parallel_all_reduce", PLACES),
)
MODULES = [module(name, "sglang.srt.layers.radix_attention.RadixAttention") for name in "ab"]


class TestContract(PluginContract):
    plugin = fibcore_op_move
    trees = ((tree(*MODULES, kernel_calls=CALLS), Serving()),)
