"""Known answers on trees that are elaborated from SGLang's real source, in two versions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fibcore.plugin import Serving
from fibcore.testing.real_trees import VERSIONS, real_tree, sglang_package
from fibcore_op_gqa import fibcore_extract


@pytest.fixture(scope="module", params=VERSIONS)
def source(request: pytest.FixtureRequest) -> tuple[Path, str]:
    package = sglang_package(request.param)
    if package is None:
        pytest.skip(f"SGLang {request.param} has not been downloaded")
    return package, request.param


def extracted(
    source: tuple[Path, str], model: str, tp: int
) -> tuple[dict[str, int], dict[str, int]]:
    """Paged decode kernels at page size 1, and what is not covered, with how many layers each."""
    serving = Serving(tp=tp)
    found = fibcore_extract(real_tree(*source, model, serving), serving)
    assert not found.problems
    kernels = {k.name: len(k.uses) for k in found.kernels if re.search(r"_ps1(_|$)", k.name)}
    decode = {name: uses for name, uses in kernels.items() if "decode" in name}
    return decode, {entry.what: len(entry.uses) for entry in found.not_covered}


@pytest.mark.parametrize(
    ("model", "tp", "name", "layers"),
    [
        ("llama-3.1-8b", 1, "gqa_paged_decode_h32_kv8_d128_ps1", 32),
        ("llama-3.1-70b", 4, "gqa_paged_decode_h16_kv2_d128_ps1", 80),
        ("llama-3.1-8b", 16, "gqa_paged_decode_h2_kv1_d128_ps1", 32),  # KV heads are replicated
        ("qwen3-8b", 1, "gqa_paged_decode_h32_kv8_d128_ps1", 36),
        ("qwen3-30b-a3b", 1, "gqa_paged_decode_h32_kv4_d128_ps1", 48),
        ("mixtral-8x7b", 2, "gqa_paged_decode_h16_kv4_d128_ps1", 32),
        ("llama-3.1-70b-instruct-fp8", 4, "gqa_paged_decode_h16_kv2_d128_ps1_fp8kv", 80),
    ],
)
def test_plain_models(
    source: tuple[Path, str], model: str, tp: int, name: str, layers: int
) -> None:
    assert extracted(source, model, tp) == ({name: layers}, {})


def test_gemma_2_has_two_kinds_of_layers(source: tuple[Path, str]) -> None:
    found, not_covered = extracted(source, "gemma-2-9b", 1)
    assert found == {
        "gqa_paged_decode_h16_kv8_d256_ps1_swa4096_cap50": 21,
        "gqa_paged_decode_h16_kv8_d256_ps1_cap50": 21,
    }
    assert not_covered == {}


def test_gpt_oss_has_sinks_in_two_kinds_of_layers(source: tuple[Path, str]) -> None:
    assert extracted(source, "gpt-oss-20b", 1) == (
        {
            "gqa_paged_decode_h64_kv8_d64_ps1_swa128_sink": 12,
            "gqa_paged_decode_h64_kv8_d64_ps1_sink": 12,
        },
        {},
    )


@pytest.mark.parametrize("model", ["deepseek-v3", "minicpm3-4b"])
def test_models_without_attention_of_this_kind(source: tuple[Path, str], model: str) -> None:
    assert extracted(source, model, 1) == ({}, {})
