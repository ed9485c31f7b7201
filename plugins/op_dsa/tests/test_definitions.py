"""Definitions of the kernels."""

from __future__ import annotations

from collections.abc import Callable

import attrs

import fibcore_op_dsa as plugin
from fibcore.plugin import Definition, const, tensor
from fibcore_op_dsa.definitions import kind_of

Make = Callable[..., dict[str, Definition]]
ATTENTION = "dsa_sparse_attention_h16_ckv512_kpe64_topk2048_ps64"
INDEXER = "dsa_topk_indexer_fp8_h64_d128_topk2048_ps64"


def axes(definition: Definition) -> dict[str, int | None]:
    return {name: axis.value for name, axis in definition.axes.items()}


def tensors(definition: Definition, part: str) -> dict[str, tuple[str, str]]:
    return {
        name: (" ".join(spec.shape or ()), spec.dtype)
        for name, spec in getattr(definition, part).items()
    }


def test_sparse_attention_as_the_dataset_has_it(definitions: Make) -> None:
    made = definitions()[ATTENTION]
    assert axes(made) == {
        "num_tokens": None,
        "num_qo_heads": 16,
        "head_dim_ckv": 512,
        "head_dim_kpe": 64,
        "page_size": 64,
        "topk": 2048,
        "num_pages": None,
    }
    assert tensors(made, "inputs") == {
        "q_nope": ("num_tokens num_qo_heads head_dim_ckv", "bfloat16"),
        "q_pe": ("num_tokens num_qo_heads head_dim_kpe", "bfloat16"),
        "ckv_cache": ("num_pages page_size head_dim_ckv", "bfloat16"),
        "kpe_cache": ("num_pages page_size head_dim_kpe", "bfloat16"),
        "sparse_indices": ("num_tokens topk", "int32"),
        "sm_scale": ("", "float32"),
    }
    assert tensors(made, "outputs") == {
        "output": ("num_tokens num_qo_heads head_dim_ckv", "bfloat16"),
        "lse": ("num_tokens num_qo_heads", "float32"),
    }
    assert "sm_scale is 0.135233779" in str(made.description)


def test_the_indexer_as_the_dataset_has_it(definitions: Make) -> None:
    made = definitions()[INDEXER]
    assert axes(made) == {
        "batch_size": None,
        "num_index_heads": 64,
        "index_head_dim": 128,
        "page_size": 64,
        "topk": 2048,
        "max_num_pages": None,
        "num_pages": None,
        "kv_cache_num_heads": 1,
        "head_dim_with_scale": 132,
    }
    assert tensors(made, "inputs") == {
        "q_index_fp8": ("batch_size num_index_heads index_head_dim", "float8_e4m3fn"),
        "k_index_cache_fp8": ("num_pages page_size kv_cache_num_heads head_dim_with_scale", "int8"),
        "weights": ("batch_size num_index_heads", "float32"),
        "seq_lens": ("batch_size", "int32"),
        "block_table": ("batch_size max_num_pages", "int32"),
    }
    assert tensors(made, "outputs") == {"topk_indices": ("batch_size topk", "int32")}


def test_everything_is_described(definitions: Make) -> None:
    for made in definitions().values():
        data = made.to_dict()
        parts = [data, *data["axes"].values(), *data["inputs"].values(), *data["outputs"].values()]
        assert all(part["description"] for part in parts)


def test_names_that_contradict_the_sizes_are_said(definitions: Make) -> None:
    made = definitions()
    found = plugin.fibcore_identify(
        attrs.evolve(made[ATTENTION], name=ATTENTION.replace("h16", "h8"))
    )
    assert found.contradictions == ("the name says h8, and num_qo_heads is 16",)
    found = plugin.fibcore_identify(
        attrs.evolve(made[INDEXER], name=INDEXER.replace("d128", "d64"))
    )
    assert found.contradictions == ("the name says d64, and index_head_dim is 128",)
    assert not plugin.fibcore_identify(made[INDEXER]).contradictions


def test_a_key_without_room_for_its_scale_is_a_contradiction(definitions: Make) -> None:
    made = definitions()[INDEXER]
    changed = attrs.evolve(made, axes={**made.axes, "head_dim_with_scale": const(128)})
    (sentence,) = plugin.fibcore_identify(changed).contradictions
    assert "are not 128 bytes" in sentence


def test_definitions_of_others_are_not_taken_for_ours(definitions: Make) -> None:
    made = definitions()
    assert [kind_of(made[name]) for name in (ATTENTION, INDEXER)] == ["attention", "indexer"]
    for one in made.values():
        assert kind_of(attrs.evolve(one, op_type="mla_paged")) is None
        outputs = {"other": next(iter(one.outputs.values()))}
        assert kind_of(attrs.evolve(one, outputs=outputs)) is None
        inputs = {**one.inputs, next(iter(one.inputs)): tensor("num_pages", "int32")}
        assert kind_of(attrs.evolve(one, inputs=inputs)) is None


def test_a_cache_with_scales(definitions: Make) -> None:
    made = next(iter(definitions(None, (64,), "fp8_e4m3").values()))
    assert made.name == "dsa_sparse_attention_fp8_block_scale_h16_ckv512_kpe64_topk2048_ps64"
    assert made.const_axes["kv_dim"] == 656
    assert list(made.inputs) == ["q_nope", "q_pe", "kv_cache", "sparse_indices", "sm_scale"]
    assert made.inputs["kv_cache"].shape == ("num_pages", "page_size", "kv_dim")
    assert made.inputs["kv_cache"].dtype == "int8"
    assert "Latent vectors are kept in fp8, with a scale for 128 elements." in made.description
    assert "KV_DIM = 656\n" in made.reference
    assert kind_of(made) == "scaled"
    axes = {**made.axes, "kv_dim": const(576)}
    assert plugin.fibcore_identify(attrs.evolve(made, axes=axes)).contradictions
