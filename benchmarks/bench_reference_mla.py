"""Time, memory and error of a dataset's MLA references, beside two peers in one run.

The peer is the plain formulation: one sequence after the other, its pages gathered, everything in
float32, all its logits at once; published references convert whole caches first, which takes the
memory that is printed beside. FlashInfer's kernel, where the GPU runs it, shows how far a
reference is from the hardware's limit. Errors are against float64, of the last queries of some
sequences: of the output by its root mean square, of the lse the largest; memory is what a call
takes beyond its inputs.

    python benchmarks/bench_reference_mla.py [DATASET] [--kind decode prefill ragged] [--json FILE]

`--others FILE` times other formulations too: a Python file whose `formulations(definition)` gives
functions with the arguments of `run`, by name.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from measuring import megabytes, milliseconds

CHECKED_SEQUENCES, CHECKED_QUERIES = 4, 8
PATIENCE_S = 0.1
Inputs = dict[str, Any]
Lengths = list[tuple[int, int]]
# Sequences of (queries, keys) by name; smaller ones for a CPU.
SIZES: dict[str, dict[str, dict[str, Lengths]]] = {
    "cuda": {
        "decode": {
            "64 x 2048": [(1, 2048)] * 64,
            "1 x 32768": [(1, 32768)],
            "64 ragged": [(1, 17 + 63 * i) for i in range(64)],
        },
        "prefill": {
            "8 x 512 on 1024": [(512, 1024)] * 8,
            "16 ragged": [(40 * i + 3, 97 * i + 5) for i in range(16)],
        },
        "ragged": {
            "8 x 1024": [(1024, 1024)] * 8,
            "1 x 8192": [(8192, 8192)],
            "16 ragged": [(70 * i + 3, 97 * i + 5) for i in range(16)],
        },
    },
    "cpu": {
        "decode": {"8 x 512": [(1, 512)] * 8, "8 ragged": [(1, 17 + 63 * i) for i in range(8)]},
        "prefill": {"4 x 64 on 256": [(64, 256)] * 4, "1 x 300": [(300, 300)]},
        "ragged": {"4 x 256": [(256, 256)] * 4, "1 x 700": [(700, 700)]},
    },
}


def kind_of(definition: dict[str, Any]) -> str:
    """Which of the three kernels a definition is of."""
    given = definition["inputs"]
    return "ragged" if "q" in given else "prefill" if "qo_indptr" in given else "decode"


def definitions(dataset: Path, kinds: list[str]) -> list[dict[str, Any]]:
    """The MLA definitions of a dataset, by name."""
    files = sorted(dataset.glob("definitions/mla_*/*.json"))
    found = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    return [definition for definition in found if kind_of(definition) in kinds]


def inputs(definition: dict[str, Any], lengths: Lengths, device: str) -> Inputs:
    """Normal tensors in bfloat16; pages in random order, some of them unused."""
    sizes = {n: axis["value"] for n, axis in definition["axes"].items() if "value" in axis}
    heads = sizes["num_qo_heads"]
    queries, keys = torch.tensor(lengths).T

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, device=device).to(torch.bfloat16)

    def offsets(counts: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.pad(counts.cumsum(0), (1, 0)).int().to(device)

    total_q, total_kv = int(queries.sum()), int(keys.sum())
    made: Inputs = {"qo_indptr": offsets(queries), "sm_scale": 1.5 / math.sqrt(192)}
    if "q" in definition["inputs"]:
        made["q"] = normal(total_q, heads, sizes["qk_dim"])
        made["k"] = normal(total_kv, heads, sizes["qk_dim"])
        made["v"] = normal(total_kv, heads, sizes["vo_dim"])
        made["kv_indptr"] = offsets(keys)
    else:
        page_size = sizes["page_size"]
        pages = -(keys // -page_size)
        total = int(pages.sum())
        made["q_nope"] = normal(total_q, heads, sizes["head_dim_ckv"])
        made["q_pe"] = normal(total_q, heads, sizes["head_dim_kpe"])
        made["ckv_cache"] = normal(total + 7, page_size, sizes["head_dim_ckv"])
        made["kpe_cache"] = normal(total + 7, page_size, sizes["head_dim_kpe"])
        made["kv_indptr"] = offsets(pages)
        made["kv_indices"] = torch.randperm(total + 7)[:total].int().to(device)
        made["kv_last_page_len"] = (keys - (pages - 1) * page_size).int().to(device)
    return {name: made[name] for name in definition["inputs"]}


def sequence(given: Inputs, i: int) -> tuple[slice, slice | torch.Tensor]:
    """The rows of the queries of sequence i, and its keys: rows, or pages and places in them."""
    begin, end = given["kv_indptr"][i : i + 2].tolist()
    rows = slice(i, i + 1)
    if "qo_indptr" in given:
        rows = slice(*given["qo_indptr"][i : i + 2].tolist())
    if "q" in given:
        return rows, slice(begin, end)
    page_size = given["ckv_cache"].shape[1]
    count = (end - begin) * page_size
    if "kv_last_page_len" in given:
        count += int(given["kv_last_page_len"][i]) - page_size
    token = torch.arange(count, device=given["kv_indices"].device)
    return rows, given["kv_indices"][begin + token // page_size] * page_size + token % page_size


def dense(
    given: Inputs, rows: slice, keys: slice | torch.Tensor, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention of the last queries of a sequence to all its keys, and the base-2 lse."""
    if "q" in given:
        q, k, v = given["q"][rows].to(dtype), given["k"][keys].to(dtype), given["v"][keys].to(dtype)
        logits = torch.einsum("qhd,khd->hqk", q, k)
    else:
        v = given["ckv_cache"].flatten(0, 1)[keys].to(dtype)
        k = given["kpe_cache"].flatten(0, 1)[keys].to(dtype)
        logits = torch.einsum("qhd,kd->hqk", given["q_nope"][rows].to(dtype), v)
        logits += torch.einsum("qhd,kd->hqk", given["q_pe"][rows].to(dtype), k)
    logits *= given["sm_scale"]
    queries, count = logits.shape[1:]
    later = torch.ones(queries, count, dtype=torch.bool, device=v.device).triu(count - queries + 1)
    logits.masked_fill_(later, -math.inf)
    lse = torch.logsumexp(logits, -1).T / math.log(2)
    weights = torch.softmax(logits, -1)
    return torch.einsum("hqk,khd->qhd" if "q" in given else "hqk,kd->qhd", weights, v), lse


