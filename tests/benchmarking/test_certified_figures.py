"""Certificates of outputs that no tolerance compares as they are: bytes, and choices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import fibcore
from fibcore.plugin import Definition, Kernel

pytest.importorskip("torch")
pytest.importorskip("safetensors")


def certified(made: Definition, root: Path, most: int, **least: int) -> Any:
    """A certificate of the first `most` workloads whose axes are at least so large."""
    path = root / "definitions" / made.op_type / f"{made.name}.json"
    path.parent.mkdir(parents=True)
    path.write_text(made.to_json(), encoding="utf-8")
    fibcore.add_workloads(dataset=root, all_=True, limit=9)
    file = root / "workloads" / made.op_type / f"{made.name}.jsonl"
    lines = {line: json.loads(line)["workload"]["axes"] for line in file.read_text().splitlines()}
    kept = [
        line for line, axes in lines.items() if all(axes[n] >= size for n, size in least.items())
    ]
    kept.sort(key=lambda line: sum(lines[line].values()))
    file.write_text("".join(f"{line}\n" for line in kept[:most]))
    (found,) = fibcore.certify(dataset=root, all_=True, device="cpu").certificates
    assert found.reasons == ()
    assert found.certified
    assert found.slips == {}
    assert made.name not in (root / "reports/certificates/flashinfer-bench.yaml").read_text()
    return found


def named(found: Any, verdict: str, *, right: bool) -> set[str]:
    return {name for on in found.workloads for name in on.names(verdict, right=right)}


def test_bytes_of_a_cache_with_scales(tmp_path: Path) -> None:
    plugin = pytest.importorskip("fibcore_op_move")
    sizes = {"head_dim_ckv": 256, "head_dim_kpe": 8, "kv_dim": 280}
    kernel = Kernel(
        "page_append",
        "append_paged_mla_kv_cache_fp8_block_scale_ckv256_kpe8",
        {"layout": "mla_block_scale", **sizes},
        {},
        (),
        (),
    )
    found = certified(plugin.fibcore_reference(kernel), tmp_path, 2, nnz_kv=2)
    # A reference that writes bytes has no evaluation in float64.
    assert (found.figures, found.yardstick) == (("updated_kv_cache",), "torch in float64")
    assert "scales are rounded to bfloat16" in named(found, "accepted", right=True)
    assert {
        "numbers are 3 % too small",
        "the rope part is rounded to fp8",
        "one scale for all blocks",
        "the last new token is left out",
    } <= named(found, "rejected", right=False)


@pytest.mark.parametrize("layout", ["kv_fp8", "mla_fp8"])
def test_numbers_of_fp8_that_are_written(tmp_path: Path, layout: str) -> None:
    plugin = pytest.importorskip("fibcore_op_move")
    sizes = {"num_kv_heads": 2, "head_dim": 16, "page_size": 64}
    if layout == "mla_fp8":
        sizes = {"head_dim_ckv": 32, "head_dim_kpe": 8}
    parameters = {"layout": layout, **sizes}
    kernel = Kernel("page_append", f"append_paged_{layout}", parameters, {}, (), ())
    found = certified(plugin.fibcore_reference(kernel), tmp_path, 2, nnz_kv=2, batch_size=2)
    part = ("k", "v") if layout == "kv_fp8" else ("ckv", "kpe")
    assert found.figures == tuple(f"updated_{name}_cache" for name in part)
    assert found.yardstick == "torch.Tensor.index_put_"
    rejected = {"numbers are 3 % too small", "the last new token is left out"}
    if layout == "kv_fp8":
        # It divides and rounds twice, as SGLang does, and some numbers become their neighbours.
        assert "divided in bfloat16" in named(found, "accepted", right=True)
        rejected |= {"k_scale is left out", "the scales are each other's"}
    assert rejected <= named(found, "rejected", right=False)


def test_index_keys_that_are_stored(tmp_path: Path) -> None:
    plugin = pytest.importorskip("fibcore_op_dsa_index")
    sizes = {
        "head_dim": 16,
        "rope_dim": 8,
        "page_size": 64,
        "kv_cache_num_heads": 1,
        "head_dim_with_scale": 20,
    }
    parameters = {"kind": "k_store", **sizes, "eps": 1e-6}
    kernel = Kernel("dsa_index_k_store", "index_keys", parameters, {}, (), ())
    found = certified(plugin.fibcore_reference(kernel), tmp_path, 2, num_tokens=7)
    assert (found.figures, found.yardstick) == (("updated_k_index_cache_fp8",), "torch in float64")
    assert "rounded to bfloat16 before" in named(found, "accepted", right=True)
    assert {
        "numbers are 3 % too small",
        "scales are not those that divide",
        "the last token is left out",
    } <= named(found, "rejected", right=False)


def test_a_choice_of_keys(tmp_path: Path) -> None:
    plugin = pytest.importorskip("fibcore_op_dsa")
    sizes = {
        "num_index_heads": 4,
        "index_head_dim": 16,
        "topk": 128,
        "page_size": 64,
        "kv_cache_num_heads": 1,
        "head_dim_with_scale": 20,
    }
    name = "dsa_topk_indexer_fp8_h4_d16_topk128_ps64"
    kernel = Kernel("dsa_paged", name, {"kind": "indexer", **sizes}, {}, (), ())
    found = certified(plugin.fibcore_reference(kernel), tmp_path, 2, batch_size=2)
    assert (found.figures, found.yardstick) == (("topk_indices",), "float64")
    right = {"keys in another order", "products rounded to bfloat16"}
    assert right <= named(found, "accepted", right=True)
    assert {
        "negative products count",
        "the last head is left out",
        "scales of the key before",
        "the key before each",
    } <= named(found, "rejected", right=False)


def test_a_choice_of_blocks(tmp_path: Path) -> None:
    plugin = pytest.importorskip("fibcore_op_msa")
    sizes = {
        "num_index_heads": 2,
        "head_dim": 16,
        "topk": 4,
        "block_size": 16,
        "page_size": 16,
        "kv_cache_num_heads": 1,
        "init_blocks": 0,
        "local_blocks": 1,
    }
    name = "msa_block_topk_indexer_h2_d16_topk4_bs16_ps16"
    kernel = Kernel("msa_indexer", name, {"kind": "indexer", **sizes}, {}, (), ())
    found = certified(plugin.fibcore_reference(kernel), tmp_path, 2, num_tokens=2)
    assert (found.figures, found.yardstick) == (("block_indices",), "float64")
    assert "blocks in another order" in named(found, "accepted", right=True)
    assert {"scores without sign", "the last two always"} <= named(found, "rejected", right=False)
