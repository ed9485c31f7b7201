"""The references: right on every property, whatever the chunking, in bounded memory."""

from __future__ import annotations

import math
from importlib import resources
from typing import Any

import pytest

from fibcore.plugin import joined, render
from fibcore.testing.shares import a_share

torch = pytest.importorskip("torch")

SCALES = {"k_scale": 1.0, "v_scale": 1.0}

FILES = sorted(
    entry.name
    for entry in (resources.files("fibcore_op_gqa") / "references").iterdir()
    if entry.name.endswith(".py")
)


def source(name: str) -> str:
    return joined(resources.files("fibcore_op_gqa") / "references", name)


def test_there_is_a_reference_for_each_kind() -> None:
    assert FILES == [
        "gqa_paged_decode.py",
        "gqa_paged_prefill_causal.py",
        "gqa_ragged_prefill_causal.py",
    ]


@pytest.mark.parametrize(
    ("heads", "kv_heads", "head_dim", "page_sizes"),
    [(32, 8, 128, (1, 64)), (4, 1, 64, (1, 16)), (6, 6, 96, (1, 3)), (10, 2, 8, (2,))],
)
def test_properties_hold(
    definitions: Any,
    template: Any,
    load_run: Any,
    heads: int,
    kv_heads: int,
    head_dim: int,
    page_sizes: tuple[int, ...],
) -> None:
    for definition in definitions(heads, kv_heads, head_dim, page_sizes).values():
        for _, check in template.checks(definition, load_run(definition.reference)):
            check()


@pytest.mark.parametrize(
    ("window", "cap"), [(1, 0.0), (2, 0.0), (7, 0.0), (90, 5.0), (4096, 0.0), (None, 0.5)]
)
def test_properties_hold_with_a_window_and_a_cap(
    definitions: Any, template: Any, load_run: Any, window: int | None, cap: float
) -> None:
    for definition in definitions(6, 2, 8, (5,), window, cap).values():
        for _, check in template.checks(definition, load_run(definition.reference)):
            check()


@pytest.mark.parametrize(
    "extras",
    a_share(
        [
            {"sink": True},
            {"sink": True, "window": 7},
            {"sink": True, "cap": 3.0, "chunk": 9},
            {"chunk": 1},
            {"chunk": 5},
            {"full": True},
            {"full": True, "sink": True, "cap": 3.0},
            {"fp8": True},
            {"fp8": True, "window": 7, "cap": 3.0, "sink": True},
            {"value_dim": 4},
            {"value_dim": 12, "window": 7, "sink": True},
            {"mask": True},
            {"mask": True, "window": 7},
            {"mask": True, "sink": True, "cap": 3.0, "fp8": True, "value_dim": 4},
            {"cross": True},
            {"cross": True, "sink": True, "fp8": True},
        ],
        2,
    ),
    ids=str,
)
def test_properties_hold_for_variants(
    definitions: Any, template: Any, load_run: Any, extras: dict[str, Any]
) -> None:
    for definition in definitions(6, 2, 8, (5,), **extras).values():
        for _, check in template.checks(definition, load_run(definition.reference)):
            check()


def test_scales_of_one_leave_plain_attention(
    definitions: Any, template: Any, load_run: Any
) -> None:
    plain = definitions(4, 2, 8, (1, 5))
    for name, definition in definitions(4, 2, 8, (1, 5), fp8=True).items():
        if not name.endswith("_fp8kv"):
            continue
        other = plain[name.removesuffix("_fp8kv")]
        for case in template.cases(other):
            inputs = template.inputs(definition, case)
            actual = load_run(definition.reference)(*{**inputs, **SCALES}.values())
            wide = {n: x for n, x in inputs.items() if n not in SCALES}
            wide |= {n: wide[n].to(torch.bfloat16) for n in ("k_cache", "v_cache")}
            torch.testing.assert_close(actual, load_run(other.reference)(*wide.values()))


def test_a_causal_mask_of_its_own_is_causal_attention(
    definitions: Any, template: Any, load_run: Any
) -> None:
    found = definitions(4, 2, 8, (1, 5), mask=True)
    for page_size in (1, 5):
        masked = found[f"gqa_paged_prefill_custom_mask_h4_kv2_d8_ps{page_size}"]
        causal = found[f"gqa_paged_prefill_causal_h4_kv2_d8_ps{page_size}"]
        for case in template.cases(causal):
            inputs = template.inputs(causal, case)
            seen = template.module._seen(causal.to_dict(), inputs)
            *others, scale = inputs.values()
            mask = torch.cat([part.flatten() for part in seen])
            actual = load_run(masked.reference)(*others, mask, scale)
            torch.testing.assert_close(actual, load_run(causal.reference)(*inputs.values()))


