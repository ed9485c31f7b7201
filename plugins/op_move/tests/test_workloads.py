"""Workloads of writes to paged caches."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import numpy as np
import pytest

from fibcore.plugin import Definition, scalar
from fibcore_op_move import fibcore_workloads

Make = Callable[..., Definition]


@pytest.mark.parametrize(
    "layout", ["kv", "kv_widths", "mla", "kv_fp8", "mla_fp8", "mla_block_scale"]
)
def test_every_token_has_a_place_of_its_own(definition: Make, layout: str) -> None:
    made = definition(layout, 64)
    found = fibcore_workloads(made, {}, 0)
    assert {case.axes["nnz_kv"] for case in found} >= {1, 64, 256, 8192}
    for case in found:
        values = case.tensors()
        begins, numbers = values["kv_indptr"], values["kv_indices"]
        entries = begins[values["batch_indices"]] + values["positions"] // 64
        assert np.all(entries < begins[values["batch_indices"] + 1])
        slots = numbers[entries].astype(np.int64) * 64 + values["positions"] % 64
        assert len(set(slots.tolist())) == case.axes["nnz_kv"]
        assert numbers.max() < case.axes["num_pages"]
        assert case.axes["batch_size_plus_1"] == len(begins)
        assert begins[-1] == case.axes["num_kv_indices"] == len(numbers)
        assert ("page_size" in case.axes) is layout.startswith("mla")
        assert len(case.scalars) == 2 * (layout == "kv_fp8")
        assert all(array.dtype == np.int32 for array in values.values())


def test_new_tokens_are_the_last_ones(definition: Make) -> None:
    made = definition("kv", 64)
    decoding = fibcore_workloads(made, {}, 0)[1]
    values = decoding.tensors()
    (last,) = values["positions"]
    assert last == (decoding.axes["num_kv_indices"] - 1) * 64 + values["kv_last_page_len"][0] - 1


def test_definitions_of_others_are_not_guessed(definition: Make) -> None:
    made = definition()
    inputs = {**made.inputs, "scale": scalar("float32")}
    reference = f"def run({', '.join(inputs)}):\n    pass\n"
    assert fibcore_workloads(attrs.evolve(made, inputs=inputs, reference=reference), {}, 0) == ()
