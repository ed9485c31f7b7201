"""Workloads."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

from fibcore.plugin import Definition
from fibcore_op_quantize import fibcore_workloads

Make = Callable[..., Definition]


def test_rows_from_one_to_8192(definition: Make) -> None:
    found = fibcore_workloads(definition("per_token_quant_fp8"), {}, 0)
    assert [case.axes["M"] for case in found] == [2**i for i in range(14)]


@pytest.mark.parametrize(("kind", "group"), [("mxfp8_quantize", 32), ("per_token_quant_fp8", 16)])
def test_few_rows_have_groups_of_two_sizes(definition: Make, kind: str, group: int) -> None:
    cases = fibcore_workloads(definition(kind, 256), {}, 0)
    values = cases[3].tensors()["input"]
    assert values.shape == (8, 256)
    largest = abs(values).reshape(-1, 256 // group, group).max(-1)
    assert largest[:, 1::2].min() > 8 * largest[:, ::2].max()
    assert not cases[-1].tensors()


def test_a_scale_that_is_given_fits_all_rows(definition: Make) -> None:
    cases = fibcore_workloads(definition("static_quant_fp8", 256), {}, 0)
    assert cases[-1].tensors()["scale"].tolist() == [pytest.approx(4 / 448)]
    assert list(cases[0].tensors()) == ["input", "scale"]
    cases = fibcore_workloads(definition("nvfp4_quantize", 256), {}, 0)
    assert cases[-1].tensors()["a_global_sf"].tolist() == [672.0]


def test_definitions_of_others_are_not_guessed(definition: Make) -> None:
    made = definition("per_token_quant_fp8")
    outputs = {**made.outputs, "scales": attrs.evolve(made.outputs["scales"], dtype="bfloat16")}
    assert fibcore_workloads(attrs.evolve(made, outputs=outputs), {}, 0) == ()
