"""Ground truths: SGLang's own functions on the CPU, FlashInfer's wrappers by a stand-in."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fibcore.plugin import Definition, GroundTruth
from fibcore.testing.harness import harness
from fibcore_op_gqa import fibcore_ground_truths

torch = pytest.importorskip("torch")

CACHE = Path(os.environ.get("FIBCORE_TEST_CACHE") or Path.home() / ".cache" / "fibcore-tests")
KERNELS = (
    "gqa_paged_decode_h4_kv2_d16_ps1",
    "gqa_paged_decode_h4_kv2_d16_ps4",
    "gqa_paged_prefill_causal_h4_kv2_d16_ps1",
    "gqa_paged_prefill_causal_h4_kv2_d16_ps4",
    "gqa_ragged_prefill_causal_h4_kv2_d16",
)


BACKEND = "srt/layers/attention/torch_native_backend.py"
MAKE_MASK = "TorchNativeAttnBackend._make_sliding_window_mask"


@pytest.fixture(scope="session", params=["0.5.9", "0.5.23", "found"])
def load_sglang(request: pytest.FixtureRequest) -> Any:
    """Functions of SGLang's source: two downloaded versions, and what FIBCORE_SGLANG names."""
    package = CACHE / f"sglang-{request.param}" / "sglang"
    if request.param == "found":
        package, reason = harness().find_sglang(None)
        if package is None:
            pytest.skip(reason)
    elif not package.is_dir():
        pytest.skip(f"SGLang {request.param} has not been downloaded to {CACHE}")
    return harness().SGLangSource(package)


def truth_of(definition: Definition, kind: str) -> GroundTruth:
    return next(t for t in fibcore_ground_truths(definition) or () if t.kind == kind)


def entry(truth: GroundTruth) -> Any:
    namespace: dict[str, Any] = {}
    exec(truth.source, namespace)  # noqa: S102 - our own file
    return namespace[truth.entry]


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("window", [None, 9])
def test_sglang_agrees(
    definitions: Any, template: Any, load_run: Any, load_sglang: Any, name: str, window: int | None
) -> None:
    found = definitions(4, 2, 16, (1, 4), window)
    definition = found[name if window is None else f"{name}_swa{window}"]
    run, sglang = load_run(definition.reference), entry(truth_of(definition, "sglang"))
    if window is not None and not load_sglang.has(BACKEND, MAKE_MASK):
        with pytest.raises(NotImplementedError, match="no sliding window"):
            sglang(load_sglang, **template.inputs(definition, template.cases(definition)[0]))
        return
    for case in template.cases(definition):
        inputs = template.inputs(definition, case)
        output, lse = sglang(load_sglang, **inputs)
        assert lse is None
        torch.testing.assert_close(output, run(*inputs.values())[0], rtol=1e-2, atol=8e-3)


def test_sglang_agrees_without_a_causal_mask(
    definitions: Any, template: Any, load_run: Any, load_sglang: Any
) -> None:
    (definition,) = definitions(4, 2, 16, full=True).values()
    run, sglang = load_run(definition.reference), entry(truth_of(definition, "sglang"))
    cases = [*template.cases(definition), {"lengths": [[5, 2], [2, 0], [0, 3]], "scale": 1.0}]
    for case in cases:
        inputs = template.inputs(definition, case)
        output, _ = sglang(load_sglang, **inputs)
        torch.testing.assert_close(output, run(*inputs.values())[0], rtol=1e-2, atol=8e-3)


@pytest.mark.parametrize("name", KERNELS)
def test_sglang_rejects_a_missing_scale(
    definitions: Any, template: Any, load_run: Any, load_sglang: Any, name: str
) -> None:
    definition = definitions(4, 2, 16, (1, 4))[name]
    run = load_run(definition.reference.replace("float(sm_scale)", "1.0"))
    sglang = entry(truth_of(definition, "sglang"))
    inputs = template.inputs(definition, {"lengths": [[1, 30]], "scale": 1.0})
    output, _ = sglang(load_sglang, **inputs)
    assert not torch.allclose(output, run(*inputs.values())[0], rtol=1e-2, atol=8e-3)


