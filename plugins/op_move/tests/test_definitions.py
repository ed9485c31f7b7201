"""Definitions of writes to paged caches."""

from __future__ import annotations

from collections.abc import Callable

import attrs

import fibcore_op_move as plugin
from fibcore.plugin import Definition, const

Make = Callable[..., Definition]


def form(definition: Definition) -> dict[str, list[tuple[str, tuple[str, ...] | None, str]]]:
    return {
        part: [(name, spec.shape, spec.dtype) for name, spec in tensors.items()]
        for part, tensors in (("in", definition.inputs), ("out", definition.outputs))
    }


def test_the_format_of_keys_and_values(definition: Make) -> None:
    made = definition("kv", 4)
    assert made.name == "append_paged_kv_cache_kv2_d8_ps4"
    assert made.op_type == "page_append"
    assert made.tags == ("fi_api:flashinfer.page.append_paged_kv_cache",)
    assert made.const_axes == {"num_kv_heads": 2, "head_dim": 8, "page_size": 4}
    rows = ("nnz_kv", "num_kv_heads", "head_dim")
    pages = ("num_pages", "page_size", "num_kv_heads", "head_dim")
    assert form(made) == {
        "in": [
            ("append_key", rows, "bfloat16"),
            ("append_value", rows, "bfloat16"),
            ("batch_indices", ("nnz_kv",), "int32"),
            ("positions", ("nnz_kv",), "int32"),
            ("k_cache", pages, "bfloat16"),
            ("v_cache", pages, "bfloat16"),
            ("kv_indices", ("num_kv_indices",), "int32"),
            ("kv_indptr", ("batch_size_plus_1",), "int32"),
            ("kv_last_page_len", ("batch_size",), "int32"),
        ],
        "out": [("updated_k_cache", pages, "bfloat16"), ("updated_v_cache", pages, "bfloat16")],
    }
    assert made.constraints == (
        "batch_size_plus_1 == batch_size + 1",
        "num_kv_indices == kv_indptr[-1].item()",
    )
    assert "NUM_KV_HEADS = 2\nHEAD_DIM = 8\nPAGE_SIZE = 4\n" in made.reference


def test_the_format_of_latent_caches(definition: Make) -> None:
    made = definition("mla")
    assert made.name == "append_paged_mla_kv_cache_ckv16_kpe8"
    assert made.const_axes == {"head_dim_ckv": 16, "head_dim_kpe": 8}
    assert "page_size" in made.var_axes
    assert form(made)["out"] == [
        ("updated_ckv_cache", ("num_pages", "page_size", "head_dim_ckv"), "bfloat16"),
        ("updated_kpe_cache", ("num_pages", "page_size", "head_dim_kpe"), "bfloat16"),
    ]
    assert form(made)["in"][:2] == [
        ("append_ckv", ("nnz_kv", "head_dim_ckv"), "bfloat16"),
        ("append_kpe", ("nnz_kv", "head_dim_kpe"), "bfloat16"),
    ]


def test_the_format_of_caches_of_fp8(definition: Make) -> None:
    made = definition("kv_fp8", 4)
    assert made.name == "append_paged_kv_cache_fp8_kv2_d8_ps4"
    assert made.tags == ("quantization:float8_e4m3fn",)
    inputs = form(made)["in"]
    assert [dtype for _, _, dtype in inputs[:6]] == [
        *("bfloat16",) * 2,
        *("int32",) * 2,
        *("float8_e4m3fn",) * 2,
    ]
    assert inputs[9:] == [("k_scale", None, "float32"), ("v_scale", None, "float32")]
    assert {dtype for _, _, dtype in form(made)["out"]} == {"float8_e4m3fn"}
    latent = definition("mla_fp8")
    assert latent.name == "append_paged_mla_kv_cache_fp8_ckv16_kpe8"
    assert len(latent.inputs) == 9


def test_the_format_of_a_cache_of_bytes(definition: Make) -> None:
    made = definition("mla_block_scale")
    assert made.name == "append_paged_mla_kv_cache_fp8_block_scale_ckv256_kpe8"
    assert made.const_axes == {"head_dim_ckv": 256, "head_dim_kpe": 8, "kv_dim": 280}
    cache = ("num_pages", "page_size", "kv_dim")
    assert form(made)["in"][4:] == [
        ("kv_cache", cache, "int8"),
        ("kv_indices", ("num_kv_indices",), "int32"),
        ("kv_indptr", ("batch_size_plus_1",), "int32"),
        ("kv_last_page_len", ("batch_size",), "int32"),
    ]
    assert form(made)["out"] == [("updated_kv_cache", cache, "int8")]
    assert "BLOCK = 128\n" in made.reference
    axes = {**made.axes, "kv_dim": const(272)}
    assert plugin.fibcore_identify(attrs.evolve(made, axes=axes)).contradictions


def test_keys_and_values_of_two_sizes(definition: Make) -> None:
    made = definition("kv_widths")
    assert made.name == "append_paged_kv_cache_kv2_qk8_vo6_ps4"
    assert [spec.shape[-1] for spec in made.outputs.values() if spec.shape] == [
        "head_dim_qk",
        "head_dim_vo",
    ]
    assert "keys of 2 heads of 8 elements, and values of 6," in made.description


def test_everything_is_described(definition: Make) -> None:
    for layout in ("kv", "kv_widths", "mla", "kv_fp8", "mla_fp8", "mla_block_scale"):
        data = definition(layout).to_dict()
        parts = [data, *data["axes"].values(), *data["inputs"].values(), *data["outputs"].values()]
        assert all(part["description"] for part in parts)


def test_a_name_that_contradicts_the_sizes_is_said(definition: Make) -> None:
    renamed = attrs.evolve(definition(), name="append_paged_kv_cache_kv4_d8_ps1")
    assert plugin.fibcore_identify(renamed).contradictions == (
        "the name says kv4, and num_kv_heads is 2",
        "the name says ps1, and page_size is 4",
    )
    latent = attrs.evolve(definition("mla"), name="append_paged_mla_kv_cache_ckv512_kpe8")
    assert plugin.fibcore_identify(latent).contradictions == (
        "the name says ckv512, and head_dim_ckv is 16",
    )


def test_op_types() -> None:
    assert [t.name for t in plugin.fibcore_op_types()] == ["page_append"]
