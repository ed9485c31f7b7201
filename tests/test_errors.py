"""Names that are near a wrong one, and errors in a line."""

from __future__ import annotations

from fibcore.errors import FibcoreError, nearest


def test_the_nearest_names_come_first_and_once() -> None:
    known = ["gemm", "rmsnorm", "gqa_paged", "gqa_ragged", "rmsnorm"]
    assert nearest("rmsnrom", known)[0] == "rmsnorm"
    assert nearest("gqa", known, limit=2) == ["gqa_paged", "gqa_ragged"]
    assert nearest("x", []) == []
    assert nearest("zzz", known, at_least=60) == []


def test_an_error_in_a_line() -> None:
    error = FibcoreError("it broke", where="here", expected="x", found="y", hint="do z")
    assert error.summary == "it broke; expected x; found y"
    assert FibcoreError("it broke").summary == "it broke"
