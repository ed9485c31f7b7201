"""Time, memory and error of a dataset's attention references, beside two peers in one run.

The peer is the plain formulation: sequences one after the other, their keys and values in float32
and repeated for each query head, all logits of a sequence at once; in decode heads one after the
other too, from a float32 copy of the caches. FlashInfer's kernel, where the GPU runs it, shows how
far a reference is from the hardware's limit. Errors are against float64: of the output relative to
its size, root of the mean square, and the largest of lse, on some rows. Memory is what a call takes
beyond its inputs. References of the same names in other datasets can be timed beside.

    python benchmarks/bench_reference_gqa.py [DATASET] [--beside DATASET ...] [--json FILE]
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from measuring import megabytes, milliseconds

CHECKED_ROWS = 8
PATIENCE_S = 0.1
WORKSPACE_BYTES = 2**28
Inputs = dict[str, Any]
Lengths = list[tuple[int, int]]  # queries and keys of each sequence

# Lengths in tokens; those of the 128 sequences are from 16 to 4096, small ones more often.
BATCHES: dict[str, dict[str, Lengths]] = {
    "decode": {
        "64 x 2048": [(1, 2048)] * 64,
        "1 x 32768": [(1, 32768)],
        "128 ragged": [(1, round(16 * 256 ** ((i * 37 % 128) / 127))) for i in range(128)],
    },
    "prefill": {"8 x 512 on 1024": [(512, 1536)] * 8},
    "ragged": {"8 x 1024": [(1024, 1024)] * 8, "1 x 8192": [(8192, 8192)]},
}


def definitions(dataset: Path) -> dict[str, dict[str, Any]]:
    """The attention definitions of a dataset, by name."""
    files = sorted(dataset.glob("definitions/gqa_*/*.json"))
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in files}


def kind_of(definition: dict[str, Any]) -> str:
    """Which of the sizes are for a definition."""
    if "k" in definition["inputs"]:
        return "ragged"
    return "prefill" if "qo_indptr" in definition["inputs"] else "decode"


def constant(definition: dict[str, Any], name: str) -> float | None:
    """A constant of the reference, None where it has none of the name."""
    found = re.search(rf"^{name} = ([\d.e+-]+)", definition["reference"], re.MULTILINE)
    return float(found[1]) if found else None


def inputs(definition: dict[str, Any], lengths: Lengths, device: str) -> Inputs:
    """Normal tensors of a definition; pages in random order, the last ones full of NaN beyond."""
    sizes = {n: a["value"] for n, a in definition["axes"].items() if "value" in a}
    heads, kv_heads, head_dim = (
        sizes[f"{n}"] for n in ("num_qo_heads", "num_kv_heads", "head_dim")
    )

    def normal(*shape: int) -> Any:
        return torch.empty(shape, dtype=torch.bfloat16, device=device).normal_()

    def indptr(counts: list[int]) -> Any:
        ends = [0, *itertools.accumulate(counts)]
        return torch.tensor(ends, dtype=torch.int32, device=device)

    made: Inputs = {"q": normal(sum(n for n, _ in lengths), heads, head_dim)}
    keys = [m for _, m in lengths]
    if "k" in definition["inputs"]:
        made |= {n: normal(sum(keys), kv_heads, head_dim) for n in ("k", "v")}
        made |= {"qo_indptr": indptr([n for n, _ in lengths]), "kv_indptr": indptr(keys)}
    else:
        page = sizes["page_size"]
        pages = [-(-m // page) for m in keys]
        made |= {n: normal(sum(pages), page, kv_heads, head_dim) for n in ("k_cache", "v_cache")}
        if "qo_indptr" in definition["inputs"]:
            made["qo_indptr"] = indptr([n for n, _ in lengths])
        made["kv_indptr"] = indptr(pages)
        made["kv_indices"] = torch.randperm(sum(pages), device=device).int()
        if page > 1:
            last = [(m - 1) % page + 1 for m in keys]
            made["kv_last_page_len"] = torch.tensor(last, dtype=torch.int32, device=device)
            ends = made["kv_indices"][made["kv_indptr"][1:].long() - 1].long()
            for name, (place, filled) in itertools.product(
                ("k_cache", "v_cache"), zip(ends.tolist(), last, strict=True)
            ):
                made[name][place, filled:] = math.nan
    return {**made, "sm_scale": head_dim**-0.5}


def sequences(given: Inputs, flat: Any) -> Iterator[tuple[int, int, Any]]:
    """First and last row of each sequence, and where its keys are in the flat tensors."""
    begin = given["kv_indptr"].tolist()
    rows = given["qo_indptr"].tolist() if "qo_indptr" in given else range(len(begin))
    page = given["k_cache"].shape[1] if "k_cache" in given else 1
    for b, (start, end) in enumerate(itertools.pairwise(begin)):
        if "k" in given:
            where: Any = slice(start, end)
        else:
            pages = given["kv_indices"][start:end].long()
            where = (pages[:, None] * page + torch.arange(page, device=flat.device)).flatten()
            if "kv_last_page_len" in given:
                where = where[: (end - start - 1) * page + int(given["kv_last_page_len"][b])]
        yield rows[b], rows[b + 1], where


def masked(logits: Any, visible: Any, definition: dict[str, Any]) -> Any:
    """Logits [..., rows, keys] of which a row sees the first `visible`; capped, in a window."""
    cap, window = constant(definition, "LOGIT_CAP"), constant(definition, "SLIDING_WINDOW")
    if cap:
        logits = cap * torch.tanh(logits / cap)
    position = torch.arange(logits.shape[-1], device=logits.device)
    hidden = position >= visible[:, None]
    if window:
        hidden |= position < visible[:, None] - window
    return logits.masked_fill(hidden, -math.inf)


def peer(definition: dict[str, Any], given: Inputs) -> Any:
    """The plain formulation, in float32."""
    if "qo_indptr" not in given:
        return peer_decode(definition, given)
    q, (k, v) = given["q"], flattened(given)
    group = q.shape[1] // k.shape[1]
    output = torch.zeros_like(q)
    lse = torch.full(q.shape[:2], -math.inf, dtype=torch.float32, device=q.device)
    for first, last, where in sequences(given, k):
        keys = k[where].float().repeat_interleave(group, dim=1)
        values = v[where].float().repeat_interleave(group, dim=1)
        rows = torch.arange(first - last, 0, device=q.device)
        logits = torch.einsum("qhd,khd->hqk", q[first:last].float(), keys) * given["sm_scale"]
        logits = masked(logits, rows + 1 + keys.shape[0], definition)
        lse[first:last] = torch.logsumexp(logits, -1).T / math.log(2)
        weights = torch.softmax(logits, -1)
        output[first:last] = torch.einsum("hqk,khd->qhd", weights, values).to(q.dtype)
    return output, lse


def peer_decode(definition: dict[str, Any], given: Inputs) -> Any:
    """The plain formulation of decode, in float32."""
    q, (k, v) = given["q"], flattened(given)
    k, v = k.float(), v.float()
    group = q.shape[1] // k.shape[1]
    output = torch.zeros_like(q)
    lse = torch.full(q.shape[:2], -math.inf, dtype=torch.float32, device=q.device)
    for row, _, where in sequences(given, k):
        keys, values, query = k[where], v[where], q[row].float()
        visible = torch.tensor([keys.shape[0]], device=q.device)
        for head in range(q.shape[1]):
            logits = query[head] @ keys[:, head // group].T * given["sm_scale"]
            if "LOGIT_CAP" in definition["reference"] or "WINDOW" in definition["reference"]:
                logits = masked(logits[None], visible, definition)[0]
            lse[row, head] = torch.logsumexp(logits, -1) / math.log(2)
            weights = torch.softmax(logits, -1)
            output[row, head] = (weights @ values[:, head // group]).to(q.dtype)
    return output, lse


def flattened(given: Inputs) -> tuple[Any, Any]:
    """Keys and values [tokens, KV heads, head_dim], those of pages one after the other."""
    if "k" in given:
        return given["k"], given["v"]
    return given["k_cache"].flatten(0, 1), given["v_cache"].flatten(0, 1)


def flashinfer_kernel(definition: dict[str, Any], given: Inputs) -> Callable[[], Any] | None:
    """FlashInfer's kernel for a definition, planned; None where it is not installed."""
    try:
        import flashinfer
    except ImportError:
        return None
    q = given["q"]
    heads = q.shape[1], flattened(given)[0].shape[1], q.shape[2]
    workspace = torch.empty(WORKSPACE_BYTES, dtype=torch.uint8, device=q.device)
    options = {
        "sm_scale": given["sm_scale"],
        "window_left": int(constant(definition, "SLIDING_WINDOW") or 0) - 1,
        "logits_soft_cap": constant(definition, "LOGIT_CAP") or 0.0,
        "q_data_type": q.dtype,
        "kv_data_type": q.dtype,
    }
    if "k" in given:
        wrapper = flashinfer.BatchPrefillWithRaggedKVCacheWrapper(workspace, "NHD", backend="fa2")
        wrapper.plan(given["qo_indptr"], given["kv_indptr"], *heads, causal=True, **options)
        return lambda: wrapper.run(q, given["k"], given["v"], return_lse=True)
    batch = given["kv_indptr"].shape[0] - 1
    page = given["k_cache"].shape[1]
    last = given.get("kv_last_page_len", torch.ones(batch, dtype=torch.int32, device=q.device))
    pages = given["kv_indptr"], given["kv_indices"], last
    if "qo_indptr" in given:
        wrapper = flashinfer.BatchPrefillWithPagedKVCacheWrapper(workspace, "NHD", backend="fa2")
        wrapper.plan(given["qo_indptr"], *pages, *heads, page, causal=True, **options)
    else:
        wrapper = flashinfer.BatchDecodeWithPagedKVCacheWrapper(
            workspace, "NHD", use_tensor_cores=True
        )
        wrapper.plan(*pages, *heads, page, **options)
    return lambda: wrapper.run(q, (given["k_cache"], given["v_cache"]), return_lse=True)