def peer(given: Inputs) -> tuple[torch.Tensor, torch.Tensor]:
    """The plain formulation in float32."""
    query, value = (given[n] for n in (("q", "v") if "q" in given else ("q_nope", "ckv_cache")))
    output = query.new_zeros((*query.shape[:2], value.shape[2]))
    lse = torch.full(query.shape[:2], -math.inf, device=query.device)
    for i in range(len(given["kv_indptr"]) - 1):
        rows, keys = sequence(given, i)
        output[rows], lse[rows] = dense(given, rows, keys, torch.float32)
    return output, lse


def truth(given: Inputs) -> list[tuple[slice, torch.Tensor, torch.Tensor]]:
    """Output and lse of some queries in float64, those that see no key left out."""
    count = len(given["kv_indptr"]) - 1
    found = []
    for i in sorted({round(part / CHECKED_SEQUENCES * (count - 1)) for part in range(5)}):
        rows, keys = sequence(given, i)
        rows = slice(max(rows.start, rows.stop - CHECKED_QUERIES), rows.stop)
        output, lse = dense(given, rows, keys, torch.float64)
        seen = int(lse[:, 0].isfinite().sum())
        rows = slice(rows.stop - seen, rows.stop)
        if seen:
            found.append((rows, output[len(output) - seen :], lse[len(lse) - seen :]))
    return found


def errors(
    right: list[tuple[slice, torch.Tensor, torch.Tensor]], result: tuple[torch.Tensor, torch.Tensor]
) -> tuple[float, float]:
    """Errors of output (root mean square, relative) and lse (largest) of some queries."""
    worst = max(float((result[1][rows] - lse).abs().max()) for rows, _, lse in right)
    exact = torch.cat([output.flatten() for _, output, _ in right])
    found = torch.cat([result[0][rows].flatten() for rows, _, _ in right])
    return float((found - exact).norm() / exact.norm()), worst


def flashinfer_kernel(given: Inputs) -> Callable[[], Any] | None:
    """FlashInfer's kernel for these inputs, planned; None where there is none."""
    try:
        import flashinfer
    except ImportError:
        return None
    workspace = torch.empty(128 * 1024 * 1024, dtype=torch.uint8, device="cuda")
    if "q" in given:
        q, k, v = given["q"], given["k"], given["v"]
        ragged = flashinfer.prefill.BatchPrefillWithRaggedKVCacheWrapper(workspace, "NHD")
        ragged.plan(
            given["qo_indptr"],
            given["kv_indptr"],
            *(q.shape[1], k.shape[1], q.shape[2]),
            head_dim_vo=v.shape[2],
            causal=True,
            sm_scale=given["sm_scale"],
            q_data_type=q.dtype,
            kv_data_type=k.dtype,
        )
        return lambda: ragged.run(q, k, v, return_lse=True)
    tensors = [given[n] for n in ("q_nope", "q_pe", "ckv_cache", "kpe_cache")]
    page_size, pages = tensors[2].shape[1], given["kv_indptr"].diff()
    last = given.get("kv_last_page_len", torch.ones_like(pages))
    starts = torch.arange(len(pages) + 1, dtype=torch.int32, device="cuda")
    paged = flashinfer.mla.BatchMLAPagedAttentionWrapper(workspace, backend="auto")
    paged.plan(
        given.get("qo_indptr", starts),
        given["kv_indptr"],
        given["kv_indices"],
        ((pages - 1) * page_size + last).int(),
        *(tensors[0].shape[1], tensors[0].shape[2], tensors[1].shape[2], page_size),
        "qo_indptr" in given,
        given["sm_scale"],
        torch.bfloat16,
        torch.bfloat16,
    )
    return lambda: paged.run(*tensors, return_lse=True)


