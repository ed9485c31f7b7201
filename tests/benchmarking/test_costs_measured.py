"""No time that was measured on a GPU is below its floor."""

from __future__ import annotations

import functools
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from fibcore.benchmarking.costs import floor, gpu_called, gpu_of_device
from fibcore.model.definition import Definition
from fibcore.model.kernel import Kernel
from fibcore.ops.registry import Registry, load_plugins

MEASURED = Path(__file__).parents[2] / "data" / "evidence" / "benchmarks"
H100 = gpu_called("H100")


@functools.cache
def plugins() -> Registry:
    return load_plugins()


def sizes(pattern: str, name: str) -> tuple[int, ...] | None:
    found = re.fullmatch(pattern, name)
    return found and tuple(int(number or 0) for number in found.groups())


def parameters(name: str) -> tuple[str, dict[str, Any]] | None:
    """The op type and the kernel's parameters of a definition that the plugins write."""
    if found := sizes(r"gemm_(?:fp8_block_scale_)?n_(\d+)_k_(\d+)", name):
        kind = name.partition("_n_")[0]
        return "gemm", {"N": found[0], "K": found[1], "format": kind}
    if found := sizes(r"(?:gemma_)?(?:fused_add_)?rmsnorm_h(\d+)", name):
        form = {"gemma": "gemma" in name, "fused_add": "fused" in name}
        return "rmsnorm", {"hidden_size": found[0], "eps": 1e-5, **form}
    kind = next((k for k in ("decode", "ragged") if k in name), "prefill")
    if found := sizes(r"gqa_\w+_h(\d+)_kv(\d+)_d(\d+)(?:_ps\d+)?", name):
        made = dict(zip(("num_qo_heads", "num_kv_heads", "head_dim"), found, strict=True))
        return "gqa_ragged" if kind == "ragged" else "gqa_paged", made | {"kind": kind} | page(name)
    if found := sizes(r"mla_paged_\w+_h(\d+)_ckv(\d+)_kpe(\d+)_ps\d+", name):
        made = dict(zip(("num_qo_heads", "head_dim_ckv", "head_dim_kpe"), found, strict=True))
        return "mla_paged", made | {"kind": kind} | page(name)
    if found := sizes(r"mla_ragged_\w+_h(\d+)_qk(\d+)_vo(\d+)", name):
        heads, qk, vo = found
        made = {"num_qo_heads": heads, "num_kv_heads": heads, "qk_dim": qk, "vo_dim": vo}
        return "mla_ragged", made | {"kind": kind}
    moe = r"moe_(\w+)_(renorm|ds_routing)_topk(\d+)(?:_ng(\d+)_kg(\d+))?_e(\d+)_h(\d+)_i(\d+)"
    if matched := re.fullmatch(moe, name):
        weights, routing, *numbers = matched.groups()
        names = ("top_k", "num_groups", "top_groups", "num_local_experts", "hidden_size")
        made = {"weights": weights, "routing": routing, "activation": "swiglu", "biased": False}
        made |= {
            n: int(v or 0) for n, v in zip((*names, "intermediate_size"), numbers, strict=True)
        }
        # DeepSeek-V3 has 256 experts, on eight ranks here.
        return "moe", made | {"num_experts": 256 if routing == "ds_routing" else made[names[3]]}
    return None


def page(name: str) -> dict[str, int]:
    found = re.search(r"_ps(\d+)", name)
    return {"page_size": int(found[1])} if found else {}


@functools.cache
def definition(name: str) -> Definition | None:
    known = parameters(name)
    if known is None:
        return None
    plugin = pytest.importorskip(f"fibcore_op_{known[0].partition('_')[0]}")
    made: Definition = plugin.fibcore_reference(Kernel(known[0], name, known[1], {}, ()))
    return made


