"""Memory and time of the attention references as sequences grow, beside two peers in the same run.

The peers compute the same: `loop` goes through the query tokens one by one, as simple references
do, and `whole` makes all logits of the batch at once, without chunks. Every measurement is a
process of its own; peak memory is what the first call takes beyond its inputs and outputs (on a
GPU what torch allocated, on a CPU the resident memory of the process), time the best of several.

    python benchmarks/bench_reference_gqa.py [--device auto|cpu|cuda] [--scale 1] [--json]
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

QO_HEADS, KV_HEADS, HEAD_DIM, PAGE_SIZE = 32, 8, 128, 64  # Llama-3.1-8B
# Batch size and key length; in prefill half of the keys belong to queries.
SIZES = {
    "decode": [(8, 512), (8, 2048), (8, 8192)],
    "prefill": [(2, 256), (2, 512), (2, 1024)],
    "ragged": [(2, 256), (2, 512), (2, 1024)],
}
FILES = {
    "decode": "gqa_paged_decode.py",
    "prefill": "gqa_paged_prefill_causal.py",
    "ragged": "gqa_ragged_prefill_causal.py",
}
CONTESTANTS = ("reference", "loop", "whole")
# The reference keeps about ten temporaries of 2**23 float32 elements, however long sequences are.
MEMORY_LIMIT_MB = 512.0
PATIENCE_S = 3.0  # how long to repeat one measurement


def inputs(kernel: str, batch: int, keys: int, device: str) -> dict[str, Any]:
    """Normal bfloat16 tensors; pages in random order."""
    import torch

    def normal(*shape: int) -> Any:
        return torch.empty(shape, dtype=torch.bfloat16, device=device).normal_()

    def indptr(length: int) -> Any:
        return torch.arange(batch + 1, dtype=torch.int32, device=device) * length

    queries = 1 if kernel == "decode" else keys // 2
    made = {"q": normal(batch * queries, QO_HEADS, HEAD_DIM)}
    if kernel == "ragged":
        made |= {n: normal(batch * keys, KV_HEADS, HEAD_DIM) for n in ("k", "v")}
        made |= {"qo_indptr": indptr(queries), "kv_indptr": indptr(keys)}
    else:
        pages = keys // PAGE_SIZE
        cache = (batch * pages, PAGE_SIZE, KV_HEADS, HEAD_DIM)
        made |= {n: normal(*cache) for n in ("k_cache", "v_cache")}
        if kernel == "prefill":
            made["qo_indptr"] = indptr(queries)
        made["kv_indptr"] = indptr(pages)
        made["kv_indices"] = torch.randperm(batch * pages, device=device).int()
        made["kv_last_page_len"] = torch.full((batch,), PAGE_SIZE, dtype=torch.int32, device=device)
    made["sm_scale"] = HEAD_DIM**-0.5
    return made


def reference(kernel: str) -> Callable[..., Any]:
    """The plugin's reference, with the sizes of this benchmark."""
    from fibcore.ops.authoring.rendering import render

    constants = {"NUM_QO_HEADS": QO_HEADS, "NUM_KV_HEADS": KV_HEADS, "HEAD_DIM": HEAD_DIM}
    if kernel != "ragged":
        constants["PAGE_SIZE"] = PAGE_SIZE
    path = resources.files("fibcore_op_gqa") / "references" / FILES[kernel]
    namespace: dict[str, Any] = {}
    exec(render(path, constants), namespace)  # noqa: S102 - the plugin's own file
    run: Callable[..., Any] = namespace["run"]
    return run


def _of_sequence(kernel: str, given: dict[str, Any], b: int) -> tuple[int, int, Any, Any]:
    """First and last row, keys and values [keys, KV_HEADS, HEAD_DIM] of sequence `b`."""
    first, last = (
        (b, b + 1) if kernel == "decode" else (int(x) for x in given["qo_indptr"][b : b + 2])
    )
    start, end = (int(x) for x in given["kv_indptr"][b : b + 2])
    if kernel == "ragged":
        return first, last, given["k"][start:end], given["v"][start:end]
    pages = given["kv_indices"][start:end].long()
    k, v = (given[n][pages].flatten(0, 1) for n in ("k_cache", "v_cache"))
    return first, last, k, v


def loop(kernel: str, **given: Any) -> Any:
    """One query token after the other, with all of its keys at once; all heads together."""
    import torch

    q, group = given["q"], QO_HEADS // KV_HEADS
    output = torch.empty_like(q)
    lse = torch.empty(q.shape[:2], dtype=torch.float32, device=q.device)
    for b in range(len(given["kv_indptr"]) - 1):
        first, last, k, v = _of_sequence(kernel, given, b)
        k, v = k.float(), v.float()
        for row in range(first, last):
            seen = len(k) - (last - 1 - row)
            rows = q[row].float().view(KV_HEADS, group, HEAD_DIM)
            logits = torch.einsum("ghd,kgd->ghk", rows, k[:seen]) * given["sm_scale"]
            lse[row] = torch.logsumexp(logits, -1).flatten() / math.log(2)
            attended = torch.einsum("ghk,kgd->ghd", torch.softmax(logits, -1), v[:seen])
            output[row] = attended.flatten(0, 1).to(q.dtype)
    return output, lse


