"""Speed and memory of extraction, with their peers measured in the same run.

Every measurement is a whole process, started anew, and what is compared is processor time. The
contestants take turns, so that a slow moment of the machine hits all of them, and medians are
compared. The first round warms the file cache, has Python keep the bytecode of a checkout as pip
does of what it installs, and is not counted.

    python benchmarks/bench_extract.py [--sglang SRC] [--configs DIR] [--repetitions 5] [--json]

With `--configs`, the model of every config.json file in the folder is measured as well.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

from processes import as_installed, measure

EXTRACT_LIMIT = 1.0  # of any model, in times of `import torch`
IMPORT_LIMIT = 0.15  # what `import fibcore` costs beyond starting Python, likewise
MEMORY_LIMIT_MB = 150.0


def contestants(
    scratch: Path, target_dir: str, sglang: str | None, configs: str | None
) -> dict[str, list[str]]:
    """Name to command line; extraction writes into its own dataset below `scratch`."""
    source = ["--target-dir", target_dir, *(["--sglang", sglang] if sglang else [])]
    commands = {
        "python": [sys.executable, "-c", "pass"],
        "import torch": [sys.executable, "-c", "import torch"],
        "import fibcore": [sys.executable, "-c", "import fibcore"],
    }
    models: dict[str, list[str]] = {"llama": [], "deepseek_v3": []}
    if configs is not None:
        files = sorted(Path(configs).glob("*.json"))
        if not files:
            raise SystemExit(f"--configs {configs}: no *.json file is there")
        models.update({file.stem: ["--config", str(file)] for file in files})
    for model, config in models.items():
        dataset = str(scratch / model)
        commands[f"extract {model}"] = [
            *(sys.executable, "-m", "fibcore", "extract", "--model-name", model, *config),
            *("--dataset", dataset, *source),
        ]
    return commands


def main() -> int:
    """Measure, print, and return 1 where a limit is not kept."""
    parser = argparse.ArgumentParser(description="speed and memory of extraction")
    parser.add_argument(
        "--target-dir", default="./repos", help="folder that holds the repositories"
    )
    parser.add_argument("--sglang", help="SGLang source, as for fibcore extract")
    parser.add_argument("--configs", help="folder of config.json files to measure too")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()

    seconds: dict[str, list[float]] = {}
    memory: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        environment = as_installed(Path(scratch, "bytecode"))
        for repetition in range(options.repetitions + 1):
            folder = Path(scratch, str(repetition))
            commands = contestants(folder, options.target_dir, options.sglang, options.configs)
            for name, command in commands.items():
                took, peak = measure(command, environment)
                if repetition:
                    seconds.setdefault(name, []).append(took)
                    memory.setdefault(name, []).append(peak)

    medians = {name: statistics.median(values) for name, values in seconds.items()}
    peaks = {name: max(values) for name, values in memory.items()}
    torch = medians["import torch"]
    ratios = {
        f"{name} / import torch": median / torch
        for name, median in medians.items()
        if name.startswith("extract")
    }
    limits = dict.fromkeys(ratios, EXTRACT_LIMIT)
    # The interpreter starts in both; what importing costs is what comes on top.
    importing = "(import fibcore - python) / import torch"
    ratios[importing] = (medians["import fibcore"] - medians["python"]) / torch
    limits[importing] = IMPORT_LIMIT
    broken = [name for name, limit in limits.items() if ratios[name] >= limit]
    broken += [
        f"peak memory of {name}"
        for name, peak in peaks.items()
        if name.startswith("extract") and peak >= MEMORY_LIMIT_MB
    ]
    result = {
        "repetitions": options.repetitions,
        "seconds": seconds,
        "median_seconds": medians,
        "peak_mb": peaks,
        "ratios": ratios,
        "limits": {**limits, "peak_mb": MEMORY_LIMIT_MB},
        "broken": broken,
    }
    if options.json:
        print(json.dumps(result, indent=2))  # noqa: T201 - a program's output
    else:
        for name, median in medians.items():
            spread = f"{min(seconds[name]):.2f} to {max(seconds[name]):.2f}"
            print(f"{name:48} {median:6.2f} s ({spread})  {peaks[name]:6.1f} MB")  # noqa: T201
        for name, ratio in ratios.items():
            print(f"{name:62} {ratio:5.2f}  (limit {limits[name]})")  # noqa: T201
        print("within all limits" if not broken else "NOT KEPT: " + "; ".join(broken))  # noqa: T201
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
