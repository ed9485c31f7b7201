"""The definitions: names, axes, tensors, constraints, tags and descriptions."""

from __future__ import annotations

import json

import attrs
import pytest
from mla_kit import deepseek, definitions

from fibcore.plugin import Definition
from fibcore_op_mla import (
    fibcore_ground_truths,
    fibcore_identify,
    fibcore_op_types,
)

PAGED_TENSORS = {
    "q_nope": ["batch_size", "num_qo_heads", "head_dim_ckv"],
    "q_pe": ["batch_size", "num_qo_heads", "head_dim_kpe"],
    "ckv_cache": ["num_pages", "page_size", "head_dim_ckv"],
    "kpe_cache": ["num_pages", "page_size", "head_dim_kpe"],
    "kv_indptr": ["len_indptr"],
    "kv_indices": ["num_kv_indices"],
    "sm_scale": None,
}


def shapes(definition: Definition, group: str = "inputs") -> dict[str, list[str] | None]:
    specs = json.loads(definition.to_json())[group]
    return {name: spec["shape"] for name, spec in specs.items()}


def test_paged_decode_with_pages_of_one_token() -> None:
    definition = definitions()["mla_paged_decode_h16_ckv512_kpe64_ps1"]
    assert definition.op_type == "mla_paged"
    assert shapes(definition) == PAGED_TENSORS
    assert shapes(definition, "outputs") == {
        "output": ["batch_size", "num_qo_heads", "head_dim_ckv"],
        "lse": ["batch_size", "num_qo_heads"],
    }
    dtypes = {n: s.dtype for n, s in {**definition.inputs, **definition.outputs}.items()}
    assert dtypes == {
        **dict.fromkeys(["q_nope", "q_pe", "ckv_cache", "kpe_cache", "output"], "bfloat16"),
        **dict.fromkeys(["kv_indptr", "kv_indices"], "int32"),
        **dict.fromkeys(["sm_scale", "lse"], "float32"),
    }
    assert definition.const_axes == {
        "num_qo_heads": 16,
        "head_dim_ckv": 512,
        "head_dim_kpe": 64,
        "page_size": 1,
    }
    assert definition.var_axes == ("batch_size", "num_pages", "len_indptr", "num_kv_indices")
    assert definition.constraints == (
        "len_indptr == batch_size + 1",
        "num_kv_indices == kv_indptr[-1].item()",
    )
    assert definition.tags == (
        "fi_api:flashinfer.mla.BatchMLAPagedAttentionWrapper",
        "stage:decode",
        "tp:8",
    )
    scale = "The model's sm_scale is 0.135233779, 1 / sqrt(192) times 1.87385."
    assert (definition.description or "").endswith(scale)


def test_larger_pages_have_a_length_of_the_last_one() -> None:
    made = definitions()
    decode = made["mla_paged_decode_h16_ckv512_kpe64_ps64"]
    expected = {**PAGED_TENSORS, "kv_last_page_len": ["batch_size"]}
    assert shapes(decode) == expected
    assert list(shapes(decode))[-2:] == ["kv_last_page_len", "sm_scale"]
    assert decode.const_axes["page_size"] == 64
    assert "batch_size" in made["mla_paged_prefill_causal_h16_ckv512_kpe64_ps64"].var_axes


@pytest.mark.parametrize("page_size", [1, 64])
def test_paged_prefill(page_size: int) -> None:
    definition = definitions()[f"mla_paged_prefill_causal_h16_ckv512_kpe64_ps{page_size}"]
    assert list(definition.inputs)[3:6] == ["kpe_cache", "qo_indptr", "kv_indptr"]
    assert definition.inputs["q_nope"].shape == ("total_q", "num_qo_heads", "head_dim_ckv")
    assert definition.outputs["lse"].shape == ("total_q", "num_qo_heads")
    ends = ("total_q == qo_indptr[-1].item()", "num_kv_indices == kv_indptr[-1].item()")
    sequences = () if page_size == 1 else ("len_indptr == batch_size + 1",)
    assert definition.constraints == sequences + ends
    assert ("batch_size" in definition.axes) == (page_size != 1)
    assert definition.tag_values("stage") == ("prefill",)


@pytest.mark.parametrize("kind", ["decode", "prefill_causal"])
def test_a_cache_of_eight_bits_has_a_scale(kind: str) -> None:
    plain = definitions()[f"mla_paged_{kind}_h16_ckv512_kpe64_ps64"]
    definition = definitions(fp8=True)[f"{plain.name}_fp8kv"]
    dtypes = {name: spec.dtype for name, spec in definition.inputs.items()}
    expected = {name: spec.dtype for name, spec in plain.inputs.items()}
    expected |= dict.fromkeys(["ckv_cache", "kpe_cache"], "float8_e4m3fn")
    assert dtypes == {**expected, "kv_scale": "float32"}
    assert list(dtypes)[-2:] == ["sm_scale", "kv_scale"]
    assert shapes(definition) == {**shapes(plain), "kv_scale": None}
    assert definition.axes == plain.axes
    assert "The cache is float8_e4m3fn" in str(definition.description)
    assert "fp8" not in plain.reference
    assert fibcore_identify(definition).contradictions == ()


