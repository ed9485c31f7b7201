"""Sizes in names: a dataset's own spelling is kept, and nothing lists one kernel twice."""

from __future__ import annotations

import pytest

from fibcore.dataset.spelling import joined, spelled


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ((), "gemm_n_64_k_32"),
        (("gemm_n128_k64",), "gemm_n64_k32"),
        (("gemm_n_128_k_64",), "gemm_n_64_k_32"),
        (("gemm_n128_k64", "gemm_n_8_k_8"), "gemm_n_64_k_32"),
        (("gemm_n128_k64", "gemm_n8_k8", "gemm_n_8_k_4"), "gemm_n64_k32"),
        (("gemm_n_64_k_32", "gemm_n8_k8"), "gemm_n_64_k_32"),
        (("gemm_n64_k32", "gemm_n_8_k_8"), "gemm_n64_k32"),
        (("rmsnorm_h64", "gqa_paged_decode_h4_kv2_d16_ps1"), "gemm_n_64_k_32"),
    ],
)
def test_a_name_is_spelled_as_those_beside_it(others: tuple[str, ...], expected: str) -> None:
    assert spelled("gemm_n_64_k_32", others) == expected


def test_another_format_s_names_follow() -> None:
    name = "gemm_fp8_block_scale_n_64_k_32"
    assert spelled(name, ["gemm_n128_k64"]) == "gemm_fp8_block_scale_n64_k32"


def test_a_name_that_is_there_in_another_spelling_keeps_it() -> None:
    assert spelled("gemm_n64_k32", ["gemm_n_64_k_32"]) == "gemm_n_64_k_32"
    assert spelled("gemm_n64_k32", ["gemm_n_64_k_32", "gemm_n64_k32"]) == "gemm_n64_k32"


@pytest.mark.parametrize("name", ["rmsnorm_h64", "gqa_paged_decode_h4_kv2_d16_ps1", "gemm_n64_k32"])
def test_names_that_have_sizes_at_their_words_stay(name: str) -> None:
    assert joined(name) == name
    assert spelled(name, ["gemm_n_8_k_8"]) == name