@pytest.mark.parametrize(
    "extras",
    [
        {"window": 9},
        {"cap": 4.0},
        {"window": 9, "cap": 4.0, "sink": True},
        {"sink": True},
        {"chunk": 9},
        {"full": True, "sink": True},
        {"fp8": True, "value_dim": 8},
        {"mask": True, "sink": True, "window": 9},
        {"cross": True, "cap": 4.0},
    ],
    ids=str,
)
def test_flex_attention_agrees(
    definitions: Any, template: Any, load_run: Any, extras: dict[str, Any]
) -> None:
    pytest.importorskip("torch.nn.attention.flex_attention")
    for definition in definitions(4, 2, 16, (1, 4), **extras).values():
        run, flex = load_run(definition.reference), entry(truth_of(definition, "torch"))
        cases = template.cases(definition)
        if "decode" not in definition.name:
            cases.append({"id": "odd", "lengths": [[5, 2], [2, 0], [0, 3], [1, 4]], "scale": 1.0})
        for case in cases:
            inputs = template.inputs(definition, case)
            if case["id"].startswith("many_"):
                continue  # slow without compilation
            actual, expected = run(*inputs.values()), flex(**inputs)
            torch.testing.assert_close(actual[0], expected[0], rtol=1e-2, atol=8e-3)
            torch.testing.assert_close(actual[1], expected[1], rtol=1e-5, atol=1e-5)


def test_a_cap_is_not_compared_with_sglang_nor_plain_attention_with_flex(definitions: Any) -> None:
    for extras, kinds in (
        ({}, ["flashinfer", "sglang"]),
        ({"window": 9}, ["flashinfer", "sglang", "torch"]),
        ({"window": 9, "cap": 4.0}, ["flashinfer", "torch"]),
        ({"sink": True}, ["flashinfer", "torch"]),
        ({"window": 9, "sink": True}, ["flashinfer", "torch"]),
        ({"cap": 4.0, "sink": True}, ["torch"]),
        ({"chunk": 9}, ["torch"]),
        ({"full": True}, ["flashinfer", "sglang", "torch"]),
        ({"value_dim": 128, "head_dim": 192}, ["flashinfer", "sglang", "torch"]),
        ({"value_dim": 32}, ["sglang", "torch"]),
    ):
        sizes = {"heads": 4, "kv_heads": 2, "head_dim": 64, "page_sizes": (1, 4)}
        for definition in definitions(**{**sizes, **extras}).values():
            assert [t.kind for t in fibcore_ground_truths(definition) or ()] == kinds


@pytest.mark.parametrize(
    ("extras", "name", "kinds"),
    [
        ({"fp8": True}, "gqa_paged_decode_h4_kv2_d64_ps4_fp8kv", ["flashinfer", "sglang", "torch"]),
        (
            {"fp8": True, "sink": True},
            "gqa_paged_decode_h4_kv2_d64_ps4_fp8kv_sink",
            ["flashinfer", "torch"],
        ),
        ({"mask": True}, "gqa_paged_prefill_custom_mask_h4_kv2_d64_ps4", ["flashinfer", "torch"]),
        (
            {"mask": True, "sink": True},
            "gqa_paged_prefill_custom_mask_h4_kv2_d64_ps4_sink",
            ["torch"],
        ),
        ({"cross": True}, "gqa_paged_prefill_noncausal_h4_kv2_d64_ps4", ["flashinfer", "torch"]),
    ],
)
def test_which_ground_truths_variants_over_a_cache_have(
    definitions: Any, extras: dict[str, Any], name: str, kinds: list[str]
) -> None:
    definition = definitions(4, 2, 64, (4,), **extras)[name]
    assert [t.kind for t in fibcore_ground_truths(definition) or ()] == kinds


@pytest.mark.parametrize("extras", [{"fp8": True}, {"value_dim": 8}], ids=str)
def test_sglang_agrees_for_other_caches_and_widths(
    definitions: Any, template: Any, load_run: Any, load_sglang: Any, extras: dict[str, Any]
) -> None:
    for definition in definitions(4, 2, 16, (4,), **extras).values():
        run, sglang = load_run(definition.reference), entry(truth_of(definition, "sglang"))
        for case in template.cases(definition):
            inputs = template.inputs(definition, case)
            output, _ = sglang(load_sglang, **inputs)
            torch.testing.assert_close(output, run(*inputs.values())[0], rtol=1e-2, atol=8e-3)


