"""Ground truths: which there are, and that the references agree with those that run here."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import attrs
import pytest

import fibcore_op_dsa as plugin
from fibcore.plugin import Definition, GroundTruth
from fibcore.testing.harness import harness
from fibcore.testing.templates import Template, load_run, load_source

torch = pytest.importorskip("torch")

Make = Callable[..., dict[str, Definition]]
Small = dict[str, Definition]
ATTENTION = "dsa_sparse_attention_h16_ckv512_kpe64_topk2048_ps64"
INDEXER = "dsa_topk_indexer_fp8_h64_d128_topk2048_ps64"


def test_ground_truths_in_order_of_preference(definitions: Make) -> None:
    made = definitions()
    entries = [truth.entry for truth in plugin.fibcore_ground_truths(made[ATTENTION])]
    assert entries == [
        "flashinfer_dsa_sparse_attention_fa3",
        "flashinfer_dsa_sparse_attention_trtllm",
        "flashinfer_dsa_sparse_attention_fa2",
        "sglang_dsa_sparse_attention",
        "torch_dsa_sparse_attention",
    ]
    truths = plugin.fibcore_ground_truths(made[INDEXER])
    assert [truth.entry for truth in truths] == [
        "torch_scaled_mm_dsa_topk_indexer",
        "sglang_dsa_topk_indexer",
        "deep_gemm_dsa_topk_indexer",
        "flashinfer_dsa_topk_indexer",
        "torch_dsa_topk_indexer",
    ]
    assert all("TOPK = 2048\n" in truth.source for truth in truths)


def test_which_gpus_they_are_for(definitions: Make) -> None:
    truths = {t.entry: t for t in plugin.fibcore_ground_truths(definitions()[ATTENTION])}
    fa3 = truths["flashinfer_dsa_sparse_attention_fa3"]
    assert fa3.min_capability == fa3.max_capability == (9, 0)
    assert truths["flashinfer_dsa_sparse_attention_trtllm"].min_capability == (10, 0)
    assert all(t.device == "cuda" for t in truths.values() if t.kind == "flashinfer")
    assert [t.entry for t in truths.values() if not t.solution] == [
        "flashinfer_dsa_sparse_attention_trtllm",
        "sglang_dsa_sparse_attention",
    ]


def test_flashinfer_is_left_out_for_sizes_that_it_lacks(small: Small) -> None:
    kinds = [truth.kind for truth in plugin.fibcore_ground_truths(small["attention"])]
    assert kinds == ["sglang", "torch"]


def test_no_ground_truths_for_what_is_not_known(small: Small) -> None:
    for made in small.values():
        outputs = {"other": next(iter(made.outputs.values()))}
        others: list[dict[str, Any]] = [{"op_type": "of_another_plugin"}, {"outputs": outputs}]
        for other in others:
            assert plugin.fibcore_ground_truths(attrs.evolve(made, **other)) == ()


def entry_of(truth: GroundTruth) -> Callable[..., Any]:
    found: Callable[..., Any] = getattr(load_source(truth.source, "ground_truth"), truth.entry)
    return found


@pytest.mark.parametrize("kind", ["attention", "indexer", "scaled"])
def test_torch_agrees(small: Small, template: Template, kind: str) -> None:
    made = small[kind]
    truth = plugin.fibcore_ground_truths(made)[-1]
    for case in template.cases(made):
        check(template, made, case, entry_of(truth))


@pytest.mark.parametrize("version", ["0.5.9", "0.5.23"])
def test_sglangs_attention_agrees(small: Small, template: Template, version: str) -> None:
    made = small["attention"]
    truth = plugin.fibcore_ground_truths(made)[0]
    source = sglang(version)
    for case in template.cases(made):
        check(template, made, case, lambda **inputs: entry_of(truth)(source, **inputs))


def test_truths_of_caches_with_scales(definitions: Make, small: Small) -> None:
    made = next(iter(definitions(None, (64,), "fp8_e4m3").values()))
    truths = plugin.fibcore_ground_truths(made)
    stem = "dsa_sparse_attention_fp8_block_scale"
    assert [truth.entry for truth in truths] == [
        f"{kind}_{stem}" for kind in ("flash_mla", "sgl_kernel", "flashinfer", "sglang", "torch")
    ]
    assert [truth.packages for truth in truths[:3]] == [
        ("flash_mla",),
        ("sgl_kernel",),
        ("flashinfer",),
    ]
    assert [t.kind for t in plugin.fibcore_ground_truths(small["scaled"])] == ["sglang", "torch"]


def test_sglangs_dequantised_keys_agree(small: Small, template: Template) -> None:
    made, source = small["scaled"], sglang("0.5.9")
    truth = plugin.fibcore_ground_truths(made)[0]
    for case in template.cases(made)[:5]:
        check(template, made, case, lambda **inputs: entry_of(truth)(source, **inputs))


def test_flashmla_is_given_what_it_takes(
    small: Small, template: Template, definitions: Make
) -> None:
    """Heads in 64s, bytes of pages, keys that nobody sees cleared; empty rows stay as defined."""
    made = small["scaled"]
    inputs = template.inputs(made, {"keys": [0, 5, 9]})
    real = next(iter(definitions(None, (64,), "fp8_e4m3").values()))
    module = load_source(plugin.fibcore_ground_truths(real)[0].source, "ground_truth")
    given: dict[str, Any] = {}

    def attend(query: Any, cache: Any, indices: Any) -> Any:
        given.update(query=query, cache=cache, indices=indices)
        rows = len(query)
        return torch.ones(rows, 1, 64, 256).bfloat16(), torch.full((rows, 64, 1), math.log(2.0))

    output, lse = module.flash_mla_attended(
        attend, *(inputs[n] for n in ("q_nope", "q_pe", "kv_cache", "sparse_indices"))
    )
    assert given["query"].shape == (2, 1, 64, 264)
    assert given["cache"].shape == (*inputs["kv_cache"].shape[:2], 1, inputs["kv_cache"].shape[2])
    assert given["indices"].shape == (2, 1, 100)
    assert output[:, 0, 0].tolist() == [0.0, 1.0, 1.0]
    assert lse[:, 2].tolist() == [-math.inf, 1.0, 1.0]
    assert int((given["cache"].view(torch.int8) != 0).any(-1).sum()) == 14


def test_sglangs_scores_agree(
    layer: Callable[..., Any],
    indexer: Callable[..., Any],
    definitions: Make,
    template: Template,
    small: Small,
) -> None:
    source = sglang("0.5.23")
    node = layer(indexer=indexer(index_n_heads=4, index_topk=100))
    made = definitions(node)["dsa_topk_indexer_fp8_h4_d128_topk100_ps64"]
    (truth,) = (t for t in plugin.fibcore_ground_truths(made) if t.kind == "sglang")
    for case in ({"keys": [1, 65, 64]}, {"keys": [900, 99, 0, 100, 101]}):
        check(template, made, case, lambda **inputs: entry_of(truth)(source, **inputs))
    inputs = template.inputs(small["indexer"], {"keys": [3]})
    with pytest.raises(NotImplementedError):
        entry_of(plugin.fibcore_ground_truths(small["indexer"])[0])(
            source, **{**inputs, "q_index_fp8": inputs["q_index_fp8"][..., :8]}
        )


def test_products_of_fp8_agree(
    layer: Callable[..., Any],
    indexer: Callable[..., Any],
    definitions: Make,
    template: Template,
    small: Small,
) -> None:
    node = layer(indexer=indexer(index_n_heads=16, index_head_dim=32, index_topk=100))
    made = definitions(node)["dsa_topk_indexer_fp8_h16_d32_topk100_ps64"]
    truth = plugin.fibcore_ground_truths(made)[0]
    assert (truth.device, truth.min_capability) == ("cuda", (8, 9))
    for case in template.cases(made):
        check(template, made, case, entry_of(truth))
    others = [t.entry for t in plugin.fibcore_ground_truths(small["indexer"])]
    assert truth.entry not in others  # 3 heads are no multiple of 16


def test_flashinfers_choice_waits_for_no_compiler(
    template: Template, small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its module is used where it is built, and only there."""
    (truth,) = (t for t in plugin.fibcore_ground_truths(small["indexer"]) if t.kind == "flashinfer")
    assert not truth.solution
    package, jit = ModuleType("flashinfer"), ModuleType("flashinfer.jit.topk")
    built = SimpleNamespace(is_compiled=False)
    monkeypatch.setattr(jit, "gen_topk_module", lambda: built, raising=False)
    given: list[Any] = []

    def transform(*arguments: Any) -> Any:
        given.extend(arguments)
        return torch.zeros(2, 100)

    monkeypatch.setattr(package, "top_k_page_table_transform", transform, raising=False)
    for name, one in (("flashinfer", package), ("flashinfer.jit.topk", jit)):
        monkeypatch.setitem(sys.modules, name, one)
    inputs = template.inputs(small["indexer"], {"keys": [70, 3]})
    with pytest.raises(NotImplementedError, match="not built"):
        entry_of(truth)(**inputs)
    assert not given
    built.is_compiled = True
    entry_of(truth)(**inputs)
    assert given[2].tolist() == [70, 3]


