"""The matcher on hand-written modules that mirror releases of SGLang."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fibcore.plugin import Extraction, ModuleNode, Unknown

Make = Callable[..., ModuleNode]
Find = Callable[..., Extraction]
PATH = "model.layers.0.self_attn"


def uses(found: Extraction) -> dict[str, list[str]]:
    return {k.name: [use.path.removeprefix(PATH) for use in k.uses] for k in found.kernels}


def test_a_layer_that_chooses_among_compressed_keys(layer: Make, found: Find) -> None:
    result = found(layer(4))
    assert not result.problems
    assert not result.not_covered
    assert uses(result) == {
        "sparse_mla_dsv4_fp8_h8_d512_topk128_ps256_cps64": [".attn_mqa"],
        "dsv4_k_norm_rope_store_fp8_d512_rd64_ps256": [".kv_norm"],
        "dsv4_q_norm_rope_h8_d512_rd64": [""],
        "dsv4_inverse_rope_h8_rd64": [".rotary_emb"],
        "dsv4_compress_overlap_w8_d512": [".compressor"],
        "dsv4_compressed_norm_rope_store_fp8_d512_rd64_ps64": [".compressor.norm"],
        "dsv4_index_q_rope_hadamard_quant_fp8_h64_d128_rd64": [".indexer"],
        "dsv4_compress_overlap_w8_d128": [".indexer.compressor"],
        "dsv4_index_k_norm_rope_hadamard_store_fp8_d128_rd64_ps64": [".indexer.compressor.norm"],
    }
    assert PATH in result.claimed
    by_name = {kernel.name: kernel for kernel in result.kernels}
    attention = by_name["sparse_mla_dsv4_fp8_h8_d512_topk128_ps256_cps64"]
    assert attention.tags == ("sparse:topk", "quantization:float8_e4m3fn", "tp:8")
    assert attention.facts["sparse_topk"].origins == ("config:sliding_window",)
    assert attention.facts["swa_kv_dim"].value == 584
    assert by_name["dsv4_index_q_rope_hadamard_quant_fp8_h64_d128_rd64"].tags == ()


def test_a_layer_that_sees_all_compressed_keys(layer: Make, found: Find) -> None:
    names = uses(found(layer(128)))
    assert names["sparse_mla_dsv4_fp8_h8_d512_topk128_ps256_cps2"] == [".attn_mqa"]
    assert names["dsv4_compress_w128_d512"] == [".compressor"]
    assert names["dsv4_compressed_norm_rope_store_fp8_d512_rd64_ps2"] == [".compressor.norm"]
    assert len(names) == 6


def test_a_layer_without_compressed_keys(layer: Make, found: Find) -> None:
    assert list(uses(found(layer(0)))) == [
        "sparse_mla_dsv4_fp8_h8_d512_topk128_ps256",
        "dsv4_k_norm_rope_store_fp8_d512_rd64_ps256",
        "dsv4_q_norm_rope_h8_d512_rd64",
        "dsv4_inverse_rope_h8_rd64",
    ]


def test_older_releases_always_normalise_queries(layer: Make, found: Find) -> None:
    made = layer(0)
    del made.attributes["q_head_norm"]  # type: ignore[attr-defined]
    assert len(found(made).kernels) == 4


@pytest.mark.parametrize("ratio", [1, 2])
def test_layouts_of_other_ratios_are_named(layer: Make, found: Find, ratio: int) -> None:
    made = layer(0, compress_ratio=ratio)
    result = found(made)
    assert not result.kernels
    assert [gap.what for gap in result.not_covered] == [
        f"sparse_mla_dsv4 with keys compressed by {ratio}"
    ]


def test_attention_of_a_draft_that_writes_blocks_is_named(layer: Make, found: Find) -> None:
    made = layer(0)
    attention = made.children.pop("attn_mqa")  # type: ignore[attr-defined]
    assert [p.reason for p in found(made).problems] == ["it has no layer of attention"]
    made.children["attn"] = attention  # type: ignore[index]
    result = found(made)
    assert not result.problems
    assert not result.kernels
    assert [gap.what for gap in result.not_covered] == ["sparse_mla_dsv4 of MQALayer"]


def test_an_indexer_in_fp4_is_named(layer: Make, indexer: Make, found: Find) -> None:
    result = found(layer(4, indexer=indexer(use_fp4_indexer=True)))
    assert [gap.what for gap in result.not_covered] == ["dsv4 index queries in FP4"]
    assert len(result.kernels) == 8


@pytest.mark.parametrize(
    "changed",
    [
        {"n_local_heads": Unknown("heads")},
        {"head_dim": 0},
        {"qk_rope_head_dim": True},
        {"softmax_scale": Unknown("scale")},
        {"eps": 0},
        {"compress_ratio": Unknown("ratio")},
        {"q_head_norm": False},
        {"head_dim": 500},
    ],
)
def test_what_is_not_known_is_a_problem(layer: Make, found: Find, changed: dict[str, Any]) -> None:
    problems = found(layer(0, **changed)).problems
    assert [problem.what for problem in problems] == ["attention to compressed keys"]


@pytest.mark.parametrize("window", [None, Unknown("window"), 0])
def test_a_window_that_is_not_known_is_a_problem(layer: Make, found: Find, window: Any) -> None:
    assert [p.what for p in found(layer(0), window=window).problems] == [
        "attention to compressed keys"
    ]


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"n_heads": Unknown("heads")}, "queries of an indexer"),
        ({"weight_scale": Unknown("scale")}, "queries of an indexer"),
        ({"head_dim": 96}, "queries of an indexer"),
        ({"use_fp4_indexer": Unknown("switch")}, "queries of an indexer"),
    ],
)
def test_an_indexer_that_is_not_known_is_a_problem(
    layer: Make, indexer: Make, found: Find, changed: dict[str, Any], what: str
) -> None:
    assert what in [p.what for p in found(layer(4, indexer=indexer(**changed))).problems]