def test_ground_truths_of_several_windows_share_no_names(definitions: Any) -> None:
    import ast

    seen: dict[str, str] = {}
    for extras in (
        {"window": 9},
        {"window": 9, "cap": 4.5},
        {"window": 10},
        {},
        {"window": 9, "sink": True},
        {"sink": True},
        {"chunk": 9},
        {"full": True},
        {"cross": True},
        {"fp8": True},
        {"fp8": True, "sink": True},
        {"value_dim": 32},
        {"value_dim": 32, "window": 9},
        {"mask": True},
        {"mask": True, "fp8": True},
    ):
        for definition in definitions(4, 2, 64, (1, 4), **extras).values():
            for truth in fibcore_ground_truths(definition) or ():
                for node in ast.parse(truth.source).body:
                    targets = [node.target] if isinstance(node, ast.AnnAssign) else []
                    names = [t.id for t in targets if isinstance(t, ast.Name)]
                    names += [node.name] if isinstance(node, ast.FunctionDef) else []
                    for name in names:
                        assert seen.setdefault(name, truth.source) == truth.source


@pytest.mark.parametrize("name", KERNELS)
def test_sglang_is_not_asked_for_rows_without_keys(
    definitions: Any, template: Any, load_run: Any, load_sglang: Any, name: str
) -> None:
    definition = definitions(4, 2, 16, (1, 4))[name]
    run, sglang = load_run(definition.reference), entry(truth_of(definition, "sglang"))
    batches = [[], [[1, 0], [1, 0]]]
    if "decode" not in name:
        batches += [[[0, 3]], [[5, 2], [3, 3], [2, 0], [9, 8]]]
    for lengths in batches:
        inputs = template.inputs(definition, {"lengths": lengths, "scale": 1.0})
        output, _ = sglang(load_sglang, **inputs)
        torch.testing.assert_close(output, run(*inputs.values())[0], rtol=1e-2, atol=8e-3)


class Wrapper:
    """Stands in for FlashInfer's three wrappers: the reference behind plan() and run().

    The parameters are FlashInfer 0.6's, so far as the ground truths give them.
    """

    reference: Any = None
    seen: dict[str, Any]

    def __init__(self, workspace: Any, layout: str, **options: Any) -> None:
        assert workspace.dtype == torch.uint8
        assert not workspace.any()  # has to be zero when first used
        assert layout == "NHD"
        Wrapper.seen = {"options": options}

    def plan(self, *sizes: Any, **settings: Any) -> None:
        *self.indices, self.kernel = self.tables(*sizes)
        Wrapper.seen |= {"kernel": self.kernel, **settings}
        assert settings["q_data_type"] == settings["kv_data_type"] == torch.bfloat16

    def run(self, q: Any, *keys: Any, return_lse: bool) -> Any:
        assert return_lse
        caches = keys[0] if len(keys) == 1 else keys
        output, lse = Wrapper.reference(q, *caches, *self.indices, Wrapper.seen["sm_scale"])
        # FlashInfer's stand-in for -inf
        return output, torch.where(lse.isinf(), -5e4 + torch.rand(lse.shape), lse)

    def tables(self, *sizes: Any) -> tuple[Any, ...]:
        raise NotImplementedError


class Paged(Wrapper):
    def tables(self, *sizes: Any) -> tuple[Any, ...]:
        *indices, last, heads, kv_heads, head_dim, page_size = sizes
        pages = indices[-2][1:] - indices[-2][:-1]
        assert ((last > 0) == (pages > 0)).all()
        assert (last <= page_size).all()
        if page_size == 1:
            return (*indices, (heads, kv_heads, head_dim))
        return (*indices, last, (heads, kv_heads, head_dim))


class Ragged(Wrapper):
    def tables(self, *sizes: Any) -> tuple[Any, ...]:
        return (*sizes[:2], sizes[2:])