def test_ragged_prefill() -> None:
    definition = definitions()["mla_ragged_prefill_causal_h16_qk192_vo128"]
    assert definition.op_type == "mla_ragged"
    assert shapes(definition) == {
        "q": ["total_q", "num_qo_heads", "qk_dim"],
        "k": ["total_kv", "num_kv_heads", "qk_dim"],
        "v": ["total_kv", "num_kv_heads", "vo_dim"],
        "qo_indptr": ["len_indptr"],
        "kv_indptr": ["len_indptr"],
        "sm_scale": None,
    }
    assert shapes(definition, "outputs") == {
        "output": ["total_q", "num_qo_heads", "vo_dim"],
        "lse": ["total_q", "num_qo_heads"],
    }
    assert definition.const_axes == {
        "num_qo_heads": 16,
        "num_kv_heads": 16,
        "qk_dim": 192,
        "vo_dim": 128,
    }
    assert definition.constraints == (
        "total_q == qo_indptr[-1].item()",
        "total_kv == kv_indptr[-1].item()",
    )
    assert "stage:prefill" in definition.tags


def test_references_hold_the_constants() -> None:
    made = definitions(deepseek(heads=40, tp=1, rope=32, latent=256), (16,), tp=1)
    reference = made["mla_paged_decode_h40_ckv256_kpe32_ps16"].reference
    for line in ("NUM_QO_HEADS = 40", "HEAD_DIM_CKV = 256", "HEAD_DIM_KPE = 32", "PAGE_SIZE = 16"):
        assert f"\n{line}\n" in reference
    reference = made["mla_ragged_prefill_causal_h40_qk160_vo128"].reference
    for line in ("NUM_QO_HEADS = 40", "NUM_KV_HEADS = 40", "QK_DIM = 160", "VO_DIM = 128"):
        assert f"\n{line}\n" in reference


def test_definitions_survive_json() -> None:
    for definition in definitions().values():
        again = Definition.from_json(definition.to_json())
        assert again.to_json() == definition.to_json()


def test_a_scale_without_yarn_and_an_unknown_one_in_the_description() -> None:
    plain = definitions(deepseek(scaling=192**-0.5))
    assert all("is 0.0721687836, 1 / sqrt(192)." in str(d.description) for d in plain.values())
    unknown = definitions(deepseek(scaling=None))
    assert not any("model's sm_scale" in str(d.description) for d in unknown.values())


def test_no_ground_truths_for_other_op_types() -> None:
    definition = attrs.evolve(next(iter(definitions().values())), op_type="gqa_paged")
    assert fibcore_ground_truths(definition) == ()
    assert [o.name for o in fibcore_op_types()] == ["mla_paged", "mla_ragged"]


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("mla_ragged_prefill_causal_h16_qk192_vo128", ""),
        ("mla_ragged_prefill_noncausal_h16_qk192_vo128", "not causal"),
        ("mla_paged_decode_h16_ckv512_kpe64_ps1_window512", "sliding window"),
    ],
)
def test_variants_are_told_by_name(name: str, meaning: str) -> None:
    made = definitions()["mla_ragged_prefill_causal_h16_qk192_vo128"]
    assert fibcore_identify(attrs.evolve(made, name=name)).variant == meaning


def entries(definition: Definition) -> list[str]:
    truths = fibcore_ground_truths(definition)
    assert truths is not None
    return [truth.entry for truth in truths]


def test_ground_truths_in_order() -> None:
    for name, definition in definitions().items():
        op = definition.op_type
        expected = [f"flashinfer_{op}_fa3", f"flashinfer_{op}_fa2", f"sglang_{op}"]
        assert entries(definition) == expected, name
    fa3, fa2, sglang = fibcore_ground_truths(definition) or ()
    assert (fa3.min_capability, fa3.max_capability) == ((9, 0), (9, 0))
    assert (fa2.min_capability, fa2.max_capability) == ((8, 0), None)
    assert fa3.device == fa2.device == "cuda"
    assert fa3.packages == fa2.packages == ("flashinfer",)
    assert (sglang.device, sglang.kind, sglang.packages) == ("any", "sglang", ())
    for truth in (fa3, fa2, sglang):
        assert f"def {truth.entry}(" in truth.source


def test_flashinfer_is_offered_for_its_head_sizes_alone() -> None:
    made = definitions(deepseek(heads=40, tp=1, rope=32, latent=256), (1,), tp=1)
    paged = made["mla_paged_decode_h40_ckv256_kpe32_ps1"]
    ragged = made["mla_ragged_prefill_causal_h40_qk160_vo128"]
    assert entries(paged) == ["sglang_mla_paged"]
    assert entries(ragged) == ["sglang_mla_ragged"]
    assert not paged.tag_values("fi_api") + ragged.tag_values("fi_api")


def test_foreign_definitions_with_other_tensors_have_no_ground_truth() -> None:
    made = definitions()["mla_paged_decode_h16_ckv512_kpe64_ps1"]
    data = made.to_dict()
    data["inputs"]["ckv_cache"]["dtype"] = "float8_e4m3fn"
    assert fibcore_ground_truths(Definition.from_dict(data)) == ()
    data = made.to_dict()
    data["outputs"]["output"]["dtype"] = "float32"
    assert fibcore_ground_truths(Definition.from_dict(data)) == ()
    assert fibcore_ground_truths(attrs.evolve(made, name=made.name + "_swa")) == ()