def lines(file: str) -> list[dict[str, Any]]:
    path = MEASURED / file
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_baselines_of_flashinfer_bench() -> None:
    """90 evaluations of 17 definitions; offsets are not there, so that many a floor is a bound."""
    counted: Counter[str] = Counter()
    for line in lines("flashinfer-bench-h100.jsonl"):
        one = definition(line["definition"])
        assert one is not None, line["definition"]
        cost = plugins().cost(one, line["workload"]["axes"])
        gpu = gpu_of_device(line["evaluation"]["environment"]["hardware"])
        assert gpu == H100
        times = line["evaluation"]["performance"]
        for key in ("latency_ms", "reference_latency_ms"):
            found = floor(cost, gpu)
            assert found.allows(times[key] / 1000), (line["definition"], key, found)
            # What was measured here had its inputs read anew: nominal floors hold as well.
            assert found.seconds < times[key] / 1000, (line["definition"], key, found)
        counted[one.op_type] += 1
    assert len(counted) == 7
    assert sum(counted.values()) == 90


def test_references_and_their_peers() -> None:
    """GEMMs and norms of 85 definitions: references, plain formulations, FlashInfer's kernels."""
    shares = []
    for line in lines("gemm-rmsnorm-h100.jsonl"):
        one = definition(line["definition"])
        assert one is not None, line["definition"]
        (axis,) = one.var_axes
        found = floor(plugins().cost(one, {axis: line["rows"]}), H100)
        for key in ("ms", "peer_ms", "kernel_ms"):
            if line[key] is not None:
                assert found.allows(line[key] / 1000), (line, key, found)
                shares.append(found.seconds / line[key] * 1000)
    assert len(shares) > 300
    # The floor is near enough to be of use: the best product has three quarters of it.
    assert 0.7 < max(shares) < 1


def batch(one: Definition, size: str) -> tuple[dict[str, int], dict[str, list[int]]] | None:
    """Axes and offsets of a size such as `64 x 2048`, `8 x 512 on 1024` or `128 tokens`."""
    if found := sizes(r"(\d+) tokens", size):
        return {"seq_len": found[0]}, {}
    if (found := sizes(r"(\d+) x (\d+)(?: on (\d+))?", size)) is None:
        return None
    count, new, others = found
    # The benchmark of latent attention counts the new keys among those that follow "on".
    keys = max(new, others) if one.op_type.startswith("mla") else new + others
    pages = -(-keys // one.const_axes.get("page_size", 1))
    queries = 1 if one.name.split("_")[2] == "decode" else new
    axes = {"batch_size": count, "len_indptr": count + 1, "total_q": count * queries}
    axes |= {"total_kv": count * keys, "num_kv_indices": count * pages, "num_pages": count * pages}
    last = keys - (pages - 1) * one.const_axes.get("page_size", 1)
    values = {
        "qo_indptr": [n * queries for n in range(count + 1)],
        "kv_indptr": [n * pages for n in range(count + 1)],
        "kv_indices": list(range(count * pages)),
        "kv_last_page_len": [last] * count,
    }
    return axes, {n: v for n, v in values.items() if n in one.inputs}


def test_attention_and_experts_beside_kernels() -> None:
    """References, plain formulations and FlashInfer's kernels on an H200, offsets known."""
    gpu, shares = gpu_called("H200"), {}
    for line in lines("attention-mla-moe-h200.jsonl"):
        known = parameters(line["definition"])
        one = definition(line["definition"]) if known else None
        given = batch(one, line["size"]) if one is not None else None
        if one is None or given is None:
            continue
        axes, values = given
        found = floor(plugins().cost(one, axes, values), gpu)
        for key in ("ms", "peer_ms", "kernel_ms"):
            if line[key] is not None:
                assert found.allows(line[key] / 1000), (line, key, found)
                shares[line["definition"], line["size"], key] = found.seconds / line[key] * 1000
    assert len(shares) > 100
    # Decode comes within a third of the memory's bandwidth, prefill of the rate of tensor cores.
    assert 0.6 < max(shares.values()) < 1
