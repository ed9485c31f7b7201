"""Compare the datasets that two checkouts write, for a change that must not change them.

    python tools/golden.py OLD NEW --configs DIR --sglang 0.5.9=FOLDER --sglang 0.5.23=FOLDER

OLD and NEW are checkouts, each with a virtual environment at `.venv` that holds fibcore and its
plugins. For every SGLang source and every `config.json` in DIR both extract, both write reference
tests, workloads and solutions, and every byte of the two datasets is compared. The exit status is 0
where all are equal; every file that differs is printed with the lines that do.
"""

from __future__ import annotations

import argparse
import difflib
import json
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SERVINGS = (("--tp", "1"), ("--tp", "8", "--ep", "8", "--gemm-shapes", "rank"))
WRITERS = (
    ("add-reference-tests", "--all"),
    ("add-workloads", "--all", "--limit", "2", "--max-memory", "64MiB"),
    ("add-solutions", "--all"),
)
LINES = 12


def write_dataset(checkout: Path, sglang: Path, configs: list[Path], dataset: Path) -> list[str]:
    """Let a checkout write a dataset of all configs; the exit status of every command, by name."""
    command = [str(checkout / ".venv" / "bin" / "python"), "-m", "fibcore"]
    steps = [
        (
            *("extract", "--model-name", config.stem, "--config", str(config)),
            *("--sglang", str(sglang), *serving),
        )
        for config in configs
        for serving in SERVINGS
    ]
    statuses = []
    for step in [*steps, *WRITERS]:
        done = subprocess.run(  # noqa: S603 - our own command line
            [*command, *step, "--dataset", str(dataset), "--quiet"],
            cwd=checkout,
            capture_output=True,
            text=True,
            check=False,
        )
        statuses.append(f"{' '.join(step)}: {done.returncode}")
        if "Traceback" in done.stderr:
            statuses.append(done.stderr)
    return statuses


def files_of(folder: Path) -> dict[str, bytes]:
    """The files of a dataset by relative path, without locks."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def differences(old: dict[str, bytes], new: dict[str, bytes]) -> list[str]:
    """Every file that only one dataset has, or that differs, with its first lines that do."""
    found = [f"only in the old dataset: {name}" for name in sorted(old.keys() - new.keys())]
    found += [f"only in the new dataset: {name}" for name in sorted(new.keys() - old.keys())]
    for name in sorted(old.keys() & new.keys()):
        if old[name] != new[name]:
            lines = difflib.unified_diff(
                old[name].decode(errors="replace").splitlines(),
                new[name].decode(errors="replace").splitlines(),
                lineterm="",
                n=0,
            )
            shown = [line[:160] for line in list(lines)[2:LINES]]
            found.append("\n  ".join([f"differs: {name}", *shown]))
    return found


def main() -> int:
    """Compare and print; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--configs", type=Path, required=True)
    parser.add_argument("--sglang", action="append", required=True, metavar="VERSION=FOLDER")
    parser.add_argument("--cache", type=Path, help="keep the old checkout's datasets here")
    options = parser.parse_args()
    configs = sorted(options.configs.resolve().glob("*.json"))
    wrong = 0
    with tempfile.TemporaryDirectory() as scratch:
        kept = (options.cache or Path(scratch, "old")).resolve()
        for source in options.sglang:
            version, _, folder = source.partition("=")
            old, new = kept / version, Path(scratch, "new", version)
            record = kept / f"{version}.statuses.json"

            def of_old(root: Path = old, into: Path = record, tree: str = folder) -> list[str]:
                if into.exists():
                    statuses: list[str] = json.loads(into.read_text())
                    return statuses
                statuses = write_dataset(options.old.resolve(), Path(tree).resolve(), configs, root)
                into.write_text(json.dumps(statuses))
                return statuses

            with ThreadPoolExecutor() as pool:
                before = pool.submit(of_old)
                after = write_dataset(options.new.resolve(), Path(folder).resolve(), configs, new)
            old_files, new_files = files_of(old), files_of(new)
            found = [
                f"exit status: {a} -> {b}"
                for a, b in zip(before.result(), after, strict=False)
                if a != b
            ]
            found += differences(old_files, new_files)
            print(f"SGLang {version}: {len(old_files)} files, {len(found)} differences")  # noqa: T201
            for line in found:
                print(line)  # noqa: T201
            wrong += len(found)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