def test_chunks_of_llama_4_are_longer_than_what_goes_at_once(
    definitions: Any, template: Any, load_run: Any
) -> None:
    # 8192 keys of few heads: the last chunk begins within a tile of queries.
    for name, definition in definitions(2, 1, 8, (64,), chunk=8192).items():
        lengths = [[1 if "decode" in name else 200, 8192 + 70], [1, 8192]]
        inputs = template.inputs(definition, {"lengths": lengths, "scale": 1.0})
        actual = load_run(definition.reference)(*inputs.values())
        expected = template.module._dense(definition.to_dict(), inputs)
        torch.testing.assert_close(actual[0].double(), expected[0], rtol=1e-2, atol=8e-3)
        torch.testing.assert_close(actual[1].double(), expected[1], rtol=1e-5, atol=1e-5)


def test_sinks_far_below_the_logits_leave_plain_attention(
    definitions: Any, template: Any, load_run: Any
) -> None:
    plain = definitions(4, 2, 8, (1, 5))
    for name, definition in definitions(4, 2, 8, (1, 5), sink=True).items():
        other = plain[name.removesuffix("_sink")]
        for case in template.cases(other):
            inputs = template.inputs(other, case)
            scale = inputs.pop("sm_scale")
            sinks = torch.full((4,), -math.inf)
            actual = load_run(definition.reference)(*inputs.values(), sinks, scale)
            expected = load_run(other.reference)(*inputs.values(), scale)
            torch.testing.assert_close(actual, expected)


def test_a_window_of_all_keys_is_plain_attention(
    definitions: Any, template: Any, load_run: Any
) -> None:
    plain = definitions(4, 2, 8, (1, 5))
    for name, definition in definitions(4, 2, 8, (1, 5), window=5000).items():
        other = plain[name.removesuffix("_swa5000")]
        for case in template.cases(other):
            inputs = template.inputs(other, case)
            actual = load_run(definition.reference)(*inputs.values())
            torch.testing.assert_close(actual, load_run(other.reference)(*inputs.values()))


def test_decode_reads_no_more_keys_than_the_window(
    definitions: Any, template: Any, load_run: Any
) -> None:
    # What a cache of windows has dropped may hold anything, NaN too.
    definition = definitions(4, 2, 8, (1,), window=6)["gqa_paged_decode_h4_kv2_d8_ps1_swa6"]
    inputs = template.inputs(definition, {"lengths": [[1, 20], [1, 6], [1, 2]], "scale": 1.0})
    run = load_run(definition.reference)
    expected = run(*inputs.values())
    for name in ("k_cache", "v_cache"):
        inputs[name][inputs["kv_indices"][:14].long()] = math.nan
    torch.testing.assert_close(run(*inputs.values()), expected)


@pytest.mark.parametrize(
    ("elements", "rows", "window"),
    a_share([(1, 1, None), (1, 1, 6), (2000, 3, 6), (2000, 3, None), (2**14, 128, None)], 2),
)
def test_properties_hold_however_small_the_chunks(
    definitions: Any, template: Any, load_run: Any, elements: int, rows: int, window: int | None
) -> None:
    for definition in definitions(4, 2, 8, (1, 5), window).values():
        limits = {"MAX_ELEMENTS": elements}
        if "MAX_ROWS" in definition.reference:
            limits["MAX_ROWS"] = rows
        run = load_run(render(definition.reference, limits))
        for name, check in template.checks(definition, run):
            if not name.startswith(("many_", "around_")) or elements > 1:
                check()


def test_one_query_prefill_equals_decode(definitions: Any, template: Any, load_run: Any) -> None:
    found = definitions(8, 2, 64, (16,))
    decode = found["gqa_paged_decode_h8_kv2_d64_ps16"]
    prefill = found["gqa_paged_prefill_causal_h8_kv2_d64_ps16"]
    for case in template.cases(decode):
        inputs = template.inputs(decode, case)
        one_each = torch.arange(len(case["lengths"]) + 1, dtype=torch.int32)
        others = {}
        for name in prefill.inputs:
            others[name] = one_each if name == "qo_indptr" else inputs[name]
        expected = load_run(decode.reference)(*inputs.values())
        actual = load_run(prefill.reference)(*others.values())
        torch.testing.assert_close(actual, expected)


def test_paged_and_ragged_prefill_agree(definitions: Any, template: Any, load_run: Any) -> None:
    found = definitions(8, 2, 64, (1,))
    ragged = found["gqa_ragged_prefill_causal_h8_kv2_d64"]
    paged = found["gqa_paged_prefill_causal_h8_kv2_d64_ps1"]
    for case in template.cases(ragged):
        inputs = template.inputs(ragged, case)
        order = torch.randperm(inputs["k"].shape[0])
        caches = {n: torch.empty_like(inputs[n]) for n in ("k", "v")}
        for n, cache in caches.items():
            cache[order] = inputs[n]
        expected = load_run(ragged.reference)(*inputs.values())
        actual = load_run(paged.reference)(
            inputs["q"],
            caches["k"][:, None],
            caches["v"][:, None],
            inputs["qo_indptr"],
            inputs["kv_indptr"],
            order.int(),
            inputs["sm_scale"],
        )
        torch.testing.assert_close(actual, expected)


