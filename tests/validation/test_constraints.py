"""Constraints: what is evaluated of them, and what is not."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from fibcore.model.definition import Definition, const, tensor, var
from fibcore.validation.constraints import broken_constraints, can_be_evaluated


def pick(*constraints: str) -> Definition:
    """A definition with these constraints."""
    return Definition(
        name="pick_w4",
        op_type="pick",
        axes={"rows": var(), "width": const(4), "len_indptr": var()},
        inputs={
            "table": tensor("rows width", "bfloat16"),
            "indptr": tensor("len_indptr", "int32"),
        },
        outputs={"out": tensor("rows width", "bfloat16")},
        reference="def run(table, indptr):\n    return table\n",
        constraints=constraints,
    )


INDPTR = np.array([0, 1, 8], dtype=np.int32)
VALUES = {"rows": 8, "len_indptr": 3, "indptr": INDPTR, "table": np.ones((8, 4), np.float32)}


@pytest.mark.parametrize(
    "constraint",
    [
        "__import__('os')",
        "indptr.__class__",
        "indptr.tofile('x') is None",
        "[n for n in range(9)] == []",
        "(lambda: 1)()",
        "'a' * rows == ''",
        "rows << rows == 0",
        "indptr.tofile(rows) == 0",
        "open(rows)",
        "max(indptr, key=abs) > 0",
        "max(*indptr) > 0",
        "(rows := 3) > 0",
        "f'{rows}' == 8",
        "int == int and abs(max)(rows)",
        "-" * 60 + "rows < 0",
    ],
)
def test_what_could_do_harm_is_not_evaluated(constraint: str) -> None:
    assert not can_be_evaluated(constraint)


def test_constraints_are_evaluated_as_far_as_values_are_known() -> None:
    definition = pick(
        "rows == indptr[-1].item()",
        "len_indptr == 3 and width == 4",
        "max(indptr[1:] - indptr[:-1]) <= rows",
        "table.sum() > 0",
        "indptr[7] == 1",
    )
    values = {"rows": 8, "len_indptr": 3, "indptr": np.array([0, 1, 8])}
    # What is out of range is broken; the table is random, so nothing is said of its sum.
    assert list(broken_constraints(definition, values)) == ["indptr[7] == 1"]
    values = {"rows": 4, "len_indptr": 2, "indptr": np.array([0, 1, 8])}
    assert list(broken_constraints(definition, values)) == [
        *("rows == indptr[-1].item()", "len_indptr == 3 and width == 4"),
        *("max(indptr[1:] - indptr[:-1]) <= rows", "indptr[7] == 1"),
    ]


@pytest.mark.parametrize(
    "constraint",
    [
        "rows == 8 or indptr[9] == 0",
        "0 <= indptr[0] < indptr[1] < indptr[-1] == rows",
        "not (rows > 8) if width else indptr[9]",
        "len(range(10, 0, -3)) == 4 and sum(range(5)) == 10",
        "max(rows, width) == 8 and min(3, 1.5) == 1.5 and abs(-rows) == 8 and int(7.9) == 7",
        "all(indptr[1:] >= indptr[:-1]) and any(indptr == 8)",
        "(indptr[1:] - indptr[:-1]).max().item() == 7",
        "table.shape == (rows, width) and table.shape[0] == rows and table.numel() == 32",
        "table.size(0) == rows and table.size() == (8, 4) and table.size == 32",
        "table[1:3, 0].sum() == 2 and table.sum(1)[0] == 4 and len(table) == 8",
        "rows // 3 == 2 and rows % 3 == 2 and rows / 16 == 0.5 and rows ** 2 == 64",
        "(1, 2) + (3,) == (1, 2, 3) and len((1, 2) * 3) == 6 and sum((1, 2)) == 3",
        "indptr.any() and not indptr.all() and indptr.min() == 0 and (+indptr).sum() == 9",
    ],
)
def test_arithmetic_is_that_of_python(constraint: str) -> None:
    assert can_be_evaluated(constraint)
    assert broken_constraints(pick(constraint), VALUES) == {}
    assert list(broken_constraints(pick(f"not ({constraint})"), VALUES)) == [f"not ({constraint})"]


@pytest.mark.parametrize(
    ("constraint", "reason"),
    [
        ("sum(range(1000000000000000000)) > 0", "more than 10000000 elements to compute"),
        ("all(range(1, 100000000000000))", "more than 10000000 elements"),
        ("max(range(10 ** 60)) > 0", "more than 10000000 elements"),
        ("len((rows, rows) * 10000000000) > 0", "more than 10000000 elements"),
        ("len((rows,) * 9999999 + (rows,) * 9999999) > 0", "more than 10000000 elements"),
        ("9 ** 9 ** 9 > 0", "an integer of more than 256 bits"),
        ("10 ** 70 * 10 ** 70 > 0", "an integer of more than 256 bits"),
        ("int(1e300) > 0", "an integer of more than 256 bits"),
        ("9.0 ** 9999 > 0", "OverflowError"),
        ("rows / 0 > 0", "ZeroDivisionError"),
        ("indptr == rows", "ValueError"),  # more than one truth value
        ("((rows, rows), (rows, rows)) * 9 == ((rows,),)", "a tuple holds numbers"),
        ("indptr.max == 3", "max is a method"),
        ("rows.shape[0] > 0", "IndexError"),
        ("indptr + 10 ** 60 > 0", "OverflowError"),
        ("abs(rows, rows)", "TypeError"),
        ("range(1.5)", "range takes integers"),
        ("indptr[indptr]", "an index is an integer"),
    ],
)
def test_what_takes_too_much_or_raises_is_broken_at_once(constraint: str, reason: str) -> None:
    assert can_be_evaluated(constraint)
    began = time.process_time()
    assert reason in broken_constraints(pick(constraint), VALUES)[constraint]
    assert time.process_time() - began < 2


def test_tensors_that_broadcast_to_a_huge_one_are_not_multiplied() -> None:
    values: dict[str, Any] = {
        "rows": 1,
        "len_indptr": 1,
        "table": np.ones((1, 100_000), np.float32),
        "indptr": np.ones((100_000, 1), np.int32),
    }
    constraint = "(table * indptr).sum() > 0"
    found = broken_constraints(pick(constraint), values)
    assert found == {constraint: "more than 10000000 elements to compute"}


def test_differences_of_small_integers_do_not_wrap() -> None:
    values = {**VALUES, "indptr": np.array([3, 1, 2], np.uint8)}
    assert broken_constraints(pick("max(indptr[1:] - indptr[:-1]) < 200"), values) == {}
