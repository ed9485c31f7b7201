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


def batched_shape(node: ModuleNode, serving: Serving) -> tuple[Shape | None, Size]:
    """The GEMM of each matrix of a `ColumnParallelBatchedLinear`, and how many there are.

    Raises:
        UndecidedError: a size is unknown, or the ranks do not divide it.
    """
    batch = node.argument("batch")
    if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
        raise UndecidedError(f"batch is {batch}")
    return linear_shape(node, serving), Size(batch, "batch", (batch,))


def groups_of_rank(node: ModuleNode, serving: Serving, rows: int) -> Size:
    """How many groups of so many rows of its weight a rank has of a layer.

    Raises:
        UndecidedError: what a rank has is unknown, or no such groups.
    """
    shape = rank_sizes(node, serving)
    if shape is None or shape.n.value % rows:
        raise UndecidedError(f"a rank has no groups of {rows} rows")
    return Size(shape.n.value // rows, "groups of a rank", (*shape.n.sources, rows))


def head_shape(node: ModuleNode, serving: Serving) -> Shape:
    """The GEMM of an LM head, or of an embedding whose matrix serves as one.

    Raises:
        UndecidedError: a size is unknown.
    """
    if serving.value(SHAPES) == "layer":
        return layer_vocabulary(node)
    return rank_vocabulary(node, serving)