@pytest.mark.parametrize("name", [n.replace("d16", "d64") for n in KERNELS])
@pytest.mark.parametrize(("window", "cap", "suffix"), [(None, 0.0, ""), (9, 4.5, "_swa9_cap4p5")])
def test_flashinfer_is_called_and_read_rightly(
    definitions: Any,
    template: Any,
    load_run: Any,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    window: int | None,
    cap: float,
    suffix: str,
) -> None:
    definition = definitions(4, 2, 64, (1, 4), window, cap)[name + suffix]
    wrappers = {
        "BatchDecodeWithPagedKVCacheWrapper": Paged,
        "BatchPrefillWithPagedKVCacheWrapper": Paged,
        "BatchPrefillWithRaggedKVCacheWrapper": Ragged,
    }
    monkeypatch.setitem(sys.modules, "flashinfer", SimpleNamespace(**wrappers))  # type: ignore[arg-type]
    reference = load_run(definition.reference)
    monkeypatch.setattr(Wrapper, "reference", staticmethod(reference))
    flashinfer = entry(truth_of(definition, "flashinfer"))
    for case in template.cases(definition):
        inputs = template.inputs(definition, case)
        inputs["sm_scale"] = torch.tensor(inputs["sm_scale"])
        torch.testing.assert_close(flashinfer(**inputs), reference(*inputs.values()))
        seen = Wrapper.seen
        assert seen["kernel"] == (4, 2, 64)
        assert isinstance(seen["sm_scale"], float)
        assert (seen["window_left"], seen["logits_soft_cap"]) == (
            -1 if window is None else window - 1,
            cap,
        )
        if "prefill" in name:
            assert seen["causal"] is True
            assert seen["options"] == {"backend": "fa2"}
        else:
            assert seen["options"] == {"use_tensor_cores": False}
    nothing = template.inputs(definition, {"lengths": [], "scale": 1.0})
    assert [x.shape[0] for x in flashinfer(**nothing)] == [0, 0]


