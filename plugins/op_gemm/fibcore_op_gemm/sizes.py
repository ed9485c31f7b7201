"""N and K of the GEMM that a linear layer or an LM head runs, for the whole layer or one rank."""

from __future__ import annotations

from fibcore.plugin import LinearSizes as Shape
from fibcore.plugin import (
    ModuleNode,
    Serving,
    Size,
    UndecidedError,
    layer_sizes,
    layer_vocabulary,
    rank_sizes,
    rank_vocabulary,
)
from fibcore_op_gemm.names import SHAPES

__all__ = [
    "EMBEDDING",
    "LINEAR",
    "TORCH_EMBEDDING",
    "TORCH_LINEAR",
    "Shape",
    "Size",
    "UndecidedError",
    "head_shape",
    "linear_shape",
]

LINEAR = "sglang.srt.layers.linear."
EMBEDDING = "sglang.srt.layers.vocab_parallel_embedding."
TORCH_EMBEDDING = "torch.nn.Embedding"
TORCH_LINEAR = ("torch.nn.Linear", "torch.nn.modules.linear.Linear")


def linear_shape(node: ModuleNode, serving: Serving) -> Shape | None:
    """The GEMM of a linear layer; None where the node is none that is known.

    Raises:
        UndecidedError: a size is unknown, or the ranks do not divide it.
    """
    if serving.value(SHAPES) == "layer":
        return layer_sizes(node)
    return rank_sizes(node, serving)


def batched_shape(node: ModuleNode, serving: Serving) -> tuple[Shape, Size]:
    """The GEMMs of a `ColumnParallelBatchedLinear`, and how many there are.

    Raises:
        UndecidedError: a size is unknown, or the ranks do not divide it.
    """
    batch = Size(_int(_arguments(node), "batch"), "batch", (_arguments(node)["batch"],))
    return _split_n(node, serving), batch


def groups_of_rank(node: ModuleNode, serving: Serving, groups: Size) -> Size:
    """How many of the groups of a layer's rows one rank has.

    Raises:
        UndecidedError: the ranks are not known, or do not divide them.
    """
    if serving.value(SHAPES) == "rank":
        return groups  # of its rows already
    ranks = _ranks(_arguments(node), serving)
    return Size(_divide(groups.value, ranks, "groups"), "groups / tp", (*groups.sources, ranks))


def head_shape(node: ModuleNode, serving: Serving) -> Shape:
    """The GEMM of an LM head, or of an embedding whose matrix serves as one.

    Raises:
        UndecidedError: a size is unknown.
    """
    if serving.value(SHAPES) == "layer":
        return layer_vocabulary(node)
    return rank_vocabulary(node, serving)