def sglang(version: str) -> Any:
    cache = os.environ.get("FIBCORE_TEST_CACHE") or Path.home() / ".cache" / "fibcore-tests"
    package = Path(cache) / f"sglang-{version}" / "sglang"
    if not package.is_dir():
        pytest.skip(f"the source of SGLang {version} is not in {cache}")
    return harness().SGLangSource(package)


def check(
    template: Template, made: Definition, case: dict[str, Any], truth: Callable[..., Any]
) -> None:
    """What the emitted tests do: outputs in tolerance, choices held against the scores."""
    inputs = template.inputs(made, case)
    expected, actual = truth(**inputs), load_run(made.reference)(*inputs.values())

    def close(one: Any, other: Any, rounding: Any = None) -> None:
        room = 8e-3 if rounding is None else rounding + 8e-3
        near = (one.double() - other.double()).abs() <= 1e-2 * other.double().abs() + room
        assert bool((near | (one == other)).all())

    outputs = list(zip(made.outputs, as_tuple(actual), as_tuple(expected), strict=True))
    for name, one, other in outputs:
        if other is not None:
            template.module.compare(made.to_dict(), case, name, one, other, close, inputs)


def test_keys_that_are_rounded_to_bfloat16_are_in_tolerance(
    small: Small, template: Template
) -> None:
    """As kernels do that read a cache of bytes: more than half of the room is never used."""
    made, module = small["scaled"], template.module
    used = []
    for case in template.cases(made):
        inputs = template.inputs(made, case)
        exact = dict(zip(made.outputs, module._dense(inputs), strict=True))
        values, rope = module._caches(inputs)
        rounded = {
            **{name: inputs[name] for name in ("q_nope", "q_pe", "sparse_indices", "sm_scale")},
            "ckv_cache": values.bfloat16()[:, None],
            "kpe_cache": rope.bfloat16()[:, None],
        }
        found = dict(zip(made.outputs, module._dense(rounded), strict=True))
        for name, expected in exact.items():
            kept: list[Any] = []

            def check(actual: Any, wanted: Any, rounding: Any, kept: list[Any] = kept) -> None:
                kept += [actual, wanted, rounding]

            args = (made.to_dict(), case, name, expected, found[name], check, inputs)
            module.compare(*args)
            error = (kept[0] - kept[1]).nan_to_num(0.0, 0.0, 0.0).abs()
            assert bool((error <= kept[2]).all())
            used.append(float((error / kept[2].clamp(min=1e-9)).max()))
    assert 0.1 < max(used) < 0.6


def as_tuple(outputs: Any) -> tuple[Any, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)


def test_a_choice_that_is_wrong_is_rejected(small: Small, template: Template) -> None:
    made = small["indexer"]
    case = {"keys": [190, 3]}
    inputs = template.inputs(made, case)
    right = load_run(made.reference)(*inputs.values())

    def compare(wrong: Any) -> None:
        args = (made.to_dict(), case, "topk_indices", right, wrong, None, inputs)
        template.module.compare(*args)

    compare(right.flip(0).flip(0))
    shuffled = right.clone()
    shuffled[0] = right[0].roll(7)
    compare(shuffled)
    outside = template.module._tokens(inputs, 0)
    outside = outside[~torch.isin(outside, right[0].long())]
    for row, column, value in ((0, 0, right[0, 1]), (0, 0, -1), (1, 99, 0), (1, 0, right[0, 0])):
        wrong = right.clone()
        wrong[row, column] = value
        with pytest.raises(AssertionError):
            compare(wrong)
    wrong = right.clone()
    wrong[0, :10] = outside[:10].int()
    with pytest.raises(AssertionError, match="is left out"):
        compare(wrong)
