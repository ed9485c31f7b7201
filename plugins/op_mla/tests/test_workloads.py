"""Workloads of latent attention: batches whose tables are right."""

from __future__ import annotations

import attrs
import pytest

from fibcore.plugin import Definition, Kernel, Scalar, WorkloadCase
from fibcore.testing.sequence_tables import check_reach, check_tables
from fibcore_op_mla import fibcore_reference, fibcore_workloads

KINDS = ("decode", "decode_ps1", "prefill", "prefill_ps1", "ragged")


def made(kind: str) -> Definition:
    parameters: dict[str, Scalar] = {"kind": kind.removesuffix("_ps1"), "num_qo_heads": 4}
    if kind == "ragged":
        parameters |= {"num_kv_heads": 4, "qk_dim": 192, "vo_dim": 128}
    else:
        parameters |= {"head_dim_ckv": 512, "head_dim_kpe": 64}
        parameters["page_size"] = 1 if kind.endswith("ps1") else 64
    op_type = "mla_ragged" if kind == "ragged" else "mla_paged"
    found = fibcore_reference(Kernel(op_type, f"{op_type}_x", parameters, {}, ()))
    assert found is not None
    return found


def test_a_quantised_cache_has_a_scale() -> None:
    parameters: dict[str, Scalar] = {"kind": "decode", "num_qo_heads": 4, "page_size": 64}
    parameters |= {"head_dim_ckv": 512, "head_dim_kpe": 64, "cache_dtype": "float8_e4m3fn"}
    definition = fibcore_reference(Kernel("mla_paged", "mla_paged_x", parameters, {}, ()))
    assert all(case.scalars["kv_scale"] == 0.5 for case in cases_of(definition))
    assert all("kv_scale" not in case.scalars for case in cases_of(made("decode")))


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
    assert usual == pytest.approx(192**-0.5)


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
