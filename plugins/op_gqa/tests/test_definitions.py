"""Definitions as the dataset's format wants them."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import attrs
import pytest

from fibcore.plugin import Definition, Kernel, const, tensor
from fibcore_op_gqa import (
    fibcore_ground_truths,
    fibcore_identify,
    fibcore_op_types,
    fibcore_reference,
)
from fibcore_op_gqa.definitions import kind_of

QUERIES = ("num_qo_heads", "head_dim")
CACHE = ("num_pages", "page_size", "num_kv_heads", "head_dim")


def shapes(specs: Any) -> dict[str, tuple[Any, str]]:
    return {name: (spec.shape, spec.dtype) for name, spec in specs.items()}


@pytest.mark.parametrize("page_size", [1, 64])
def test_paged_decode(definitions: Any, page_size: int) -> None:
    d: Definition = definitions()[f"gqa_paged_decode_h32_kv8_d128_ps{page_size}"]
    assert d.op_type == "gqa_paged"
    assert d.const_axes == {
        "num_qo_heads": 32,
        "num_kv_heads": 8,
        "head_dim": 128,
        "page_size": page_size,
    }
    assert set(d.var_axes) == {"batch_size", "num_pages", "len_indptr", "num_kv_indices"}
    expected = {
        "q": (("batch_size", *QUERIES), "bfloat16"),
        "k_cache": (CACHE, "bfloat16"),
        "v_cache": (CACHE, "bfloat16"),
        "kv_indptr": (("len_indptr",), "int32"),
        "kv_indices": (("num_kv_indices",), "int32"),
        "kv_last_page_len": (("batch_size",), "int32"),
        "sm_scale": (None, "float32"),
    }
    if page_size == 1:
        del expected["kv_last_page_len"]
    assert list(shapes(d.inputs).items()) == list(expected.items())
    assert list(shapes(d.outputs).items()) == [
        ("output", (("batch_size", *QUERIES), "bfloat16")),
        ("lse", (("batch_size", "num_qo_heads"), "float32")),
    ]
    assert d.constraints == (
        "len_indptr == batch_size + 1",
        "num_kv_indices == kv_indptr[-1].item()",
    )
    assert d.tag_values("stage") == ("decode",)
    assert not d.tag_values("status")  # the core adds it


@pytest.mark.parametrize("page_size", [1, 64])
def test_paged_prefill(definitions: Any, page_size: int) -> None:
    d: Definition = definitions()[f"gqa_paged_prefill_causal_h32_kv8_d128_ps{page_size}"]
    var_axes = {"total_q", "num_pages", "len_indptr", "num_kv_indices"}
    expected = {
        "q": (("total_q", *QUERIES), "bfloat16"),
        "k_cache": (CACHE, "bfloat16"),
        "v_cache": (CACHE, "bfloat16"),
        "qo_indptr": (("len_indptr",), "int32"),
        "kv_indptr": (("len_indptr",), "int32"),
        "kv_indices": (("num_kv_indices",), "int32"),
        "kv_last_page_len": (("batch_size",), "int32"),
        "sm_scale": (None, "float32"),
    }
    if page_size == 1:
        del expected["kv_last_page_len"]
    else:
        var_axes.add("batch_size")
    assert set(d.var_axes) == var_axes
    assert list(shapes(d.inputs).items()) == list(expected.items())
    assert shapes(d.outputs)["lse"] == (("total_q", "num_qo_heads"), "float32")
    assert {
        "total_q == qo_indptr[-1].item()",
        "num_kv_indices == kv_indptr[-1].item()",
    } <= set(d.constraints)
    assert "last query of a sequence is aligned with its last key" in (d.description or "")


def test_ragged_prefill(definitions: Any) -> None:
    d: Definition = definitions()["gqa_ragged_prefill_causal_h32_kv8_d128"]
    assert d.op_type == "gqa_ragged"
    assert d.const_axes == {"num_qo_heads": 32, "num_kv_heads": 8, "head_dim": 128}
    assert set(d.var_axes) == {"len_indptr", "total_q", "total_kv"}
    assert list(shapes(d.inputs).items()) == [
        ("q", (("total_q", *QUERIES), "bfloat16")),
        ("k", (("total_kv", "num_kv_heads", "head_dim"), "bfloat16")),
        ("v", (("total_kv", "num_kv_heads", "head_dim"), "bfloat16")),
        ("qo_indptr", (("len_indptr",), "int32")),
        ("kv_indptr", (("len_indptr",), "int32")),
        ("sm_scale", (None, "float32")),
    ]
    assert d.constraints == ("total_q == qo_indptr[-1].item()", "total_kv == kv_indptr[-1].item()")


def test_json_survives_a_round_trip(definitions: Any) -> None:
    for d in definitions(4, 2, 64).values():
        assert Definition.from_json(d.to_json()).to_json() == d.to_json()


def test_description_gives_the_usual_scale(definitions: Any) -> None:
    d = definitions()["gqa_paged_decode_h32_kv8_d128_ps1"]
    assert "sm_scale is usually 1 / sqrt(head_dim)." in d.description
    parameters = {"kind": "ragged", "num_qo_heads": 8, "num_kv_heads": 4, "head_dim": 256}
    kernel = Kernel("gqa_ragged", "x", {**parameters, "sm_scale": 144**-0.5}, {}, ())
    other = fibcore_reference(kernel)
    assert other is not None
    assert "sm_scale is usually 0.0833333333." in (other.description or "")


def test_no_ground_truths_for_other_op_types() -> None:
    foreign = Definition(
        name="rope_x",
        op_type="rope",
        axes={"n": const(4)},
        inputs={"x": tensor("n", "float32")},
        outputs={"y": tensor("n", "float32")},
        reference="def run(x):\n    return x\n",
    )
    assert fibcore_ground_truths(foreign) == ()
    assert [op.name for op in fibcore_op_types()] == ["gqa_paged", "gqa_ragged"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gqa_paged_decode_h32_kv8_d128_ps1", ""),
        ("attention_of_somebody", ""),
        ("gqa_paged_prefill_noncausal_h32_kv8_d128_ps1", "not causal"),
        ("gqa_paged_decode_swa4096_h32_kv8_d128_ps1", "sliding window 4096"),
        ("gqa_paged_decode_h32_kv8_d128_ps1_cap12p5", "logit cap 12.5"),
        ("gqa_paged_decode_sliding_window_softcap50_h32", "logit cap 50, sliding window"),
        ("gqa_paged_decode_sinks_h64_kv8_d64_ps1", "attention sinks"),
        ("gqa_paged_decode_logits_cap_h8", "logit cap"),
    ],
)
def test_names_tell_what_tensors_do_not(
    definitions: Any, template: Any, name: str, expected: str
) -> None:
    own = definitions()["gqa_paged_decode_h32_kv8_d128_ps1"]
    other = attrs.evolve(own, name=name)
    assert fibcore_identify(other).variant == expected
    # Ground truths of plain attention are nothing for another function, nor are its tests.
    assert bool(fibcore_ground_truths(other)) is (not expected)
    plain = [case["id"] for case in template.cases(other)] != ["not_plain_attention"]
    assert plain is (not expected)


def test_constants_of_the_reference_tell_variants_apart(definitions: Any) -> None:
    seen: dict[str, str] = {}
    for window, cap in ((None, 0.0), (512, 0.0), (1024, 0.0), (None, 50.0), (512, 50.0)):
        (d,) = definitions(4, 2, 64, (), window=window, cap=cap).values()
        found = fibcore_identify(attrs.evolve(d, name="renamed", description="", tags=())).variant
        assert found is not None
        assert fibcore_identify(d).variant == found
        seen[found] = d.name
    assert seen == {
        "": "gqa_ragged_prefill_causal_h4_kv2_d64",
        "sliding window 512": "gqa_ragged_prefill_causal_h4_kv2_d64_swa512",
        "sliding window 1024": "gqa_ragged_prefill_causal_h4_kv2_d64_swa1024",
        "logit cap 50": "gqa_ragged_prefill_causal_h4_kv2_d64_cap50",
        "logit cap 50, sliding window 512": "gqa_ragged_prefill_causal_h4_kv2_d64_swa512_cap50",
    }


def test_variants_keep_tensors_and_say_what_they_are(definitions: Any) -> None:
    plain = definitions(4, 2, 64, (1, 16))
    for name, d in definitions(4, 2, 64, (1, 16), window=512, cap=50.0).items():
        other = plain[name.removesuffix("_swa512_cap50")]
        assert d.structure() == other.structure()
        assert d.constraints == other.constraints
        assert "sees the last 512 of these keys alone" in (d.description or "")
        assert "50 * tanh(x / 50)" in (d.description or "")
        assert "# only" not in d.reference
        assert "SLIDING_WINDOW" not in other.reference
        assert "LOGIT_CAP" not in other.reference
        assert "SLIDING_WINDOW = 512\nLOGIT_CAP = 50.0\n" in d.reference


def test_sinks_are_one_more_input(definitions: Any) -> None:
    plain = definitions(4, 2, 64, (1, 16))
    for name, d in definitions(4, 2, 64, (1, 16), sink=True).items():
        other = plain[name.removesuffix("_sink")]
        inputs = shapes(d.inputs)
        assert list(inputs)[-2:] == ["sinks", "sm_scale"]
        assert inputs.pop("sinks") == (("num_qo_heads",), "float32")
        assert inputs == shapes(other.inputs)
        assert shapes(d.outputs) == shapes(other.outputs)
        assert d.constraints == other.constraints
        assert "exp(sinks[h]) joins the sum" in (d.description or "")
        assert "sink" in (d.outputs["lse"].description or "")
        assert fibcore_identify(d).variant == "attention sinks"
        assert "sink" not in other.reference


def test_ragged_prefill_of_encoders_is_not_causal(definitions: Any) -> None:
    (d,) = definitions(4, 2, 64, full=True).values()
    causal = definitions(4, 2, 64, ())["gqa_ragged_prefill_causal_h4_kv2_d64"]
    assert d.name == "gqa_ragged_prefill_h4_kv2_d64"
    assert d.structure() == causal.structure()
    assert fibcore_identify(attrs.evolve(d, name="renamed")).variant == "not causal"
    assert "a query sees all keys of its sequence" in (d.description or "")
    assert "aligned" not in (d.description or "")
    assert "ausal" not in d.reference.replace("CAUSAL", "").split("import")[0]


def test_an_eight_bit_cache_has_two_scales(definitions: Any) -> None:
    plain = definitions(4, 2, 64, (1, 16))
    for name, d in definitions(4, 2, 64, (1, 16), fp8=True).items():
        other = plain[name.removesuffix("_fp8kv")]
        if d.op_type == "gqa_ragged":
            assert d.to_json() == other.to_json()
            continue
        inputs = shapes(d.inputs)
        assert list(inputs)[-3:] == ["sm_scale", "k_scale", "v_scale"]
        assert inputs.pop("k_scale") == inputs.pop("v_scale") == (None, "float32")
        expected = shapes(other.inputs)
        expected |= dict.fromkeys(("k_cache", "v_cache"), (CACHE, "float8_e4m3fn"))
        assert inputs == expected
        assert shapes(d.outputs) == shapes(other.outputs)
        assert d.constraints == other.constraints
        assert "keys are k_scale times its numbers" in (d.description or "")
        assert fibcore_identify(d).variant == "float8_e4m3fn KV cache"
        assert "k_scale" not in other.reference


def test_two_widths_have_axes_of_their_own(definitions: Any) -> None:
    for name, d in definitions(4, 2, 64, (16,), value_dim=32).items():
        assert "_qk64_vo32" in name
        assert d.const_axes["head_dim_qk"] == 64
        assert d.const_axes["head_dim_vo"] == 32
        assert "head_dim" not in d.axes
        specs = d.inputs | d.outputs
        wide = {n for n, spec in specs.items() if "head_dim_qk" in (spec.shape or ())}
        narrow = {n for n, spec in specs.items() if "head_dim_vo" in (spec.shape or ())}
        keys = ("k", "v") if d.op_type == "gqa_ragged" else ("k_cache", "v_cache")
        assert (wide, narrow) == ({"q", keys[0]}, {keys[1], "output"})
        assert kind_of(d) is not None
        assert fibcore_identify(d).contradictions == ()
        wrong = attrs.evolve(d, name=name.replace("vo32", "vo16"))
        assert fibcore_identify(wrong).contradictions


def test_a_mask_is_one_more_input(definitions: Any) -> None:
    found = definitions(4, 2, 64, (1, 16), mask=True)
    for page_size in (1, 16):
        d = found[f"gqa_paged_prefill_custom_mask_h4_kv2_d64_ps{page_size}"]
        causal = found[f"gqa_paged_prefill_causal_h4_kv2_d64_ps{page_size}"]
        inputs = shapes(d.inputs)
        assert list(inputs)[-2:] == ["custom_mask", "sm_scale"]
        assert inputs.pop("custom_mask") == (("mask_len",), "bool")
        assert inputs == shapes(causal.inputs)
        assert "mask_len" in d.var_axes
        assert "aligned" not in (d.description or "")
        assert "ausal" not in d.reference
        assert fibcore_identify(d).variant == "a mask of its own"


def test_a_window_hides_what_a_mask_shows(definitions: Any) -> None:
    name = "gqa_paged_prefill_custom_mask_h4_kv2_d64_ps16"
    d = definitions(4, 2, 64, (16,), mask=True, window=512)[f"{name}_swa512"]
    assert d.structure() == definitions(4, 2, 64, (16,), mask=True)[name].structure()
    assert fibcore_identify(d).variant == "a mask of its own, sliding window 512"
    assert "stand less than 512 places before its own" in (d.description or "")
    assert kind_of(d) == "prefill"


def test_cross_attention_prefills_without_a_causal_mask(definitions: Any) -> None:
    found = definitions(4, 2, 64, (1, 16), cross=True)
    plain = definitions(4, 2, 64, (1, 16))
    for page_size in (1, 16):
        decode = f"gqa_paged_decode_h4_kv2_d64_ps{page_size}"
        assert found[decode].structure() == plain[decode].structure()
        # FlashInfer calls causal attention `gqa_paged_prefill`.
        d = found[f"gqa_paged_prefill_noncausal_h4_kv2_d64_ps{page_size}"]
        causal = plain[f"gqa_paged_prefill_causal_h4_kv2_d64_ps{page_size}"]
        assert d.structure() == causal.structure()
        assert fibcore_identify(attrs.evolve(d, name="renamed")).variant == "not causal"
        assert kind_of(d) == "prefill"
    assert len(found) == 4


def test_chunks_are_told_by_a_constant(definitions: Any) -> None:
    for name, d in definitions(4, 2, 64, (1, 16), chunk=512).items():
        assert name.endswith("_chunk512")
        assert "ATTENTION_CHUNK = 512\n" in d.reference
        found = fibcore_identify(attrs.evolve(d, name="renamed")).variant
        assert found == "chunked local attention 512"
        assert "keys go by 512" in (d.description or "")


def test_a_window_or_a_cap_without_constants_has_no_ground_truth(definitions: Any) -> None:
    (d,) = definitions(4, 2, 64, (), window=512).values()
    other = attrs.evolve(d, name=f"{d.name}_cap50")
    assert fibcore_identify(other).variant == "logit cap 50, sliding window 512"
    assert fibcore_ground_truths(other) == ()


def test_tests_of_other_attention_skip_with_a_reason(definitions: Any, template: Any) -> None:
    own = definitions()["gqa_paged_decode_h32_kv8_d128_ps1"]
    other = attrs.evolve(own, name="gqa_paged_decode_swa_h32_kv8_d128_ps1")
    checks = list(template.checks(other, lambda: None))
    assert checks
    for _, check in checks:
        with pytest.raises(pytest.skip.Exception, match="not the plain attention"):
            check()


def test_only_exactly_these_tensors_are_recognised(definitions: Any) -> None:
    for name, kind in [
        ("gqa_paged_decode_h32_kv8_d128_ps64", "decode"),
        ("gqa_paged_prefill_causal_h32_kv8_d128_ps1", "prefill"),
        ("gqa_ragged_prefill_causal_h32_kv8_d128", "ragged"),
    ]:
        own = definitions()[name]
        assert kind_of(own) == kind
        lse = tensor("len_indptr num_qo_heads", "float32")
        other = attrs.evolve(own, outputs={**own.outputs, "lse": lse})
        assert kind_of(other) is None
        assert fibcore_ground_truths(other) == ()


@pytest.mark.parametrize(
    ("heads", "kv_heads", "head_dim", "with_flashinfer"),
    [
        (32, 8, 128, {"decode", "prefill", "ragged"}),
        (10, 2, 64, {"decode", "prefill", "ragged"}),
        (8, 4, 256, {"decode", "prefill", "ragged"}),
        (8, 4, 512, {"decode"}),
        (10, 2, 512, set()),  # no kernel for groups of 5 on CUDA cores
        (32, 8, 96, set()),
    ],
)
def test_flashinfer_is_offered_where_it_has_the_kernel(
    definitions: Any, heads: int, kv_heads: int, head_dim: int, with_flashinfer: set[str]
) -> None:
    found = set()
    for d in definitions(heads, kv_heads, head_dim).values():
        truths = fibcore_ground_truths(d) or ()
        kinds = [truth.kind for truth in truths]
        assert kinds[-1] == "sglang"
        assert truths[-1].device == "any"
        if kinds == ["flashinfer", "sglang"]:
            found.add(kind_of(d))
            assert (truths[0].device, truths[0].packages) == ("cuda", ("flashinfer",))
            assert f"fi_api:{truths[0].name}" in d.tags
            assert f"def {truths[0].entry}(" in truths[0].source
    assert found == with_flashinfer


def test_extraction_and_definitions_need_no_torch() -> None:
    code = """
import sys
import fibcore_op_gqa as plugin
from fibcore.plugin import Serving
from fibcore.testing.trees import module, tree
layer = module("a", "RadixAttention", {"num_heads": 4, "num_kv_heads": 2, "head_dim": 64})
for kernel in plugin.fibcore_extract(tree(layer), Serving()).kernels:
    definition = plugin.fibcore_reference(kernel)
    plugin.fibcore_ground_truths(definition)
    plugin.fibcore_test_template(definition.op_type)
heavy = {"torch", "numpy", "flashinfer", "sglang"} & set(sys.modules)
sys.exit(f"imported: {heavy}" if heavy else 0)
"""
    result = subprocess.run(  # noqa: S603 - our own interpreter and text
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
