"""The version ladder: every config on every SGLang release, and what differs between neighbours.

    python benchmarks/bench_ladder.py --sources DIR --configs DIR [--releases 0.5.9,0.5.23]
        [--only NAME,...] [--skip NAME,...] [--results FILE [--keep]] [--write docs/ladder.md]

`DIR` of sources holds one unpacked wheel for each release, `sglang-0.5.9` and so on; without
`--releases` all that are there are climbed. Nothing is downloaded but transformers' source text,
where a release requires one whose table is not shipped.

One process looks at everything, so that a release is parsed once for all configs. Results are kept
in a file by release and by the text of fibcore itself: a ladder that was stopped goes on where it
was, and after a change of fibcore it starts anew, unless `--keep` says that older results count.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import hashlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ladder_report import differences, page, summary

from fibcore.errors import FibcoreError, UnknownModelError
from fibcore.extraction.find import FoundKernels, few_collections, find_kernels, resolve
from fibcore.extraction.report import missing_parts, number_of_classes
from fibcore.model.serving import Serving
from fibcore.ops.registry import Registry, load_plugins
from fibcore.sources.tree import SourceTree, tree_at

ROOT = Path(__file__).parent.parent
NOTES = Path(__file__).with_name("ladder_notes.json")
"""What explains differences between neighbours."""
GOAL = 0.97
LIMIT_S = 60
"""Seconds of processor time for one config."""

Result = dict[str, Any]


def main() -> int:
    """Climb, print what came of it, and return 1 where a release is below 97 % whole."""
    options = _options()
    if options.configs is None or options.sources is None:
        print("the ladder needs --sources and --configs")  # noqa: T201 - a program's output
        return 0
    registry = load_plugins()
    results = _Results(options.results, keep=options.keep)
    configs = _configs(options)
    climbed: dict[str, dict[str, Result]] = {}
    for version in options.releases or _releases(options.sources):
        _climb(version, options.sources, configs, results, registry)
        climbed[version] = {c.stem: results.of(version)[c.stem] for c in configs}
        print(f"{version:8} {summary(climbed[version])}", flush=True)  # noqa: T201
        if options.verbose:
            _print_reasons(climbed[version])
    if options.differences:
        for each in differences(climbed):
            print(each.after, each.config, *each.changes, sep="\n    ")  # noqa: T201
    if options.write is not None:
        notes = json.loads(NOTES.read_text(encoding="utf-8"))
        today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
        text = page(climbed, {v: results.commit_of(v) for v in climbed}, today, notes)
        options.write.write_text(text, encoding="utf-8")
    return int(any(_share(r) < GOAL for r in climbed.values()))


def _climb(
    version: str, sources: Path, configs: list[Path], results: _Results, registry: Registry
) -> None:
    """Look at the configs that have no result yet on a release."""
    known = results.of(version)
    todo = [c for c in configs if c.stem not in known]
    if not todo:
        return
    source = tree_at(sources / f"sglang-{version}" / "sglang", "sglang", f"sglang-{version}")
    for config in todo:  # the process keeps the syntax of the source for all of them
        known[config.stem] = _look(source, config, registry)
    results.save()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="every config on every SGLang release")
    parser.add_argument("--sources", type=Path, help="folder of unpacked wheels, sglang-VERSION")
    parser.add_argument("--configs", type=Path, help="folder of config.json files")
    parser.add_argument("--releases", type=_words, help="releases, with commas between")
    parser.add_argument("--only", type=_words, default=[], help="parts of names of configs")
    parser.add_argument("--skip", type=_words, default=[], help="parts of names of configs")
    parser.add_argument("--results", type=Path, help="JSON file that keeps results")
    parser.add_argument(
        "--keep", action="store_true", help="let results of another text of fibcore count"
    )
    parser.add_argument("--write", type=Path, help="Markdown page to write")
    parser.add_argument("--differences", action="store_true", help="print what differs")
    parser.add_argument("--verbose", action="store_true", help="print why models are not whole")
    return parser.parse_args()


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def _releases(sources: Path) -> list[str]:
    found = [p.name[len("sglang-") :] for p in sources.glob("sglang-*") if (p / "sglang").is_dir()]
    return sorted(found, key=lambda v: [int(n) for n in v.replace("rc", ".").split(".")])


def _configs(options: argparse.Namespace) -> list[Path]:
    return [
        path
        for path in sorted(options.configs.glob("*.json"))
        if (not options.only or any(word in path.stem for word in options.only))
        and not any(word in path.stem for word in options.skip)
    ]


def _text_of_fibcore() -> str:
    """A digest of everything that a result depends on beside the source and the config."""
    digest = hashlib.sha256()
    for folder in ("fibcore", "plugins"):
        for path in sorted((ROOT / folder).rglob("*.py")) + sorted((ROOT / folder).rglob("*.json")):
            digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]


class _Results:
    """What is known already, by release and config.

    Args:
        path: The file that keeps it; None for none.
        keep: Whether results of another text of fibcore still count.
    """

    def __init__(self, path: Path | None, *, keep: bool) -> None:
        self.path = path
        self.text = _text_of_fibcore()
        kept = json.loads(path.read_text()) if path is not None and path.is_file() else {}
        self.releases: dict[str, dict[str, Any]] = {
            version: held for version, held in kept.items() if keep or held["text"] == self.text
        }

    def of(self, version: str) -> dict[str, Result]:
        """The results of a release, by config."""
        new = {"text": self.text, "commit": _commit(), "configs": {}}
        found: dict[str, Result] = self.releases.setdefault(version, new)["configs"]
        return found

    def commit_of(self, version: str) -> str:
        """The commit of fibcore that a release was looked at with."""
        return str(self.releases[version]["commit"])

    def save(self) -> None:
        """Write everything to the file."""
        if self.path is not None:
            self.path.write_text(json.dumps(self.releases, indent=1))


def _commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    return done.stdout.strip() or "unknown"


class _TooLongError(Exception):
    """A config takes more than `LIMIT_S`."""


def _too_long(*_: object) -> None:
    raise _TooLongError(f"more than {LIMIT_S} s")


def _look(source: SourceTree, config: Path, registry: Registry) -> Result:
    start = time.process_time()
    signal.signal(signal.SIGVTALRM, _too_long)
    signal.setitimer(signal.ITIMER_VIRTUAL, LIMIT_S)
    try:
        with few_collections():
            model = resolve(config.stem, source, config=str(config))
            result = _result(find_kernels(source, model, Serving(), registry))
    except UnknownModelError as error:
        result = {"state": "not registered", "reasons": [error.summary]}
    except FibcoreError as error:
        result = {"state": "refused", "reasons": [f"{error.where or ''}: {error.summary}"]}
    except Exception as error:  # noqa: BLE001 - a defect is one config's; the others go on
        result = {"state": "failed", "reasons": [f"{type(error).__name__}: {error}"]}
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    gc.collect()
    return {**result, "seconds": round(time.process_time() - start, 2)}


def _result(found: FoundKernels) -> Result:
    reasons = [f"{m.what}: {m.reason}" for m in missing_parts(found.tree)]
    reasons += [f"{p.what}: {p.reason}" for p in found.problems]
    reasons += [error.summary for error in found.errors]
    kernels = {
        k.name: {"layers": len({u.path for u in k.uses}), **_plain(k.parameters)}
        for k in found.kernels
    }
    others: dict[str, int] = {}
    for op in found.not_covered:
        others[op.what] = others.get(op.what, 0) + len({u.path for u in op.uses})
    return {
        "state": "partial" if reasons else "whole",
        "reasons": reasons,
        "kernels": kernels,
        "not covered": {**others, **number_of_classes(found.unclaimed)},
        "warnings": list(found.tree.warnings),
    }


def _plain(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {str(name): value for name, value in parameters.items() if name != "layers"}


def _share(results: Mapping[str, Result]) -> float:
    states = [r["state"] for r in results.values() if r["state"] != "not registered"]
    return sum(s == "whole" for s in states) / max(len(states), 1)


def _print_reasons(results: Mapping[str, Result]) -> None:
    for name, result in results.items():
        if result["state"] not in ("whole", "not registered"):
            print(f"    {name}: {result['state']}")  # noqa: T201
            for reason in result["reasons"][:6]:
                print(f"        {reason[:300]}")  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
