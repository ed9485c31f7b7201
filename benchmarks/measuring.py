"""The clock, the memory gauge and the last lines of the benchmarks of references."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

Call = Callable[[], Any]


def milliseconds(call: Call, device: str, patience: float) -> float:
    """The best time of several calls.

    Args:
        call: What is timed. It runs once before, so that nothing is compiled while the clock runs.
        device: "cuda" or "cpu".
        patience: Seconds that the timed calls take together, at least; one call is always timed.
    """

    def wait() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    call()
    best, spent = math.inf, 0.0
    while spent < patience or best == math.inf:
        wait()
        start = time.perf_counter()
        call()
        wait()
        took = time.perf_counter() - start
        best, spent = min(best, took), spent + took
    return 1e3 * best


def megabytes(call: Call, device: str) -> float | None:
    """The peak of what a call allocates on a GPU, its output included; None on a CPU."""
    if device != "cuda":
        return None
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    result = call()
    torch.cuda.synchronize()
    del result
    return (torch.cuda.max_memory_allocated() - before) / 1e6


def conclude(rows: Sequence[dict[str, Any]], dataset: Path, output: Path | None) -> None:
    """Print how fast references are, all together, and write what was measured.

    Args:
        rows: What was measured; those of a reference have its "speed" relative to the peer.
        dataset: The dataset, for the error.
        output: The JSON file; None for none.

    Raises:
        SystemExit: nothing was measured.
    """
    speeds = [row["speed"] for row in rows if row.get("who", "reference") == "reference"]
    if not speeds:
        raise SystemExit(f"{dataset} has no such definitions; `make run` writes a dataset")
    mean = math.exp(sum(map(math.log, speeds)) / len(speeds))
    print(  # noqa: T201
        f"speed relative to the peer: geometric mean {mean:.2f}, "
        f"{min(speeds):.2f} to {max(speeds):.2f}"
    )
    if output is not None:
        output.write_text(json.dumps(list(rows), indent=2) + "\n", encoding="utf-8")
