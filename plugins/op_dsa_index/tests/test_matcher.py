"""The matcher on hand-written indexers that mirror SGLang 0.5.23's."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from fibcore.plugin import Extraction, ModuleNode, Unknown, with_origins

Make = Callable[..., ModuleNode]
Find = Callable[..., Extraction]
UNKNOWN = Unknown("not known")


def test_a_fused_indexer_runs_both_kernels(indexer: Make, found: Find) -> None:
    made = found(indexer())
    q, k = made.kernels
    assert [(kernel.name, kernel.uses[0].path) for kernel in (q, k)] == [
        ("dsa_index_q_rope_quant_fp8_h32_d128_rd64", "model.layers.0.self_attn.indexer"),
        (
            "dsa_index_k_norm_rope_store_fp8_d128_rd64_ps64",
            "model.layers.0.self_attn.indexer.k_norm",
        ),
    ]
    assert made.claimed == {kernel.uses[0].path for kernel in (q, k)}
    assert not made.problems
    assert q.parameters["weight_scale"] == 128**-0.5 * 32**-0.5
    assert {n: f.value for n, f in k.facts.items()} == {
        "head_dim": 128,
        "rope_dim": 64,
        "page_size": 64,
        "kv_cache_num_heads": 1,
        "head_dim_with_scale": 132,
        "eps": 1e-6,
    }


def test_numbers_have_their_origins(indexer: Make, found: Find) -> None:
    heads = with_origins(16, frozenset({"config:index_n_heads"}))
    head = with_origins(128, frozenset({"config:index_head_dim"}))
    q, k = found(indexer(index_n_heads=heads, index_head_dim=head)).kernels
    assert q.facts["num_heads"].origins == ("config:index_n_heads",)
    assert q.facts["weight_scale"].origins == ("config:index_n_heads",)
    assert k.facts["head_dim_with_scale"].origins == ("config:index_head_dim",)


def test_an_indexer_that_calls_its_norm_has_no_fused_kernels(indexer: Make, found: Find) -> None:
    made = found(indexer(fused=False))
    assert not made.kernels
    assert not made.problems


def test_another_norm_is_named(indexer: Make, found: Find) -> None:
    made = found(indexer(norm="RMSNorm"))
    assert [kernel.op_type for kernel in made.kernels] == ["dsa_index_q"]
    (gap,) = made.not_covered
    assert gap.what == "RMSNorm inside fused_k_indexer_norm_rope_store"
    assert gap.inside


@pytest.mark.parametrize(
    "changed",
    [
        {"fused": UNKNOWN},
        {"index_head_dim": UNKNOWN},
        {"rope_head_dim": 7},
        {"rope_head_dim": 130},
        {"index_n_heads": 0},
        {"softmax_scale": UNKNOWN},
        {"softmax_scale": True},
        {"eps": UNKNOWN},
        {"eps": 2},
    ],
)
def test_what_is_not_known_is_a_problem(
    indexer: Make, found: Find, changed: dict[str, Any]
) -> None:
    made = found(indexer(**changed))
    assert [problem.what for problem in made.problems] == ["index queries and keys"]
    assert len(made.kernels) == ("eps" in changed)


def test_matching_needs_no_torch() -> None:
    code = (
        "import sys, fibcore_op_dsa_index as plugin\n"
        "from fibcore.plugin import Serving\n"
        "from fibcore.testing.trees import tree\n"
        "plugin.fibcore_extract(tree(), Serving())\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 - our own code
