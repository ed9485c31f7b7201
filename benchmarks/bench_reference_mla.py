"""Time and peak memory of the MLA references beside their peers, measured in the same run.

The peers compute the same in the obvious ways: one query token at a time, and one sequence at a
time with all its logits at once. Every contestant runs in a process of its own on the same inputs;
its memory is what it takes beyond inputs and outputs. Results are compared before they are timed.

    python benchmarks/bench_reference_mla.py [--device cpu|cuda] [--kind decode|prefill|ragged]
        [--sequences 8 --queries 512 --keys 1024 --heads 16] [--repetitions 5] [--json]

Without sizes, those of the limit below on CUDA, and small ones on a CPU.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

CKV, KPE, QK, VO, PAGE_SIZE = 512, 64, 192, 128, 64
SIZES = {
    "cuda": {"sequences": 8, "queries": 512, "keys": 1024, "heads": 16},
    "cpu": {"sequences": 4, "queries": 32, "keys": 256, "heads": 16},
}
# Prefill of 8 sequences of 512 queries and 1,024 keys each on an H100.
LIMIT_MS = {("prefill", "cuda"): 20.0}
# A reference with four times as many sequences may take as much memory; some is rounding up.
GROWTH_LIMIT = 1.25
CONTESTANTS = ("reference", "per sequence", "per token")

Arguments = dict[str, Any]
Contestant = Callable[..., "tuple[torch.Tensor, torch.Tensor]"]


def make_inputs(kind: str, sizes: dict[str, int], device: str) -> Arguments:
    """Random inputs of the definition, every sequence of the same size, pages shuffled."""
    import torch

    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(torch.bfloat16).to(device)

    batch, keys, heads = sizes["sequences"], sizes["keys"], sizes["heads"]
    queries = 1 if kind == "decode" else sizes["queries"]
    starts = torch.arange(batch + 1, dtype=torch.int32, device=device)
    if kind == "ragged":
        return {
            "q": normal(batch * queries, heads, QK),
            "k": normal(batch * keys, heads, QK),
            "v": normal(batch * keys, heads, VO),
            "qo_indptr": starts * queries,
            "kv_indptr": starts * keys,
            "sm_scale": QK**-0.5,
        }
    pages = -(-keys // PAGE_SIZE)
    inputs: Arguments = {
        "q_nope": normal(batch * queries, heads, CKV),
        "q_pe": normal(batch * queries, heads, KPE),
        "ckv_cache": normal(batch * pages, PAGE_SIZE, CKV),
        "kpe_cache": normal(batch * pages, PAGE_SIZE, KPE),
        "qo_indptr": starts * queries,
        "kv_indptr": starts * pages,
        "kv_indices": torch.randperm(batch * pages, generator=generator).int().to(device),
        "kv_last_page_len": torch.full_like(starts[1:], keys - (pages - 1) * PAGE_SIZE),
        "sm_scale": QK**-0.5,
    }
    if kind == "decode":
        del inputs["qo_indptr"]
    return inputs


def reference(kind: str, heads: int) -> Contestant:
    """`run` of the definition that the plugin writes."""
    from fibcore.model.kernel import Kernel
    from fibcore_op_mla.definitions import define

    sizes = {"qk_dim": QK, "vo_dim": VO, "num_kv_heads": heads}
    if kind != "ragged":
        sizes = {"head_dim_ckv": CKV, "head_dim_kpe": KPE, "page_size": PAGE_SIZE}
    parameters: dict[str, str | int | float | bool] = {"kind": kind, "num_qo_heads": heads, **sizes}
    op_type = "mla_ragged" if kind == "ragged" else "mla_paged"
    definition = define(Kernel(op_type, "benchmarked", parameters, {}, ()))
    if definition is None:
        raise SystemExit(f"no definition of {op_type}")
    namespace: dict[str, Any] = {}
    exec(definition.reference, namespace)  # noqa: S102 - this repository's own reference
    run: Contestant = namespace["run"]
    return run


def per_sequence(**inputs: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """One sequence at a time, with the logits of all its queries and keys at once."""
    return _plain(inputs, chunk=None)


def per_token(**inputs: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """One query token at a time, all heads at once."""
    return _plain(inputs, chunk=1)


def _plain(inputs: Arguments, chunk: int | None) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    ragged = "q" in inputs
    query = inputs["q" if ragged else "q_nope"]
    width = VO if ragged else CKV
    output = torch.empty((*query.shape[:2], width), dtype=query.dtype, device=query.device)
    lse = torch.empty(query.shape[:2], dtype=torch.float32, device=query.device)
    starts = inputs["kv_indptr"].tolist()
    rows = inputs["qo_indptr"].tolist() if "qo_indptr" in inputs else list(range(len(starts)))
    for i in range(len(starts) - 1):
        if ragged:
            keys = inputs["k"][starts[i] : starts[i + 1]].float()
            values = inputs["v"][starts[i] : starts[i + 1]].float()
        else:
            pages = inputs["kv_indices"][starts[i] : starts[i + 1]].long()
            length = (len(pages) - 1) * PAGE_SIZE + int(inputs["kv_last_page_len"][i])
            latent = inputs["ckv_cache"][pages].flatten(0, 1)[:length, None].float()
            rope = inputs["kpe_cache"][pages].flatten(0, 1)[:length, None].float()
            keys, values = torch.cat((latent, rope), -1), latent
        queries = rows[i + 1] - rows[i]
        for begin in range(0, queries, chunk or queries):
            end = min(begin + (chunk or queries), queries)
            own = slice(rows[i] + begin, rows[i] + end)
            q = query[own].float()
            if not ragged:
                q = torch.cat((q, inputs["q_pe"][own].float()), -1)
            heads = q.shape[1]
            logits = torch.einsum("qhd,khd->hqk", q, keys.expand(-1, heads, -1))
            logits = logits * inputs["sm_scale"]
            seen = torch.arange(len(keys), device=q.device)
            last = torch.arange(begin, end, device=q.device) + len(keys) - queries
            logits.masked_fill_(seen > last[:, None], -math.inf)
            lse[own] = (torch.logsumexp(logits, -1) / math.log(2)).T
            weights = torch.softmax(logits, -1)
            mixed = torch.einsum("hqk,khd->qhd", weights, values.expand(-1, heads, -1))
            output[own] = mixed.to(output.dtype)
    return output, lse


def measure(
    name: str, kind: str, sizes: dict[str, int], device: str, repetitions: int
) -> dict[str, Any]:
    """Run one contestant in this process: seconds of each run, peak bytes beyond inputs, a sum."""
    import torch

    inputs = make_inputs(kind, sizes, device)
    run: Contestant
    if name == "reference":
        compiled = reference(kind, sizes["heads"])

        def run(**given: Any) -> tuple[torch.Tensor, torch.Tensor]:
            return compiled(*given.values())

    else:
        run = per_sequence if name == "per sequence" else per_token
    cuda = device == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    else:
        before = _peak_of_process()
    output, lse = run(**inputs)  # the first run also warms up libraries
    own = output.numel() * output.element_size() + lse.numel() * lse.element_size()
    after = torch.cuda.max_memory_allocated() if cuda else _peak_of_process()
    seconds = []
    for _ in range(repetitions):
        if cuda:
            torch.cuda.synchronize()
        start = time.perf_counter()
        run(**inputs)
        if cuda:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return {
        "seconds": seconds,
        "peak_bytes": max(after - before - own, 0),
        "mean_output": float(output.double().abs().mean()),
        "mean_lse": float(lse.double().mean()),
        "device": torch.cuda.get_device_name() if cuda else "CPU",
    }


def _peak_of_process() -> int:
    """Peak resident bytes of this process; Linux counts in KiB, macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def in_child(
    name: str, kind: str, sizes: dict[str, int], device: str, repetitions: int
) -> dict[str, Any]:
    """`measure` in a process of its own.

    Raises:
        SystemExit: it failed; its output is shown.
    """
    given = json.dumps([name, kind, sizes, device, repetitions])
    command = [sys.executable, __file__, "--measure", given]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    if done.returncode:
        raise SystemExit(f"{name}, {kind}:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def bench(kind: str, sizes: dict[str, int], device: str, repetitions: int) -> dict[str, Any]:
    """All contestants of one kernel, and the reference again with four times the sequences."""
    results = {
        # The slow peer is run once; the others take milliseconds.
        name: in_child(name, kind, sizes, device, 1 if name == "per token" else repetitions)
        for name in CONTESTANTS
    }
    larger = {**sizes, "sequences": 4 * sizes["sequences"]}
    results["reference, 4 x sequences"] = in_child("reference", kind, larger, device, 1)
    broken = []
    for key in ("mean_output", "mean_lse"):
        values = [results[name][key] for name in CONTESTANTS]
        if max(values) - min(values) > 1e-4 * abs(values[0]):
            broken.append(f"{kind}: contestants disagree in {key}: {values}")
    took = statistics.median(results["reference"]["seconds"]) * 1e3
    limit = LIMIT_MS.get((kind, device)) if sizes == SIZES["cuda"] else None
    if limit is not None and took >= limit:
        broken.append(f"{kind}: {took:.1f} ms, limit {limit} ms")
    # The memory of a process is not told finely enough to be judged.
    few = results["reference"]["peak_bytes"]
    many = results["reference, 4 x sequences"]["peak_bytes"]
    full = few >= 2**26
    if device == "cuda" and full and many > GROWTH_LIMIT * few:
        broken.append(f"{kind}: memory grows with the sequences, {few} to {many} bytes")
    return {"kind": kind, "sizes": sizes, "limit_ms": limit, "results": results, "broken": broken}


def main() -> int:
    """Measure, print, and return 1 where a limit is not kept or results differ."""
    parser = argparse.ArgumentParser(description="time and memory of the MLA references")
    parser.add_argument("--device", choices=("cpu", "cuda"))
    parser.add_argument("--kind", choices=("decode", "prefill", "ragged"), action="append")
    for size in SIZES["cuda"]:
        parser.add_argument(f"--{size}", type=int)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(*json.loads(options.measure))))  # noqa: T201 - to the parent
        return 0
    device = options.device
    if device is None:
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
    sizes = {name: getattr(options, name) or size for name, size in SIZES[device].items()}
    kinds = options.kind or ["decode", "prefill", "ragged"]
    benches = [bench(kind, sizes, device, options.repetitions) for kind in kinds]
    broken = [what for found in benches for what in found["broken"]]
    if options.json:
        print(json.dumps(benches, indent=2))  # noqa: T201 - a program's output
        return 1 if broken else 0
    for found in benches:
        device_name = found["results"]["reference"]["device"]
        print(f"{found['kind']} on {device_name}, {found['sizes']}")  # noqa: T201
        for name, result in found["results"].items():
            took = statistics.median(result["seconds"]) * 1e3
            print(f"  {name:25} {took:10.2f} ms {result['peak_bytes'] / 2**20:10.1f} MiB")  # noqa: T201
    print("within all limits" if not broken else "NOT KEPT: " + "; ".join(broken))  # noqa: T201
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
