"""Constraints: what is evaluated of them, and what is not."""

from __future__ import annotations

import numpy as np
import pytest

from fibcore.model.definition import Definition, const, tensor, var
from fibcore.validation.constraints import broken_constraints, can_be_evaluated


@pytest.mark.parametrize(
    "constraint",
    [
        "__import__('os')",
        "indptr.__class__",
        "indptr.tofile('x') is None",
        "[n for n in range(9)] == []",
        "(lambda: 1)()",
        "rows ** rows == 1",
        "'a' * rows == ''",
        "rows << rows == 0",
        "indptr.tofile(rows) == 0",
    ],
)
def test_what_could_do_harm_is_not_evaluated(constraint: str) -> None:
    assert not can_be_evaluated(constraint)


def test_constraints_are_evaluated_as_far_as_values_are_known() -> None:
    definition = Definition(
        name="pick_w4",
        op_type="pick",
        axes={"rows": var(), "width": const(4), "len_indptr": var()},
        inputs={
            "table": tensor("rows width", "bfloat16"),
            "indptr": tensor("len_indptr", "int32"),
        },
        outputs={"out": tensor("rows width", "bfloat16")},
        reference="def run(table, indptr):\n    return table\n",
        constraints=(
            "rows == indptr[-1].item()",
            "len_indptr == 3 and width == 4",
            "max(indptr[1:] - indptr[:-1]) <= rows",
            "table.sum() > 0",
            "indptr[7] == 1",
        ),
    )
    values = {"rows": 8, "len_indptr": 3, "indptr": np.array([0, 1, 8])}
    # What is out of range is broken; the table is random, so nothing is said of its sum.
    assert broken_constraints(definition, values) == ["indptr[7] == 1"]
    values = {"rows": 4, "len_indptr": 2, "indptr": np.array([0, 1, 8])}
    assert broken_constraints(definition, values) == [
        *("rows == indptr[-1].item()", "len_indptr == 3 and width == 4"),
        *("max(indptr[1:] - indptr[:-1]) <= rows", "indptr[7] == 1"),
    ]