def figures(call: Callable[[], Any], right: list[Any], device: str) -> dict[str, Any]:
    """Time, memory and errors of one formulation; what it raised where it fails."""
    try:
        output_error, lse_error = errors(right, call())
        return {
            "ms": milliseconds(call, device, PATIENCE_S),
            "mb": megabytes(call, device),
            "error": output_error,
            "lse_error": lse_error,
        }
    except Exception as failure:  # noqa: BLE001 - out of memory, or not in this torch or GPU
        return failed(failure)


def failed(failure: Exception) -> dict[str, Any]:
    """The row of a formulation that fails."""
    return {"failure": f"{type(failure).__name__}: {failure}"[:200]}


def loaded(source: str) -> dict[str, Any]:
    """What a source defines."""
    namespace: dict[str, Any] = {}
    exec(source, namespace)  # noqa: S102 - what is measured
    return namespace


def measured(
    definition: dict[str, Any],
    lengths: Lengths,
    device: str,
    others: dict[str, Any],
    kernels: bool,
) -> dict[str, dict[str, Any]]:
    """The figures of all formulations of one definition."""
    torch.manual_seed(0)
    given = inputs(definition, lengths, device)
    right = truth(given)
    run = loaded(definition["reference"])["run"]
    calls = {"reference": lambda: run(**given), "peer": lambda: peer(given)}
    for name, other in others.items():
        calls[name] = lambda other=other: other(**given)
    found = {name: figures(call, right, device) for name, call in calls.items()}
    caches = [given[name] for name in ("ckv_cache", "kpe_cache") if name in given]
    if caches:
        found["peer"]["cache_mb"] = sum(4 * cache.numel() for cache in caches) / 1e6
    if kernels:
        try:
            kernel = flashinfer_kernel(given)
        except Exception as failure:  # noqa: BLE001 - whatever planning raises is a row
            found["FlashInfer"] = failed(failure)
        else:
            if kernel:
                found["FlashInfer"] = figures(kernel, right, device)
    return found


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="MLA references beside their peers")
    parser.add_argument("dataset", type=Path, nargs="?", default=Path("repos/flashinfer-trace"))
    parser.add_argument("--kind", nargs="+", default=["decode", "prefill", "ragged"])
    parser.add_argument("--others", type=Path, help="a file of other formulations")
    parser.add_argument("--no-kernels", action="store_true", help="leave out FlashInfer's kernels")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    kernels = device == "cuda" and not options.no_kernels
    formulations = None
    if options.others:
        formulations = loaded(options.others.read_text(encoding="utf-8"))["formulations"]
    found = []
    for definition in definitions(options.dataset, options.kind):
        others = formulations(definition) if formulations else {}
        for size, lengths in SIZES[device][kind_of(definition)].items():
            with torch.no_grad():
                rows = measured(definition, lengths, device, others, kernels)
            found.append({"definition": definition["name"], "size": size, "rows": rows})
            print(f"{definition['name']}, {size}")  # noqa: T201 - a program's output
            for name, row in rows.items():
                shown = row.get("failure") or (
                    f"{row['ms']:9.3f} ms {row['mb'] or 0:9.0f} MB"
                    f"  output {row['error']:.3e}, lse {row['lse_error']:.1e}"
                )
                if "cache_mb" in row:
                    shown += f", and {row['cache_mb']:.0f} MB where whole caches are converted"
                print(f"  {name:24}{shown}", flush=True)  # noqa: T201
    if not found:
        raise SystemExit(f"{options.dataset} has no such definitions; `make run` writes a dataset")
    speeds = [
        f["rows"]["peer"]["ms"] / f["rows"]["reference"]["ms"]
        for f in found
        if "ms" in f["rows"]["peer"] and "ms" in f["rows"]["reference"]
    ]
    mean = math.exp(sum(map(math.log, speeds)) / len(speeds))
    print(f"speed relative to the peer: {min(speeds):.2f} at least, mean {mean:.2f}")  # noqa: T201
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
