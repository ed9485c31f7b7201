"""Sizes of linear layers and vocabularies, whole and on one rank."""

from __future__ import annotations

from typing import Any

import pytest

from fibcore.plugin import (
    Alternatives,
    LinearSizes,
    ModuleNode,
    Named,
    Serving,
    UndecidedError,
    Unknown,
    layer_sizes,
    layer_vocabulary,
    rank_sizes,
    rank_vocabulary,
    with_origins,
)
from fibcore.testing.trees import module

LINEAR = "sglang.srt.layers.linear."
EMBEDDING = "sglang.srt.layers.vocab_parallel_embedding."
TP4 = Serving(tp=4)
HIDDEN = with_origins(256, frozenset({"config:hidden_size"}))


def linear(cls: str, **arguments: Any) -> ModuleNode:
    return module("layer", LINEAR + cls, arguments)


def of(sizes: LinearSizes | None) -> tuple[int, int, bool] | None:
    return None if sizes is None else (sizes.n.value, sizes.k.value, sizes.sharded)


PLAIN = {"input_size": 256, "output_size": 512}
QKV = {"hidden_size": 256, "head_size": 16, "total_num_heads": 16, "total_num_kv_heads": 2}


@pytest.mark.parametrize(
    ("node", "whole", "rank"),
    [
        (linear("ReplicatedLinear", **PLAIN), (512, 256, False), (512, 256, False)),
        (linear("ColumnParallelLinear", **PLAIN), (512, 256, False), (128, 256, True)),
        (linear("ColumnParallelBatchedLinear", **PLAIN), (512, 256, False), (128, 256, True)),
        (linear("RowParallelLinear", **PLAIN), (512, 256, False), (512, 64, True)),
        (
            linear("MergedColumnParallelLinear", input_size=256, output_sizes=[512, 64]),
            (576, 256, False),
            (144, 256, True),
        ),
        # Two key and value heads: each of four ranks has one, copied.
        (linear("QKVParallelLinear", **QKV), (320, 256, False), (96, 256, True)),
        # Two of the four ranks hold the same part.
        (
            linear(
                "ColumnParallelLinear",
                parallel_group=Named(
                    LINEAR + "ReplicatedParallelGroup", (("group", "attn_tp"), ("replica_size", 2))
                ),
                **PLAIN,
            ),
            (512, 256, False),
            (256, 256, True),
        ),
        (linear("ColumnParallelLinear", tp_size=1, **PLAIN), (512, 256, False), (512, 256, True)),
        (
            module("layer", "torch.nn.Linear", {"in_features": 8, "out_features": 3}),
            (3, 8, False),
            (3, 8, False),
        ),
        (module("layer", "torch.nn.GELU"), None, None),
    ],
    ids=lambda value: value.class_name if isinstance(value, ModuleNode) else "",
)
def test_linear_layers(node: ModuleNode, whole: Any, rank: Any) -> None:
    assert of(layer_sizes(node)) == whole
    assert of(rank_sizes(node, TP4)) == rank


@pytest.mark.parametrize("padding", [Unknown("a flag"), True, 0, "64"])
def test_a_padding_that_is_no_positive_integer_is_undecided(padding: object) -> None:
    given = {"num_embeddings": 1000, "embedding_dim": 8, "padding_size": padding}
    with pytest.raises(UndecidedError, match="padding_size is"):
        rank_vocabulary(module("head", EMBEDDING + "ParallelLMHead", given), TP4)


def test_vocabularies_are_padded_on_ranks_alone() -> None:
    node = module(
        "head", EMBEDDING + "ParallelLMHead", {"num_embeddings": 1000, "embedding_dim": 8}
    )
    assert of(layer_vocabulary(node)) == (1000, 8, False)
    assert of(rank_vocabulary(node, Serving())) == (1024, 8, True)
    assert of(rank_vocabulary(node, TP4)) == (256, 8, True)
    assert of(rank_vocabulary(node, Serving(tp=3))) == (384, 8, True)


def test_a_size_is_a_fact_with_where_it_came_from() -> None:
    node = linear("RowParallelLinear", input_size=HIDDEN, output_size=64)
    sizes = rank_sizes(node, TP4)
    assert sizes is not None
    proof = sizes.k.fact(node)
    assert proof.value == 64
    assert proof.origins == ("config:hidden_size", "serving:tp")
    assert proof.note == "input_size / tp"
    assert proof.place == node.place


@pytest.mark.parametrize(
    ("size", "why"),
    [
        (Unknown("a file says it"), "a file says it"),
        (Alternatives((1, 2)), "one of 1, 2"),
        (0, "not a positive number"),
        (True, "not a positive number"),
        (510, "cannot be split evenly by 4"),
    ],
)
def test_what_is_not_known_is_said(size: Any, why: str) -> None:
    node = linear("ColumnParallelLinear", input_size=256, output_size=size)
    with pytest.raises(UndecidedError, match=why):
        rank_sizes(node, TP4)