def whole(kernel: str, **given: Any) -> Any:
    """All logits of the batch at once (the sequences are of equal length here)."""
    import torch

    q, group = given["q"], QO_HEADS // KV_HEADS
    batch = len(given["kv_indptr"]) - 1
    parts = [_of_sequence(kernel, given, b)[2:] for b in range(batch)]
    k, v = (torch.stack(x).float() for x in zip(*parts, strict=True))
    rows = q.float().view(batch, -1, KV_HEADS, group, HEAD_DIM)
    logits = torch.einsum("bqghd,bkgd->bghqk", rows, k) * given["sm_scale"]
    n, m = rows.shape[1], k.shape[1]
    position = torch.arange(m, device=q.device)
    beyond = position > torch.arange(n, device=q.device)[:, None] + m - n
    logits = logits.masked_fill(beyond, -math.inf)
    lse = torch.logsumexp(logits, -1).permute(0, 3, 1, 2).reshape(q.shape[:2]) / math.log(2)
    attended = torch.einsum("bghqk,bkgd->bqghd", torch.softmax(logits, -1), v)
    return attended.reshape(q.shape).to(q.dtype), lse


def measure(kernel: str, contestant: str, batch: int, keys: int, device: str) -> dict[str, float]:
    """Seconds and peak MB beyond inputs and outputs of one contestant in this process."""
    import torch

    torch.manual_seed(0)
    run = reference(kernel)

    def call(given: dict[str, Any]) -> Any:
        if contestant == "reference":
            return run(*given.values())
        return {"loop": loop, "whole": whole}[contestant](kernel, **given)

    with torch.no_grad():
        call(inputs(kernel, 1, PAGE_SIZE, device))  # loads kernels and libraries
        given = inputs(kernel, batch, keys, device)
        before = _peak(device, reset=True)
        seconds: list[float] = []
        while len(seconds) < 4 and sum(seconds) < PATIENCE_S:
            start = time.perf_counter()
            outputs = call(given)
            if device == "cuda":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
            if len(seconds) == 1:
                own = sum(x.numel() * x.element_size() for x in outputs)
                peak = max(0.0, _peak(device, reset=False) - before - own)
    return {"seconds": min(seconds), "peak_mb": peak / 1e6}


def _peak(device: str, *, reset: bool) -> float:
    """Bytes of memory at the peak since the last reset; with `reset`, bytes in use now."""
    if device == "cuda":
        import torch

        torch.cuda.synchronize()
        if reset:
            torch.cuda.reset_peak_memory_stats()
        return float(torch.cuda.max_memory_allocated())
    status = Path("/proc/self/status")
    if status.exists():
        if reset:
            Path("/proc/self/clear_refs").write_text("5")  # Linux: forget the peak so far
        lines = status.read_text().splitlines()
        return 1024.0 * next(int(x.split()[1]) for x in lines if x.startswith("VmHWM"))
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def in_process(*arguments: object) -> dict[str, float]:
    """`measure` in a process of its own.

    Raises:
        SystemExit: it failed; its output is shown.
    """
    command = [sys.executable, __file__, "--measure", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command line
    if result.returncode:
        raise SystemExit(f"{' '.join(command)}\n{result.stderr}")
    figures: dict[str, float] = json.loads(result.stdout)
    return figures


def main() -> int:
    """Measure, print, and return 1 where the memory limit is not kept."""
    parser = argparse.ArgumentParser(description="memory and time of the attention references")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--scale", type=int, default=1, help="factor on all key lengths")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--measure", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        kernel, contestant, batch, keys, device = options.measure
        own_figures = measure(kernel, contestant, int(batch), int(keys), device)
        print(json.dumps(own_figures))  # noqa: T201 - a program's output
        return 0

    import torch

    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    rows = []
    for kernel, sizes in SIZES.items():
        for batch, keys in sizes:
            keys *= options.scale
            figures = {c: in_process(kernel, c, batch, keys, device) for c in CONTESTANTS}
            row: dict[str, Any] = {"kernel": kernel, "batch": batch, "keys": keys, **figures}
            own = figures["reference"]
            row["loop seconds / reference seconds"] = figures["loop"]["seconds"] / own["seconds"]
            row["reference MB / whole MB"] = own["peak_mb"] / max(1.0, figures["whole"]["peak_mb"])
            rows.append(row)
            if not options.json:
                _show(row)
    broken = [
        f"{row['kernel']} with {row['keys']} keys"
        for row in rows
        if row["reference"]["peak_mb"] >= MEMORY_LIMIT_MB
    ]
    if options.json:
        result = {"device": device, "limit_mb": MEMORY_LIMIT_MB, "rows": rows, "broken": broken}
        print(json.dumps(result, indent=2))  # noqa: T201 - a program's output
    else:
        verdict = "NOT KEPT: " + "; ".join(broken) if broken else "kept"
        print(f"peak memory of the reference under {MEMORY_LIMIT_MB:g} MB: {verdict}")  # noqa: T201
    return 1 if broken else 0


def _show(row: dict[str, Any]) -> None:
    parts = [
        f"{name} {row[name]['seconds'] * 1e3:8.1f} ms {row[name]['peak_mb']:7.1f} MB"
        for name in CONTESTANTS
    ]
    print(  # noqa: T201 - a program's output
        f"{row['kernel']:8} {row['batch']} x {row['keys']:5} keys  {'  '.join(parts)}  "
        f"loop/reference time {row['loop seconds / reference seconds']:.2f}  "
        f"reference/whole memory {row['reference MB / whole MB']:.2f}"
    )


if __name__ == "__main__":
    sys.exit(main())
