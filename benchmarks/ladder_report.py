"""What a version ladder found, for people: counts, differences between neighbours, a page."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs

STATES = ("whole", "partial", "refused", "failed", "not registered")
_FILE = re.compile(r"file:\S+")

Result = Mapping[str, Any]
Release = Mapping[str, Result]
Explanations = list[dict[str, str]]


@attrs.frozen
class Difference:
    """What differs between a config's kernels on one release and on the one before."""

    before: str
    after: str
    config: str
    changes: tuple[str, ...]

    def why(self, explanations: Explanations) -> str:
        """What explains it; "" where nothing does."""
        return "; ".join(
            e["why"]
            for e in explanations
            if e["release"] == self.after and re.search(e["configs"], self.config)
        )


def summary(results: Release) -> str:
    """The counts of one release in a line."""
    counts = Counter(r["state"] for r in results.values())
    parts = [f"{counts[s]} {s}" for s in STATES if counts[s]]
    return f"{counts['whole']}/{known(results)} whole: {', '.join(parts)}"


def known(results: Release) -> int:
    """How many configs a release has a model class for."""
    return sum(r["state"] != "not registered" for r in results.values())


def differences(releases: Mapping[str, Release]) -> Iterator[Difference]:
    """What differs between neighbours; a release without a config's kernels is skipped for it."""
    versions = list(releases)
    for before, after in itertools.pairwise(versions):
        for config, new in releases[after].items():
            earlier = [
                releases[v][config]
                for v in versions[: versions.index(after)]
                if releases[v].get(config, {}).get("state") == "whole"
            ]
            if earlier and new["state"] == "whole":
                changes = tuple(_changes(earlier[-1], new))
                if changes:
                    yield Difference(before, after, config, changes)


def _changes(old: Result, new: Result) -> Iterator[str]:
    for kind in ("kernels", "not covered"):
        one, other = old[kind], new[kind]
        for name in sorted({*one, *other}):
            if name not in one:
                yield f"+ {name} x{_layers(other[name])}"
            elif name not in other:
                yield f"- {name} x{_layers(one[name])}"
            elif one[name] != other[name]:
                yield f"{name}: {_differing(one[name], other[name])}"


def _layers(value: Any) -> int:
    return int(value["layers"] if isinstance(value, dict) else value)


def _differing(one: Any, other: Any) -> str:
    if not isinstance(one, dict):
        return f"{one} > {other}"
    keys = (k for k in {**one, **other} if one.get(k) != other.get(k))
    return ", ".join(f"{k} {one.get(k)} > {other.get(k)}" for k in keys)


def page(
    releases: Mapping[str, Release], commits: Mapping[str, str], date: str, notes: Explanations
) -> str:
    """The page in Markdown.

    Args:
        releases: The results by release and config, oldest release first.
        commits: The commit of fibcore that each release was looked at with.
        date: When.
        notes: What explains differences between neighbours.
    """
    lines = [
        "# The version ladder",
        "",
        f"Written by `benchmarks/bench_ladder.py` on {date}. Every public config of the list below",
        "the table, at TP 1, on one patch of each SGLang release. *Whole*: every kernel is known.",
        "",
        "| SGLang | whole | partial | refused | not registered | fibcore |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for version, results in releases.items():
        counts = Counter(r["state"] for r in results.values())
        whole = f"{counts['whole']} of {known(results)}"
        bad = counts["refused"] + counts["failed"]
        row = (whole, counts["partial"], bad, counts["not registered"], f"`{commits[version]}`")
        lines.append(f"| {version} | {' | '.join(map(str, row))} |")
    names = {name for results in releases.values() for name in results}
    lines += ["", f"Configs: {', '.join(sorted(n.partition('--')[2] for n in names))}."]
    lines += ["", "## Not whole", "", *_not_whole(releases)]
    lines += ["", "## What differs between neighbours", ""]
    lines += [
        "Kernels and constants of a config that is whole on both; the rest is the same everywhere.",
        "",
        *_differences(differences(releases), notes),
    ]
    return "\n".join(lines) + "\n"


def _not_whole(releases: Mapping[str, Release]) -> Iterator[str]:
    found: dict[tuple[str, str], list[str]] = {}
    for version, results in releases.items():
        for config, result in results.items():
            if result["state"] not in ("whole", "not registered"):
                reasons = "; ".join(_FILE.sub("the file", r) for r in result["reasons"][:3])
                text = re.sub(r"\.py:\d+", ".py", reasons)
                found.setdefault((config, text), []).append(version)
    for (config, text), versions in found.items():
        yield f"- **{config.partition('--')[2]}** on {', '.join(versions)}: {text}"


def _differences(found: Iterable[Difference], notes: Explanations) -> Iterator[str]:
    for each in found:
        name = each.config.partition("--")[2]
        shown = ", ".join(each.changes[:4]) + (", ..." if len(each.changes) > 4 else "")
        why = each.why(notes) or "*not explained*"
        yield f"- {each.before} to {each.after}, **{name}**: {why} ({shown})"
