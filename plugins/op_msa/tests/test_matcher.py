"""The matcher on hand-written modules that mirror releases of SGLang."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fibcore.plugin import Extraction, ModuleNode, Unknown
from fibcore.testing.trees import TENSOR

Make = Callable[..., ModuleNode]
Find = Callable[..., Extraction]


@pytest.mark.parametrize("nested", [True, False])
def test_a_layer_that_is_given_an_index(layer: Make, found: Find, nested: bool) -> None:
    result = found(layer(), (1, 64), nested=nested)
    assert [kernel.name for kernel in result.kernels] == [
        "msa_sparse_attention_paged_h8_kv1_d128_topk16_bs128_ps1",
        "msa_block_topk_indexer_h1_d128_topk16_bs128_ps1",
        "msa_sparse_attention_paged_h8_kv1_d128_topk16_bs128_ps64",
        "msa_block_topk_indexer_h1_d128_topk16_bs128_ps64",
    ]
    assert not result.problems
    assert result.claimed == {"model.layers.3.self_attn.attn"}
    attention, indexer = result.kernels[:2]
    assert attention.tags == ("sparse:topk", "tp:8")
    assert indexer.tags == ("sparse:topk", "tp:8", "stage:indexer")
    assert attention.choice != indexer.choice


def test_other_layers_are_left_alone(layer: Make, found: Find) -> None:
    for given in ({}, {"idx_q": TENSOR}):
        assert not found(layer(call_kwargs=given)).kernels


def test_blocks_that_are_always_chosen_are_in_the_name(layer: Make, found: Find) -> None:
    names = [k.name for k in found(layer(), sparse_init_block=2, sparse_local_block=0).kernels]
    assert names[1].endswith("_ps64_init2_local0")


@pytest.mark.parametrize(
    ("attributes", "settings", "what"),
    [
        ({"disable_index_value": False}, {}, "with values of the index"),
        ({}, {"sparse_score_type": "lse"}, "with scores of type lse"),
    ],
)
def test_other_functions_are_named(
    layer: Make, found: Find, attributes: Any, settings: Any, what: str
) -> None:
    result = found(layer(attributes=attributes), **settings)
    assert not result.kernels
    assert [gap.what for gap in result.not_covered] == [f"block-sparse attention {what}"]


@pytest.mark.parametrize("value", [Unknown("size"), 0, True, None])
@pytest.mark.parametrize("name", ["num_heads", "num_kv_heads", "head_dim", "scaling"])
def test_sizes_that_are_not_known_are_problems(
    layer: Make, found: Find, name: str, value: Any
) -> None:
    if name == "scaling" and value is True:
        value = -1.0
    problems = found(layer(**{name: value})).problems
    assert [problem.what for problem in problems] == ["block-sparse attention"]


@pytest.mark.parametrize("name", ["num_idx_heads", "idx_head_dim", "disable_index_value"])
def test_an_index_that_is_not_known_is_a_problem(layer: Make, found: Find, name: str) -> None:
    result = found(layer(attributes={name: Unknown(name)}))
    assert [problem.what for problem in result.problems] == ["block-sparse attention"]


@pytest.mark.parametrize("name", ["sparse_topk_blocks", "sparse_block_size", "sparse_local_block"])
def test_settings_that_are_not_known_are_problems(layer: Make, found: Find, name: str) -> None:
    result = found(layer(), **{name: "x"})
    assert [problem.what for problem in result.problems] == ["block-sparse attention"]