def exact(definition: dict[str, Any], given: Inputs) -> tuple[list[int], Any, Any]:
    """Some rows, their output and base-2 lse in float64, of the first and last sequences."""
    q, (k, v) = given["q"], flattened(given)
    chosen: list[int] = []
    outputs, sums = [], []
    every = list(sequences(given, k))
    for b in sorted({0, len(every) // 2, len(every) - 1}):
        first, last, where = every[b]
        rows = torch.linspace(first, last - 1, min(CHECKED_ROWS, last - first)).long()
        keys, values = (x[where].double().movedim(1, 0) for x in (k, v))
        queries = q[rows.to(q.device)].double().movedim(1, 0).unflatten(0, (len(keys), -1))
        logits = queries @ keys[:, None].transpose(2, 3) * given["sm_scale"]
        visible = (rows + 1 - last + keys.shape[1]).to(q.device)
        logits = masked(logits, visible, definition)
        outputs.append((torch.softmax(logits, -1) @ values[:, None]).flatten(0, 1).movedim(0, 1))
        sums.append(torch.logsumexp(logits, -1).flatten(0, 1).T / math.log(2))
        chosen += rows.tolist()
    return chosen, torch.cat(outputs), torch.cat(sums)


def errors(right: tuple[list[int], Any, Any], found: tuple[Any, Any]) -> tuple[float, float]:
    """The output's error, root of the mean square relative to that of its size; lse's largest."""
    rows, output, lse = right
    difference = found[0][rows].double() - output
    relative = difference.square().mean().sqrt() / output.square().mean().sqrt()
    return float(relative), float((found[1][rows].double() - lse).abs().max())


def bound(definition: dict[str, Any], given: Inputs) -> Callable[[], Any]:
    """A call of a definition's reference."""
    namespace: dict[str, Any] = {}
    exec(definition["reference"], namespace)  # noqa: S102 - what is measured
    return lambda: namespace["run"](*given.values())


def measured(
    definition: dict[str, Any],
    lengths: Lengths,
    device: str,
    beside: dict[str, Any],
    kernel: bool,
) -> dict[str, Any]:
    """The figures of one definition and batch, by who computes it."""
    torch.manual_seed(0)
    given = inputs(definition, lengths, device)
    right = exact(definition, given)
    calls: dict[str, Callable[[], Any] | None] = {
        **{name: bound(d, given) for name, d in {"reference": definition, **beside}.items()},
        "peer": lambda: peer(definition, given),
        "kernel": flashinfer_kernel(definition, given) if kernel and device == "cuda" else None,
    }
    figures: dict[str, Any] = {}
    for name, call in calls.items():
        if call is None:
            continue
        try:
            error, lse_error = errors(right, call())
            figures[name] = {
                "ms": milliseconds(call, device, PATIENCE_S),
                "mb": megabytes(call, device),
                "error": error,
                "lse_error": lse_error,
            }
        except Exception as failure:  # noqa: BLE001 - one contestant must not end the others' run
            figures[name] = {"failure": repr(failure)[:300]}
    return figures


def show(name: str, batch: str, figures: dict[str, Any]) -> None:
    """Print the figures of one definition and batch."""
    print(f"{name}, {batch}")  # noqa: T201 - a program's output
    for who, found in figures.items():
        if "failure" in found:
            print(f"    {who:24} {found['failure']}", flush=True)  # noqa: T201
            continue
        speed = figures["peer"].get("ms", math.nan) / found["ms"]
        memory = "-" if found["mb"] is None else f"{found['mb']:.0f}"
        print(  # noqa: T201
            f"    {who:24}{found['ms']:10.3f} ms{speed:8.2f} x{memory:>8} MB"
            f"   error {found['error']:.6f}   lse {found['lse_error']:.1e}",
            flush=True,
        )


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="attention references beside their peers")
    parser.add_argument("dataset", type=Path, nargs="?", default=Path("repos/flashinfer-trace"))
    parser.add_argument("--beside", type=Path, nargs="*", default=[], help="more datasets")
    parser.add_argument("--only", default="", help="part of the definitions' names")
    parser.add_argument("--shorter", type=int, default=1, help="divide all lengths by this")
    parser.add_argument("--no-kernel", action="store_true", help="leave FlashInfer out")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    others = {path.name: definitions(path) for path in options.beside}
    found = []
    for name, definition in definitions(options.dataset).items():
        if options.only not in name:
            continue
        beside = {n: d[name] for n, d in others.items() if name in d}
        for batch, lengths in BATCHES[kind_of(definition)].items():
            cut = [(-(-n // options.shorter), -(-m // options.shorter)) for n, m in lengths]
            with torch.no_grad():
                figures = measured(definition, cut, device, beside, not options.no_kernel)
            show(name, batch, figures)
            found.append({"definition": name, "batch": batch, **figures})
    if not found:
        raise SystemExit(f"{options.dataset} has no such definitions; `make run` writes a dataset")
    for who in ("reference", *others):
        speeds = [r["peer"]["ms"] / r[who]["ms"] for r in found if "ms" in r.get(who, {})]
        if speeds:
            mean = math.exp(sum(map(math.log, speeds)) / len(speeds))
            print(f"{who}: {mean:.2f} times the peer's speed, {len(speeds)} measurements")  # noqa: T201
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
