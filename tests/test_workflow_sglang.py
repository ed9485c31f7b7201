"""Extraction from SGLang's real source, both known versions, against answers worked out by hand.

The numbers follow from each model's published config.json and from how SGLang serves it; the
comments say how.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fibcore.extraction.hierarchy import hierarchy
from fibcore.extraction.report import ExtractReport
from fibcore.extraction.run import extract
from fibcore.ops.registry import Registry

Extract = Callable[..., ExtractReport]


@pytest.fixture
def run(sglang_source: Path, tmp_path: Path, op_plugins: Registry) -> Extract:
    """`fibcore.extract` with one of the real sources."""

    def extraction(*names: str, **options: object) -> ExtractReport:
        return extract(
            names,
            dataset=tmp_path / "trace",
            sglang=str(sglang_source),
            registry=op_plugins,
            **options,  # type: ignore[arg-type]
        )

    return extraction


def layers(report: ExtractReport, index: int = 0) -> dict[str, int]:
    return {kernel.name: kernel.layers for kernel in report.models[index].kernels}


def gqa(heads: int, kv: int, dim: int, count: int) -> dict[str, int]:
    sizes = f"h{heads}_kv{kv}_d{dim}"
    names = [f"gqa_paged_{s}_{sizes}_ps{p}" for s in ("decode", "prefill_causal") for p in (1, 64)]
    return dict.fromkeys([*names, f"gqa_ragged_prefill_causal_{sizes}"], count)


def appends(kv: int, dim: int, count: int) -> dict[str, int]:
    """Writes to the cache, with pages of one size or the other."""
    return {f"append_paged_kv_cache_kv{kv}_d{dim}_ps{page}": count for page in (1, 64)}


def sampling(vocabulary: int) -> dict[str, int]:
    """What the sampler calls, each once: one way or another, as requests ask for."""
    filters = ("top_k", "top_p", "top_k_top_p")
    names = [f"{name}_sampling_from_probs" for name in filters]
    names += ["sampling_from_probs", "min_p_sampling", "softmax"]
    names += [f"{name}_renorm_probs" for name in filters[:2]]
    return dict.fromkeys([f"{name}_v{vocabulary}" for name in names], 1)


def test_llama_8b(run: Extract) -> None:
    report = run("llama")
    assert report.exit_code == 0, report.failures
    assert layers(report) == {
        "gemm_n_6144_k_4096": 32,  # (32 + 2 * 8) heads of 128
        "gemm_n_4096_k_4096": 32,
        "gemm_n_28672_k_4096": 32,  # gate and up, 14336 each
        "gemm_n_4096_k_14336": 32,
        "gemm_n_128256_k_4096": 1,
        "silu_and_mul_h28672": 32,
        "embedding_v128256_h4096": 1,
        **gqa(32, 8, 128, 32),
        **appends(8, 128, 32),
        "rmsnorm_h4096": 1,  # before the first layer there is no residual
        "fused_add_rmsnorm_h4096": 64,  # 31 + 32 in layers, and the last norm
        "rope_with_cos_sin_cache_neox_style_d128_rd128": 32,
        **sampling(128256),
    }


def test_llama_70b_is_served_on_four_ranks(run: Extract) -> None:
    report = run("llama-3.1-70b", op_type=("gqa_paged", "gqa_ragged", "rmsnorm"))
    assert report.exit_code == 0, report.failures
    assert (report.models[0].tp, report.models[0].ep) == (4, 1)
    assert layers(report) == {
        **gqa(16, 2, 128, 80),  # 64 query and 8 KV heads over 4 ranks
        "rmsnorm_h8192": 1,
        "fused_add_rmsnorm_h8192": 160,
    }


def test_qwen3_normalises_queries_and_keys(run: Extract) -> None:
    report = run("qwen3-8b")
    assert report.exit_code == 0, report.failures
    assert layers(report) == {
        "gemm_n_6144_k_4096": 36,
        "gemm_n_4096_k_4096": 36,
        "gemm_n_24576_k_4096": 36,
        "gemm_n_4096_k_12288": 36,
        "gemm_n_151936_k_4096": 1,
        "silu_and_mul_h24576": 36,
        "embedding_v151936_h4096": 1,
        **gqa(32, 8, 128, 36),
        **appends(8, 128, 36),
        "rmsnorm_h128": 72,
        "rmsnorm_h4096": 1,
        "fused_add_rmsnorm_h4096": 72,
        "rope_with_cos_sin_cache_neox_style_d128_rd128": 36,
        **sampling(151936),
    }


def test_deepseek_v3_is_the_workflow_documents_first_example(run: Extract) -> None:
    report = run("deepseek_v3")
    assert report.exit_code == 0, report.failures
    assert (report.models[0].tp, report.models[0].ep) == (8, 8)
    found = layers(report)
    expected = {
        # 128 heads over 8 ranks
        "mla_paged_decode_h16_ckv512_kpe64_ps1": 61,
        "mla_paged_decode_h16_ckv512_kpe64_ps64": 61,
        "mla_paged_prefill_causal_h16_ckv512_kpe64_ps1": 61,
        "mla_paged_prefill_causal_h16_ckv512_kpe64_ps64": 61,
        "mla_ragged_prefill_causal_h16_qk192_vo128": 61,
        "append_paged_mla_kv_cache_ckv512_kpe64": 61,
        # 256 experts over 8 ranks, in all layers but the first three
        "moe_fp8_block_scale_ds_routing_topk8_ng8_kg4_e32_h7168_i2048": 58,
        "vocab_parallel_embedding_v16160_h7168": 1,  # 129280 over 8 ranks
        "silu_and_mul_h4608": 3,  # 18432 over 8 ranks, gate and up
        "silu_and_mul_h512": 58,  # the shared expert's 2048, likewise
        "rmsnorm_h7168": 1,
        "rmsnorm_h1536": 61,
        "rmsnorm_h512": 61,
        "fused_add_rmsnorm_h7168": 122,
        "gemm_n_256_k_7168": 58,  # the router
        "gemm_n_129280_k_7168": 1,
        "bmm_bf16_n_512_k_128": 61,  # what latent attention absorbs
        "bmm_bf16_n_128_k_512": 61,
        # Pairs stand side by side, in 64 elements of a query head and of the keys' shared part.
        "rope_with_cos_sin_cache_gptj_style_d64_rd64": 61,
        **sampling(129280),
    }
    assert {name: found.get(name) for name in expected} == expected
    others = set(found) - set(expected)
    assert others
    known = ("gemm_fp8_block_scale_n_", "bmm_bf16_n_", "per_token_group_quant_fp8_g128_k")
    assert all(name.startswith(known) for name in others)


def test_models_share_kernels_as_in_the_second_example(run: Extract, tmp_path: Path) -> None:
    names = ("llama", "qwen2_moe", "deepseek_v3", "mixtral")
    report = run(*names)
    assert report.exit_code == 0, report.failures
    assert [m.name for m in report.models] == list(names)
    slugs = [m.slug for m in report.models]
    users = report.definitions["gemm_n_4096_k_4096"]
    assert set(users) == {slugs[0], slugs[3]}  # 32 heads of 128 on a width of 4096, both
    path = tmp_path / "trace/definitions/gemm/gemm_n_4096_k_4096.json"
    tags = json.loads(path.read_text())["tags"]
    assert {f"model:{slug}" for slug in users} <= set(tags)
    written = list((tmp_path / "trace/definitions").glob("*/*.json"))
    assert len(written) == len(report.outcomes) == len({p.stem for p in written})
    before = {p: p.read_bytes() for p in (tmp_path / "trace").rglob("*.*") if p.is_file()}
    again = run(*names)
    assert set(again.outcomes.values()) == {"unchanged"}
    assert {p: p.read_bytes() for p in before} == before


def test_combinations_of_parallel_sizes(run: Extract) -> None:
    report = run("llama", tp=(1, 4, 64), op_type=("gqa_paged",), stage="decode", page_size=1)
    assert set(report.outcomes) == {
        "gqa_paged_decode_h32_kv8_d128_ps1",
        "gqa_paged_decode_h8_kv2_d128_ps1",
    }
    assert [(r.tp, r.ep) for r in report.refused] == [(64, 1)]
    assert report.exit_code == 1


def test_kv_heads_fewer_than_ranks_are_replicated(run: Extract) -> None:
    report = run("llama", tp=16, op_type=("gqa_paged",), stage="decode", page_size=1)
    assert set(report.outcomes) == {"gqa_paged_decode_h2_kv1_d128_ps1"}


def test_provenance_names_the_config_key_and_the_line(run: Extract, tmp_path: Path) -> None:
    run("llama", op_type="gqa_paged")
    path = tmp_path / "trace/reports/provenance/gqa_paged_decode_h32_kv8_d128_ps1.json"
    entry = json.loads(path.read_text())["models"]["llama-3.1-8b"]["tp1-ep1"]
    heads = entry["constants"]["num_kv_heads"]
    assert heads["value"] == 8
    assert "config:num_key_value_heads" in heads["origins"]
    assert heads["place"].startswith("sglang/srt/models/llama.py:")
    assert entry["layers"]["count"] == 32


def test_hierarchy_shows_repeated_layers_once(sglang_source: Path) -> None:
    report = hierarchy("deepseek_v3", sglang=str(sglang_source))
    assert report.exit_code == 0, report.missing
    rows = {row.path: row.count for row in report.rows}
    assert rows["model.layers.[0-2]"] == 3
    assert rows["model.layers.[3-60]"] == 58
    assert rows["model.layers.[3-60].self_attn.kv_b_proj"] == 58
