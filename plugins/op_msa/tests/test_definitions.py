"""Definitions of block-sparse attention."""

from __future__ import annotations

import attrs

import fibcore_op_msa as plugin
from fibcore.plugin import Definition, const

Small = dict[str, Definition]


def test_attention(small: Small) -> None:
    made = small["attention"]
    cache = ("num_pages", "page_size", "num_kv_heads", "head_dim")
    assert made.op_type == "msa_sparse"
    assert {name: spec.shape for name, spec in made.inputs.items()} == {
        "q": ("num_tokens", "num_qo_heads", "head_dim"),
        "k_cache": cache,
        "v_cache": cache,
        "block_indices": ("num_tokens", "num_kv_heads", "topk"),
        "seq_lens": ("num_tokens",),
        "block_table": ("num_tokens", "max_num_pages"),
        "sm_scale": None,
    }
    assert made.const_axes["block_size"] == 6
    assert "sm_scale is" in made.description


def test_the_choice(small: Small, with_init: Definition) -> None:
    made = small["indexer"]
    assert made.op_type == "msa_indexer"
    assert list(made.inputs) == ["q", "k_cache", "seq_lens", "block_table"]
    assert "LOCAL_BLOCKS = 1" in made.reference
    assert "The first 1 are always chosen." in with_init.description
    first, second = (plugin.fibcore_identify(one).variant for one in (made, with_init))
    assert first == "init_blocks 0, local_blocks 1"
    assert second == "init_blocks 1, local_blocks 2"


def test_everything_is_described(small: Small) -> None:
    for made in small.values():
        data = made.to_dict()
        parts = [data, *data["axes"].values(), *data["inputs"].values(), *data["outputs"].values()]
        assert all(part["description"] for part in parts)


def test_sizes_that_do_not_go_together_are_said(small: Small) -> None:
    made = small["attention"]
    assert plugin.fibcore_identify(made).contradictions == ()
    axes = {**made.axes, "num_kv_heads": const(3), "topk": const(9)}
    assert plugin.fibcore_identify(attrs.evolve(made, axes=axes)).contradictions == (
        "the name says kv2, and num_kv_heads is 3",
        "the name says topk3, and topk is 9",
        "num_qo_heads is 4, which is no multiple of num_kv_heads, 3",
    )
