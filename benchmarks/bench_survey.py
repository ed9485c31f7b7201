"""Speed of a survey of all architectures, and what one process more is worth.

Every measurement is a whole `fibcore survey`, started anew. Processes take turns, so that a slow
moment of the machine hits all of them. Besides real time the processor time of all processes is
given, which other work on the machine changes least, and the memory of the largest process.

    python benchmarks/bench_survey.py [--sglang SRC] [--jobs 1,2] [--repetitions 1] [--json]
    python benchmarks/bench_survey.py --models      # those of docs/share.md alone
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMIT_S = 180.0
"""Seconds for all architectures of a source, with the most processes."""
MODELS_LIMIT_S = 300.0
"""Seconds for the models of docs/share.md, with costs of all their launches."""
TOOLS = Path(__file__).resolve().parents[1] / "tools"


def measure(jobs: int, arguments: list[str]) -> dict[str, float | str]:
    """Seconds of real and processor time of one survey, and its slowest models.

    Raises:
        SystemExit: it went wrong; what it said is shown.
    """
    with tempfile.TemporaryDirectory() as output:
        command = [
            *(sys.executable, "-m", "fibcore", "survey", "--json", "--jobs", str(jobs)),
            *("--output", output, *arguments),
        ]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        seconds = time.perf_counter() - start
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        report = json.loads(done.stdout)
        counts, timings = report["counts"], report["timings"]["models"]
    except (ValueError, KeyError):
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}") from None
    slowest = [f"{name} {took:.1f} s" for name, took in list(timings.items())[:5]]
    return {
        "seconds": seconds,
        "processor_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "largest_mib": after.ru_maxrss / 1024,  # of all children so far
        "architectures": counts["architectures"],
        "models": len(timings),
        "slowest": ", ".join(slowest),
    }


def main() -> int:
    """Measure, print, and return 1 where the limit is not kept."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parser = argparse.ArgumentParser(description="speed of a survey")
    parser.add_argument(
        "--target-dir", default="./repos", help="folder that holds the repositories"
    )
    parser.add_argument("--sglang", help="SGLang source, as for fibcore survey")
    parser.add_argument("--configs", type=Path, help="folder of configs, as for fibcore survey")
    parser.add_argument("--models", action="store_true", help="only the models of docs/share.md")
    parser.add_argument(
        "--jobs", default=f"1,{cores}", help="numbers of processes, with commas between"
    )
    parser.add_argument("--repetitions", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    arguments = ["--target-dir", options.target_dir]
    arguments += ["--sglang", options.sglang] if options.sglang else []
    arguments += ["--configs", str(options.configs)] if options.configs else []

    if options.models:
        with tempfile.TemporaryDirectory() as folder:
            return compared(options, [*arguments, *of_the_table(Path(folder))])
    return compared(options, arguments)


def of_the_table(folder: Path) -> list[str]:
    """Arguments for the models of docs/share.md, whose configs are written to a folder."""
    sys.path.insert(0, str(TOOLS))
    share_table = importlib.import_module("share_table")  #

    written = json.loads(share_table.CONFIGS.read_text(encoding="utf-8"))
    for name, config in written.items():
        (folder / f"{name}.json").write_text(json.dumps(config), encoding="utf-8")
    names = (*share_table.MODELS, *written)
    return ["--configs", str(folder), *(word for n in names for word in ("--model-name", n))]


def compared(options: argparse.Namespace, arguments: list[str]) -> int:
    """Measure with each number of processes and print; 1 where the limit is not kept."""
    jobs = sorted({int(number) for number in options.jobs.split(",")})
    runs: dict[int, list[dict[str, float | str]]] = {number: [] for number in jobs}
    for _ in range(options.repetitions):
        for number in jobs:
            runs[number].append(measure(number, arguments))
    medians = {
        number: {
            key: statistics.median(float(run[key]) for run in found)
            for key in ("seconds", "processor_seconds", "largest_mib")
        }
        for number, found in runs.items()
    }
    limit = MODELS_LIMIT_S if options.models else LIMIT_S
    kept = medians[jobs[-1]]["seconds"] < limit
    if options.json:
        result = {"runs": runs, "medians": medians, "limit_s": limit, "kept": kept}
        print(json.dumps(result, indent=2))  # noqa: T201 - a program's output
        return 0 if kept else 1
    last = runs[jobs[-1]][-1]
    print(f"{last['architectures']} architectures, {last['models']} models")  # noqa: T201
    for number, found in medians.items():
        print(  # noqa: T201
            f"{number} processes: {found['seconds']:6.1f} s, "
            f"{found['processor_seconds']:6.1f} s of processor time, "
            f"{found['largest_mib']:.0f} MiB in the largest process"
        )
    print(f"slowest: {last['slowest']}")  # noqa: T201
    words = "within the limit" if kept else "NOT KEPT: the limit"
    print(f"{words} of {limit:g} s with {jobs[-1]} processes")  # noqa: T201
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
