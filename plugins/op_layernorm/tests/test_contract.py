"""The contract that every plugin has to hold, on LayerNorms of every form."""

from __future__ import annotations

import fibcore_op_layernorm
from fibcore.plugin import ModuleNode, Named, Serving
from fibcore.testing.contract import PluginContract
from fibcore.testing.trees import TENSOR, call, module, tree

FLAGS = ((True, True), (True, False), (False, False))


def layer(path: str, hidden_size: int, dtype: str, *, affine: bool, bias: bool) -> ModuleNode:
    arguments = {
        "hidden_size": hidden_size,
        "eps": 1e-5,
        "elementwise_affine": affine,
        "bias": bias,
        "dtype": Named(f"torch.{dtype}"),
    }
    cls = "sglang.srt.layers.layernorm.LayerNorm"
    return module(path, cls, arguments, calls=[call(TENSOR)])


def torch_layer(path: str, hidden_size: int) -> ModuleNode:
    arguments = {"normalized_shape": hidden_size, "eps": 1e-5}
    return module(path, "torch.nn.LayerNorm", arguments, calls=[call(TENSOR)])


class TestContract(PluginContract):
    plugin = fibcore_op_layernorm
    trees = (
        (
            tree(
                *(
                    layer(f"{dtype}_{affine}_{bias}", 48, dtype, affine=affine, bias=bias)
                    for dtype in ("float32", "bfloat16")
                    for affine, bias in FLAGS
                ),
                torch_layer("vision", 64),
            ),
            Serving(),
        ),
    )
