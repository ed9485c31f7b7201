"""Public configs that were got wrong once: which kernels they have, and how often.

The configs stand beside the project, each with the right values and how they follow; without them
the tests are skipped.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from fibcore.configs.model_config import load_config_file
from fibcore.elaborate import elaborate
from fibcore.model.serving import Serving
from fibcore.ops.registry import Registry
from fibcore.sources.tree import SourceTree
from tests.conftest import NoSourceError, sglang_folder

CASES = Path(__file__).parents[3] / "shared" / "cases" / "configs"
QWEN_DRAFT = {
    "gemm_n_4096_k_20480": 1,
    "gemm_n_6144_k_4096": 5,
    "gemm_n_4096_k_4096": 5,
    "gemm_n_24576_k_4096": 5,
    "gemm_n_4096_k_12288": 5,
    "rmsnorm_h128": 10,
    "rmsnorm_h4096": 2,
    "fused_add_rmsnorm_h4096": 10,
}
RIGHT: dict[tuple[str, str], dict[str, int]] = {
    ("01-dflash-qwen3-8b", "0.5.23"): QWEN_DRAFT,
    ("02-deepseek-vl2-tiny", "0.5.23"): {
        "gemm_n_3840_k_1280": 12,
        "gemm_n_1280_k_1280": 13,
        "gemm_n_13696_k_1280": 1,
        "gemm_n_1280_k_6848": 1,
        "gemm_n_64_k_1280": 11,
        "gemm_n_3584_k_1280": 11,
        "gemm_n_1280_k_1792": 11,
        "gemm_n_129280_k_1280": 1,
        "gqa_ragged_prefill_causal_h10_kv10_d128": 12,
        "moe_bf16_default_routing_topk6_e64_h1280_i896": 11,
        "rmsnorm_h1280": 1,
        "fused_add_rmsnorm_h1280": 24,
    },
    **{
        ("03-llama3.2-11b-vision", version): {
            "rmsnorm_h4096": 49,
            "fused_add_rmsnorm_h4096": 32,
            "rmsnorm_h128": 16,
            "gemm_n_6144_k_4096": 40,
            "gemm_n_4096_k_4096": 40,
            "gemm_n_28672_k_4096": 40,
            "gemm_n_4096_k_14336": 40,
            "gemm_n_128256_k_4096": 1,
            "gqa_ragged_prefill_causal_h32_kv8_d128": 32,
        }
        for version in ("0.5.9", "0.5.23")
    },
    ("04-exaone-4.0-32b", "0.5.23"): {
        "rmsnorm_h5120": 129,
        "fused_add_rmsnorm_h5120": 0,
        "rmsnorm_h128": 128,
        "gemm_n_7168_k_5120": 64,
        "gemm_n_54784_k_5120": 64,
        "gemm_n_5120_k_27392": 64,
        "gqa_ragged_prefill_causal_h40_kv8_d128_swa4096": 48,
        "gqa_ragged_prefill_causal_h40_kv8_d128": 16,
    },
    ("07-deepseek-v3-nextn", "0.5.9"): {
        "rmsnorm_h1536": 1,
        "rmsnorm_h512": 1,
        "rmsnorm_h7168": 3,
        "fused_add_rmsnorm_h7168": 2,
        "gemm_n_7168_k_14336": 1,
    },
    ("07-deepseek-v3-nextn", "0.5.23"): {
        "rmsnorm_h1536": 1,
        "rmsnorm_h512": 1,
        "rmsnorm_h7168": 1,
        "fused_add_rmsnorm_h7168": 2,
        "gemm_n_7168_k_14336": 1,
    },
    ("13-eagle3.1-fc-norm", "0.5.23"): {
        "rmsnorm_h2048": 5,
        "fused_add_rmsnorm_h2048": 2,
        "gemm_n_2048_k_6144": 1,
        "gemm_n_5120_k_4096": 1,
        "gemm_n_2048_k_4096": 1,
        "gemm_n_24576_k_2048": 1,
        "gemm_n_2048_k_12288": 1,
        "gemm_n_32000_k_2048": 1,
        "gqa_ragged_prefill_causal_h32_kv4_d128": 1,
    },
    ("14-gemma3-untied", "0.5.23"): {"gemm_n_128_k_64": 3},
}
# What is missing there is a part of another package, and no kernel of the language model.
PARTIAL = {"02-deepseek-vl2-tiny": ["vision"]}


@pytest.mark.parametrize(("case", "version"), RIGHT)
def test_kernels_and_their_layers(case: str, version: str, op_plugins: Registry) -> None:
    path = CASES / case / "config.json"
    if not path.is_file():
        pytest.skip(f"no {path}")
    try:
        folder = sglang_folder(version)
    except NoSourceError as error:
        pytest.skip(str(error))
    source = SourceTree(folder / "sglang", version, None, "PyPI")
    tree = elaborate(source, load_config_file(path, case), Serving())
    extractions, errors = op_plugins.extract(tree, Serving())
    assert not errors
    found = {
        kernel.name: len(kernel.uses)
        for _, extraction in extractions
        for kernel in extraction.kernels
    }
    right = RIGHT[case, version]
    assert {name: found.get(name, 0) for name in right} == right
    assert [m.path for m in tree.missing] == PARTIAL.get(case, [])
    assert [p for _, extraction in extractions for p in extraction.problems] == []
