"""`fibcore explain`."""

from __future__ import annotations

import json
from collections.abc import Callable

from click.testing import Result

Invoke = Callable[..., Result]


def test_explain_shows_where_a_number_comes_from(invoke: Invoke, tiny: list[object]) -> None:
    invoke("extract", *tiny)
    result = invoke("explain", "gqa_paged_decode_h4_kv2_d16_ps1")
    assert result.exit_code == 0
    for word in ("num_kv_heads = 2", "config:num_key_value_heads", "tiny.py:", "2 layers"):
        assert word in result.stdout
    data = json.loads(invoke("explain", "gqa_paged_decode_h4_kv2_d16_ps1", "--json").stdout)
    assert data["provenance"][0]["constants"]["num_kv_heads"]["value"] == 2


def test_explain_of_an_unknown_name(invoke: Invoke, tiny: list[object]) -> None:
    assert invoke("explain", "gemm").exit_code == 1
    invoke("extract", *tiny)
    result = invoke("explain", "gemm_n_128_k_65")
    assert result.exit_code == 2
    assert "gemm_n_128_k_64" in result.stderr