def test_large_logits_do_not_overflow(definitions: Any, template: Any, load_run: Any) -> None:
    definition = definitions(2, 1, 8, (1,))["gqa_ragged_prefill_causal_h2_kv1_d8"]
    inputs = template.inputs(definition, {"lengths": [[3, 40]], "scale": 1.0})
    inputs["sm_scale"] = 1000.0
    output, lse = load_run(definition.reference)(*inputs.values())
    assert output.isfinite().all()
    assert lse.isfinite().all()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("gqa_paged_decode_h4_kv2_d8_ps4", {"q": (2, 4, 16)}),
        ("gqa_paged_decode_h4_kv2_d8_ps4", {"k_cache": (3, 1, 2, 8)}),
        ("gqa_paged_decode_h4_kv2_d8_ps4", {"v_cache": (3, 4, 1, 8)}),
        ("gqa_paged_decode_h4_kv2_d8_ps4", {"kv_indptr": (2,)}),
        ("gqa_paged_decode_h4_kv2_d8_ps4", {"kv_last_page_len": (1,)}),
        ("gqa_paged_prefill_causal_h4_kv2_d8_ps4", {"q": (9, 4, 8)}),
        ("gqa_paged_prefill_causal_h4_kv2_d8_ps4", {"kv_indices": (99,)}),
        ("gqa_ragged_prefill_causal_h4_kv2_d8", {"k": (5, 2, 8)}),
        ("gqa_ragged_prefill_causal_h4_kv2_d8", {"qo_indptr": (7,)}),
        ("gqa_paged_decode_h4_kv2_qk8_vo4_ps4", {"v_cache": (5, 4, 2, 8)}),
        ("gqa_paged_prefill_causal_h4_kv2_qk8_vo4_ps4", {"v_cache": (5, 4, 2, 8)}),
        ("gqa_ragged_prefill_causal_h4_kv2_qk8_vo4", {"v": (8, 2, 8)}),
        ("gqa_paged_prefill_custom_mask_h4_kv2_qk8_vo4_ps4", {"custom_mask": (7,)}),
    ],
)
def test_constraints_are_asserted(
    definitions: Any, template: Any, load_run: Any, name: str, change: dict[str, tuple[int, ...]]
) -> None:
    width = {"value_dim": 4, "mask": True} if "_vo4" in name else {}
    definition = definitions(4, 2, 8, (4,), **width)[name]
    inputs = template.inputs(definition, {"lengths": [[1, 6], [1, 2]], "scale": 1.0})
    run = load_run(definition.reference)
    run(*inputs.values())
    for key, shape in change.items():
        inputs[key] = torch.zeros(shape, dtype=inputs[key].dtype)
    with pytest.raises(AssertionError):
        run(*inputs.values())


class Largest(torch.utils._python_dispatch.TorchDispatchMode):
    """Notes the elements of the largest tensor that any operation makes."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        del types
        result = function(*args, **(kwargs or {}))
        given = {x.untyped_storage().data_ptr() for x in args if isinstance(x, torch.Tensor)}
        for tensor in result if isinstance(result, tuple | list) else (result,):
            # Views make nothing.
            if (
                isinstance(tensor, torch.Tensor)
                and tensor.untyped_storage().data_ptr() not in given
            ):
                self.elements = max(self.elements, tensor.numel())
        return result


@pytest.mark.parametrize(("keys", "window"), [(300, None), (1200, None), (1200, 600)])
def test_temporaries_do_not_grow_with_the_sequences(
    definitions: Any, template: Any, load_run: Any, keys: int, window: int | None
) -> None:
    limit = 2**13
    for name, definition in definitions(4, 2, 16, (1, 8), window).items():
        queries = 1 if "decode" in name else keys // 2
        case = {"lengths": [[queries, keys], [1, 5]], "scale": 1.0}
        inputs = template.inputs(definition, case)
        run = load_run(render(definition.reference, {"MAX_ELEMENTS": limit}))
        with Largest() as largest:
            output, _ = run(*inputs.values())
        assert largest.elements <= max(limit, output.numel()), name
        assert largest.elements >= limit // 2, f"{name}: chunks smaller than they have to be"


def test_examples_in_the_files_run_by_themselves(load_run: Any) -> None:
    run = load_run(source("gqa_paged_decode.py"))
    cache = torch.zeros(2, 64, 8, 128, dtype=torch.bfloat16)
    output, lse = run(
        torch.ones(1, 32, 128, dtype=torch.bfloat16),
        cache,
        cache,
        torch.tensor([0, 1], dtype=torch.int32),
        torch.tensor([1], dtype=torch.int32),
        torch.tensor([3], dtype=torch.int32),
        torch.zeros(32),
        0.1,
    )
    assert not output.any()
    # Three keys and the sink.
    torch.testing.assert_close(lse, torch.full((1, 32), math.log2(4)))
