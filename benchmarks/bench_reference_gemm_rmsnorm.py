"""Time, memory and error of a dataset's GEMM and RMSNorm references, beside two peers in one run.

The peer is the plain formulation: `A @ B.T` for GEMMs, blocks scaled in float32 and one float32
product for fp8, the norm's formula on a float32 copy. FlashInfer's kernel, where it has one and the
GPU runs it, shows how far a reference is from the hardware's limit. Errors are against float64,
relative to the largest element, on the first rows; memory is what a call takes beyond its inputs.

    python benchmarks/bench_reference_gemm_rmsnorm.py [DATASET] [--rows 4096] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from measuring import conclude, megabytes, milliseconds

CHECKED_ROWS = 64
PATIENCE_S = 0.3
BLOCK = 128
Inputs = dict[str, Any]


def definitions(dataset: Path, op_types: list[str]) -> list[dict[str, Any]]:
    """The definitions of a dataset that are of one of these op types, by name."""
    files = sorted(path for op in op_types for path in dataset.glob(f"definitions/{op}/*.json"))
    return [json.loads(path.read_text(encoding="utf-8")) for path in files]


def inputs(definition: dict[str, Any], rows: int, device: str) -> Inputs:
    """Normal tensors of a definition, scales between 0.5 and 1.5."""
    made: Inputs = {}
    axes = {n: a.get("value", rows) for n, a in definition["axes"].items()}
    for name, spec in definition["inputs"].items():
        shape = [axes[axis] for axis in spec["shape"]]
        dtype = getattr(torch, spec["dtype"])
        values = torch.randn(shape, device=device)
        made[name] = (torch.rand_like(values) + 0.5 if "scale" in name else values).to(dtype)
    return made


def _scaled(x: Any, scale: Any, dtype: torch.dtype) -> Any:
    whole = scale.to(dtype).repeat_interleave(BLOCK, 1)[:, : x.shape[1]]
    if scale.shape[0] != x.shape[0]:
        whole = whole.repeat_interleave(BLOCK, 0)[: x.shape[0]]
    return x.to(dtype) * whole


def peer(definition: dict[str, Any], given: Inputs, dtype: torch.dtype | None = None) -> Any:
    """The plain formulation, in float32; in `dtype` and not rounded where that is given."""
    exact = dtype or torch.float32
    if "A_scale" in given:
        a = _scaled(given["A"], given["A_scale"], exact)
        result = a @ _scaled(given["B"], given["B_scale"], exact).T
        return result if dtype else result.to(torch.bfloat16)
    if "A" in given:
        a, b = (given[n].to(dtype) if dtype else given[n] for n in ("A", "B"))
        return a @ b.T
    x = given["hidden_states"].to(exact)
    if "residual" in given:
        x = x + given["residual"].to(exact)
    weight = given["weight"].to(exact)
    weight = 1 + weight if "gemma" in definition["name"] else weight
    result = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + _epsilon(definition)) * weight
    return result if dtype else result.to(given["hidden_states"].dtype)


def _epsilon(definition: dict[str, Any]) -> float:
    line = next(x for x in definition["reference"].splitlines() if x.startswith("EPSILON = "))
    return float(line.partition(" = ")[2])


def flashinfer_kernel(definition: dict[str, Any], given: Inputs) -> Callable[[], Any] | None:
    """FlashInfer's kernel for a definition; None where there is none on this machine."""
    try:
        from flashinfer import norm
        from flashinfer.gemm import fp8_blockscale_gemm_sm90
    except ImportError:
        return None
    if "A" in given and "A_scale" not in given:
        return None  # cuBLAS is the peer
    if "A" in given:
        if torch.cuda.get_device_capability() != (9, 0) or any(d % BLOCK for d in given["B"].shape):
            return None
        scales = given["A_scale"].T.contiguous().T
        return lambda: fp8_blockscale_gemm_sm90(given["A"], given["B"], scales, given["B_scale"])
    name = definition["name"].rpartition("_h")[0]
    kernel = getattr(norm, name)
    if "residual" in given:
        x, residual = given["hidden_states"].clone(), given["residual"].clone()
        return lambda: kernel(x, residual, given["weight"], _epsilon(definition))
    return lambda: kernel(given["hidden_states"], given["weight"], _epsilon(definition))


def error(definition: dict[str, Any], given: Inputs, output: Any) -> float:
    """The largest error of the first rows against float64, by the largest element."""
    rowwise = ("A", "A_scale", "hidden_states", "residual")
    few = {n: x[:CHECKED_ROWS] if n in rowwise else x for n, x in given.items()}
    right = peer(definition, few, torch.float64)
    return float((output[:CHECKED_ROWS].double() - right).abs().max() / right.abs().max())


def measured(definition: dict[str, Any], rows: int, device: str) -> dict[str, Any]:
    """The figures of one definition."""
    torch.manual_seed(0)
    given = inputs(definition, rows, device)
    namespace: dict[str, Any] = {}
    exec(definition["reference"], namespace)  # noqa: S102 - what is measured

    def ours() -> Any:
        return namespace["run"](**given)

    def plain() -> Any:
        return peer(definition, given)

    kernel = flashinfer_kernel(definition, given) if device == "cuda" else None
    row = {
        "definition": definition["name"],
        "rows": rows,
        "ms": milliseconds(ours, device, PATIENCE_S),
        "peer_ms": milliseconds(plain, device, PATIENCE_S),
        "kernel_ms": milliseconds(kernel, device, PATIENCE_S) if kernel else None,
        "mb": megabytes(ours, device),
        "peer_mb": megabytes(plain, device),
        "error": error(definition, given, ours()),
        "peer_error": error(definition, given, plain()),
    }
    return {**row, "speed": row["peer_ms"] / row["ms"]}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="GEMM and RMSNorm references beside their peers")
    parser.add_argument("dataset", type=Path, nargs="?", default=Path("repos/flashinfer-trace"))
    parser.add_argument("--op-type", nargs="+", default=["gemm", "rmsnorm"])
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 64, 4096])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    names = ("speed", "ms", "peer", "kernel", "MB", "peer MB", "error", "peer")
    widths = (7, 8, 8, 8, 7, 9, 9, 9)
    head = "".join(f"{n:>{w}}" for n, w in zip(names, widths, strict=True))
    print(f"{'definition':38}{'rows':>7}{head}")  # noqa: T201 - a program's output
    found = []
    for definition in definitions(options.dataset, options.op_type):
        for rows in options.rows:
            with torch.no_grad():
                row = measured(definition, rows, device)
            found.append(row)
            kernel = "-" if row["kernel_ms"] is None else f"{row['kernel_ms']:.3f}"
            memory = [f"{row[n]:.0f}" if row[n] is not None else "-" for n in ("mb", "peer_mb")]
            print(  # noqa: T201
                f"{row['definition']:38}{rows:7}{row['speed']:7.2f}{row['ms']:8.3f}"
                f"{row['peer_ms']:8.3f}{kernel:>8}{memory[0]:>7}{memory[1]:>9}"
                f"{row['error']:9.1e}{row['peer_error']:9.1e}",
                flush=True,
            )
    conclude(found, options.dataset, options.json)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
