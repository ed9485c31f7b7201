"""Workloads of grouped query attention: batches whose tables are right."""

from __future__ import annotations

import itertools

import attrs
import pytest

from fibcore.plugin import Definition, Kernel, Scalar, WorkloadCase
from fibcore.testing.sequence_tables import check_reach, check_tables
from fibcore_op_gqa import fibcore_reference, fibcore_workloads

KINDS = ("decode", "decode_ps1", "prefill", "prefill_ps1", "ragged")


def made(kind: str, **more: Scalar) -> Definition:
    parameters: dict[str, Scalar] = {
        "num_qo_heads": 4,
        "num_kv_heads": 2,
        "head_dim": 64,
        "kind": kind.removesuffix("_ps1"),
        **more,
    }
    if kind != "ragged":
        parameters["page_size"] = 1 if kind.endswith("ps1") else 64
    op_type = "gqa_ragged" if kind == "ragged" else "gqa_paged"
    found = fibcore_reference(Kernel(op_type, f"{op_type}_x", parameters, {}, ()))
    assert found is not None
    return found


def cases_of(definition: Definition, seed: int = 0, **constants: Scalar) -> list[WorkloadCase]:
    found = fibcore_workloads(definition, constants, seed)
    assert found
    return list(found)


@pytest.mark.parametrize("kind", KINDS)
def test_tables_are_those_of_the_axes(kind: str) -> None:
    definition = made(kind)
    for case in cases_of(definition):
        check_tables(definition, case)


@pytest.mark.parametrize("kind", KINDS)
def test_sizes_reach_32k(kind: str) -> None:
    definition = made(kind)
    check_reach(definition, cases_of(definition))


@pytest.mark.parametrize("kind", KINDS)
def test_the_scale_is_the_model_s(kind: str) -> None:
    definition = made(kind)
    assert {c.scalars["sm_scale"] for c in cases_of(definition, sm_scale=0.25)} == {0.25}
    (usual,) = {c.scalars["sm_scale"] for c in cases_of(definition)}
    assert usual == pytest.approx(64**-0.5)


def test_seeds_and_names_change_what_is_drawn() -> None:
    definition = made("decode")
    renamed = attrs.evolve(definition, name=definition.name + "_v2")
    first, *others = (
        [c.axes for c in cases_of(d, s)]
        for d, s in ((definition, 0), (definition, 1), (renamed, 0))
    )
    assert all(first != other for other in others)
    assert first == [c.axes for c in cases_of(definition)]


def test_other_attention_is_not_guessed() -> None:
    definition = made("decode")
    window = attrs.evolve(definition, name=definition.name + "_window")
    assert fibcore_workloads(window, {}, 0) == ()


@pytest.mark.parametrize("kind", KINDS)
def test_sinks_are_as_large_as_what_keys_come_to(kind: str) -> None:
    definition = made(kind, sinks=True)
    for case in cases_of(definition):
        check_tables(definition, case)
        sinks = case.tensors()["sinks"]
        assert sinks.shape == (4,)
        assert str(sinks.dtype) == "float32"
        assert 0 <= sinks.min() <= sinks.max() <= 12
    assert max(case.tensors()["sinks"].max() for case in cases_of(definition)) > 4


@pytest.mark.parametrize("kind", KINDS)
def test_some_sequences_end_around_a_chunk(kind: str) -> None:
    definition = made(kind, attention_chunk=8192)
    cases = cases_of(definition)
    (case,) = (c for c in cases if "of 8192 keys" in c.label)
    check_tables(definition, case)
    assert len(cases) == len(cases_of(made(kind))) + 1


def test_scales_of_an_eight_bit_cache_differ_from_one_and_each_other() -> None:
    for case in cases_of(made("decode", cache_dtype="float8_e4m3fn")):
        assert len({1.0, case.scalars["k_scale"], case.scalars["v_scale"]}) == 3


@pytest.mark.parametrize("kind", ["prefill", "prefill_ps1"])
def test_masks_are_trees_of_drafts(kind: str) -> None:
    definition = made(kind, custom_mask=True)
    for case in cases_of(definition):
        check_tables(definition, case)
        tables = case.tensors()
        queries = tables["qo_indptr"].tolist()
        page = definition.const_axes["page_size"]
        pages = [b - a for a, b in itertools.pairwise(tables["kv_indptr"].tolist())]
        last = tables["kv_last_page_len"].tolist() if page > 1 else [1] * len(pages)
        mask, begin = tables["custom_mask"], 0
        assert mask.shape == (case.axes["mask_len"],)
        for number, (start, end) in enumerate(itertools.pairwise(queries)):
            n, m = end - start, (pages[number] - 1) * page + last[number]
            seen = mask[begin : begin + n * m].reshape(n, m)
            begin += n * m
            assert seen[:, : m - n].all()
            drafts = seen[:, m - n :]
            for draft in range(n):
                above = [other for other in range(draft) if drafts[draft, other]]
                assert drafts[draft, draft]
                assert not drafts[draft, draft + 1 :].any()
                # What it follows, and all that this follows.
                assert (
                    not above
                    or (drafts[draft, : above[-1] + 1] == drafts[above[-1], : above[-1] + 1]).all()
                )
        assert begin == len(mask)
    # Trees, not chains.
    assert not all(case.tensors()["custom_mask"].all() for case in cases_of(definition))


def test_encoders_have_prompts_alone() -> None:
    definition = made("ragged", causal=False)
    assert cases_of(definition)[0].axes["total_q"] == 1
    for case in cases_of(definition):
        check_tables(definition, case)