def test_flashinfer_without_a_causal_mask(
    definitions: Any, template: Any, load_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (definition,) = definitions(4, 2, 64, full=True).values()
    stand_in = SimpleNamespace(BatchPrefillWithRaggedKVCacheWrapper=Ragged)
    monkeypatch.setitem(sys.modules, "flashinfer", stand_in)  # type: ignore[arg-type]
    reference = load_run(definition.reference)
    monkeypatch.setattr(Wrapper, "reference", staticmethod(reference))
    inputs = template.inputs(definition, {"lengths": [[3, 5]], "scale": 1.0})
    found = entry(truth_of(definition, "flashinfer"))(**inputs)
    torch.testing.assert_close(found, reference(*inputs.values()))
    assert Wrapper.seen["causal"] is False


class OverACache:
    """Stands in for FlashInfer's paged wrappers, as they are called for other caches and masks."""

    reference: Any = None
    seen: dict[str, Any]

    def __init__(self, workspace: Any, layout: str, **options: Any) -> None:
        assert not workspace.any()
        assert layout == "NHD"
        OverACache.seen = options

    def plan(self, *sizes: Any, **settings: Any) -> None:
        self.tables = [x for x in sizes if isinstance(x, torch.Tensor)]
        OverACache.seen |= {"sizes": sizes[len(self.tables) :], **settings}

    def run(self, q: Any, caches: Any, *, return_lse: bool, **scales: Any) -> Any:
        assert return_lse
        k_cache, v_cache = caches
        # FlashInfer's wrapper checks both.
        assert k_cache.stride() == v_cache.stride()
        assert k_cache.dtype == OverACache.seen["kv_data_type"]
        assert all(isinstance(scale, float) for scale in scales.values())
        output, lse = OverACache.reference(q, k_cache, v_cache, self.tables, scales)
        hidden = lse.isinf()
        if "custom_mask" in OverACache.seen:  # the mean of values in place of 0
            output = output + hidden[..., None].to(output.dtype)
        return output, torch.where(hidden, -5e4, lse)


@pytest.mark.parametrize(
    ("extras", "name", "expected"),
    [
        (
            {"fp8": True},
            "gqa_paged_decode_h4_kv2_qk192_vo192_ps4_fp8kv",
            {"sizes": (4, 2, 64, 4), "use_tensor_cores": False},
        ),
        (
            {"fp8": True},
            "gqa_paged_prefill_causal_h4_kv2_qk192_vo192_ps4_fp8kv",
            {"sizes": (4, 2, 64, 4), "causal": True, "head_dim_vo": 64},
        ),
        (
            {"head_dim": 192, "value_dim": 128},
            "gqa_paged_decode_h4_kv2_qk192_vo128_ps4",
            {"sizes": (4, 2, 192, 4), "causal": True, "head_dim_vo": 128},
        ),
        (
            {"mask": True},
            "gqa_paged_prefill_custom_mask_h4_kv2_d64_ps4",
            {"sizes": (4, 2, 64, 4), "causal": False},
        ),
        (
            {"mask": True, "window": 9},
            "gqa_paged_prefill_custom_mask_h4_kv2_d64_ps4_swa9",
            {"sizes": (4, 2, 64, 4), "causal": False, "window_left": 8},
        ),
        (
            {"cross": True},
            "gqa_paged_prefill_noncausal_h4_kv2_d64_ps4",
            {"sizes": (4, 2, 64, 4), "causal": False},
        ),
    ],
)
def test_flashinfer_is_called_rightly_for_other_caches_and_masks(
    definitions: Any,
    template: Any,
    load_run: Any,
    monkeypatch: pytest.MonkeyPatch,
    extras: dict[str, Any],
    name: str,
    expected: dict[str, Any],
) -> None:
    sizes = {"heads": 4, "kv_heads": 2, "head_dim": 64, "page_sizes": (4,)}
    definition = definitions(**{**sizes, **extras})[name.replace("_qk192_vo192", "_d64")]
    stand_ins = {
        f"Batch{kind}WithPagedKVCacheWrapper": OverACache for kind in ("Decode", "Prefill")
    }
    monkeypatch.setitem(sys.modules, "flashinfer", SimpleNamespace(**stand_ins))  # type: ignore[arg-type]
    reference, given = load_run(definition.reference), {}

    def called(q: Any, k_cache: Any, v_cache: Any, tables: Any, scales: Any) -> Any:
        inputs = {**given, "q": q, "k_cache": k_cache, "v_cache": v_cache, **scales}
        offsets = list(tables)
        if "causal" in OverACache.seen:
            starts = offsets.pop(0)
            one_each = torch.arange(len(q) + 1, dtype=torch.int32)
            assert torch.equal(starts, given.get("qo_indptr", one_each))
        for offset, wanted in zip(offsets, ("kv_indptr", "kv_indices"), strict=False):
            assert torch.equal(offset, given[wanted])
        if "custom_mask" in given:
            seen = OverACache.seen
            assert torch.equal(seen["custom_mask"], given["custom_mask"])
            # FlashInfer takes this for the keys of each sequence.
            pages = offsets[0][1:] - offsets[0][:-1]
            keys = (pages - 1) * 4 + offsets[2]
            assert torch.equal(seen["seq_lens"], keys)
            rows = starts[1:] - starts[:-1]
            assert int((rows * keys).sum()) == len(given["custom_mask"])
        return reference(*inputs.values())

    monkeypatch.setattr(OverACache, "reference", staticmethod(called))
    flashinfer = entry(truth_of(definition, "flashinfer"))
    cases = template.cases(definition)
    for case in cases:
        given.clear()
        given.update(template.inputs(definition, case))
        torch.testing.assert_close(flashinfer(**given), reference(*given.values()))
        seen = OverACache.seen
        assert {n: seen[n] for n in expected} == expected
    nothing = template.inputs(definition, {"lengths": [], "scale": 1.0})
    output, lse = flashinfer(**nothing)
    assert (output.shape[0], lse.shape[0]) == (0, 0)
    assert output.shape[2] == nothing["v_cache"].shape[-1]


class WithSinks:
    """Stands in for FlashInfer's prefill wrappers that are compiled with a variant."""

    reference: Any = None
    seen: dict[str, Any]

    def __init__(self, workspace: Any, layout: str, **options: Any) -> None:
        assert not workspace.any()
        assert (layout, options["backend"]) == ("NHD", "fa2")
        # Name, dtypes of q, k and v, output and indices, head sizes, then names and dtypes of
        # additional tensors and scalars, the variant's name and its text.
        name, *dtypes, sizes_qk, sizes_vo, tensors, floats, scalars, doubles, variant, text = (
            options["jit_args"]
        )
        assert dtypes == [torch.bfloat16] * 3 + [torch.int32]
        assert (sizes_qk, sizes_vo) == (64, 64)
        assert (tensors, floats, scalars, doubles) == (
            ["sink"],
            ["float"],
            ["sm_scale"],
            ["double"],
        )
        assert (variant, text) == ("AttentionSink", "a variant")
        WithSinks.seen = {"name": name, **options["jit_kwargs"]}

    def plan(self, *sizes: Any, **settings: Any) -> None:
        self.indices = [x for x in sizes if isinstance(x, torch.Tensor)]
        WithSinks.seen |= {"sizes": sizes[len(self.indices) :], **settings}

    def run(self, q: Any, *given: Any, return_lse: bool) -> Any:
        assert return_lse
        *keys, sinks, sm_scale = given
        caches = keys[0] if len(keys) == 1 else keys
        assert sinks.dtype == torch.float32
        assert isinstance(sm_scale, float)
        return WithSinks.reference(q, caches, self.indices, sinks, sm_scale)


@pytest.mark.parametrize("name", [n.replace("d16", "d64") for n in KERNELS])
@pytest.mark.parametrize("window", [None, 9])
def test_flashinfer_s_sinks_are_called_rightly(
    definitions: Any,
    template: Any,
    load_run: Any,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    window: int | None,
) -> None:
    suffix = "_sink" if window is None else "_swa9_sink"
    definition = definitions(4, 2, 64, (1, 4), window, sink=True)[name + suffix]
    variants = SimpleNamespace(attention_sink_decl={"fa2": "a variant", "fa3": "another"})
    for module, stand_in in {
        "flashinfer": SimpleNamespace(
            BatchPrefillWithPagedKVCacheWrapper=WithSinks,
            BatchPrefillWithRaggedKVCacheWrapper=WithSinks,
        ),
        "flashinfer.jit": SimpleNamespace(),
        "flashinfer.jit.attention": SimpleNamespace(),
        "flashinfer.jit.attention.variants": variants,
    }.items():
        monkeypatch.setitem(sys.modules, module, stand_in)  # type: ignore[arg-type]
    reference = load_run(definition.reference)

    def called(q: Any, caches: Any, indices: list[Any], sinks: Any, sm_scale: float) -> Any:
        if "decode" in name:
            starts = indices.pop(0)
            assert starts.tolist() == list(range(q.shape[0] + 1))
        if name.endswith("ps1"):
            assert set(indices.pop().tolist()) <= {0, 1}  # pages that are full, or none
        return reference(q, *caches, *indices, sinks, sm_scale)

    monkeypatch.setattr(WithSinks, "reference", staticmethod(called))
    flashinfer = entry(truth_of(definition, "flashinfer"))
    for case in template.cases(definition):
        inputs = template.inputs(definition, case)
        torch.testing.assert_close(flashinfer(**inputs), reference(*inputs.values()))
        seen = WithSinks.seen
        page = () if "ragged" in name else (1 if name.endswith("ps1") else 4,)
        assert seen["sizes"] == (4, 2, 64, *page)
        assert seen["causal"] is True
        assert seen["window_left"] == (-1 if window is None else window - 1)
        assert seen["use_sliding_window"] is (window is not None)
        assert "d64" in seen["name"]
        assert str(window is not None) in seen["name"]


def test_decode_uses_tensor_cores_for_other_group_sizes(
    definitions: Any, template: Any, load_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    definition = definitions(10, 2, 64, (1,))["gqa_paged_decode_h10_kv2_d64_ps1"]
    stand_in = SimpleNamespace(BatchDecodeWithPagedKVCacheWrapper=Paged)
    monkeypatch.setitem(sys.modules, "flashinfer", stand_in)  # type: ignore[arg-type]
    monkeypatch.setattr(Wrapper, "reference", staticmethod(load_run(definition.reference)))
    entry(truth_of(definition, "flashinfer"))(
        **template.inputs(definition, {"lengths": [[1, 3]], "scale": 1.0})
    )
    assert Wrapper.seen["options"] == {"use_tensor_cores": True}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
@pytest.mark.parametrize("name", [n.replace("d16", "d64") for n in KERNELS])
@pytest.mark.parametrize(
    ("extras", "suffix"),
    [
        ({}, ""),
        ({"window": 9, "cap": 4.5}, "_swa9_cap4p5"),
        ({"window": 9, "sink": True}, "_swa9_sink"),
        ({"sink": True}, "_sink"),
    ],
)
def test_flashinfer_agrees(
    definitions: Any,
    template: Any,
    load_run: Any,
    name: str,
    extras: dict[str, Any],
    suffix: str,
) -> None:
    pytest.importorskip("flashinfer")
    definition = definitions(4, 2, 64, (1, 4), **extras)[name + suffix]
    run, flashinfer = load_run(definition.reference), entry(truth_of(definition, "flashinfer"))
    for case in template.cases(definition):
        inputs = {
            n: x.cuda() if isinstance(x, torch.Tensor) else x
            for n, x in template.inputs(definition, case).items()
        }
        (output, lse), expected = run(*inputs.values()), flashinfer(**inputs)
        torch.testing.assert_close(output, expected[0], rtol=1e-2, atol=8e-3)
        torch.testing.assert_close(lse, expected[1], rtol=1e-3, atol=1e-3)
