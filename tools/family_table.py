"""Say of the model families of the day, and of variants of them, whether they are whole.

    python tools/family_table.py --sglang 0.5.9=FOLDER --sglang 0.5.23=FOLDER [--configs DIR]...
        [--family NAME]... [--ends] [--tp N] [--jobs N] [--output FILE] [--json FILE]

FOLDER holds the package `sglang` of that release, DIR config.json files. A family's configs are
those of its architectures in `share_configs.json`, in the built-in catalogue, in
`family_variants.json` and below DIR. Each is looked at as it is; the first of each architecture
also as `family_variants.json` varies it: quantised in each way in which checkpoints of the family
are, in other sizes, and as the draft models beside it. With --ends an architecture is looked at on
the last release given and on the first that registers it.

A row is whole, partial (something is missing or undecided), refused or failed (a defect), with the
reasons and the seconds of processor time that tree, kernels and steps take. The exit status is 1
where one is not whole and `refused_by_sglang` does not say why SGLang does not take it either.
"""

from __future__ import annotations

import argparse
import copy
import fnmatch
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import attrs

from fibcore.configs.catalogue import catalogue
from fibcore.configs.model_config import QUANT_FILE, ModelConfig, read_config
from fibcore.elaborate import draft_of, model_files
from fibcore.errors import ConfigError
from fibcore.model.serving import Serving
from fibcore.ops.registry import Registry, load_plugins
from fibcore.processes import machine
from fibcore.reports.survey.examine import examine
from fibcore.reports.survey.task import Task
from fibcore.sources.tree import tree_at

HERE = Path(__file__).parent
RULES: Mapping[str, Any] = json.loads((HERE / "family_variants.json").read_text("utf-8"))
SHARE_CONFIGS = HERE / "share_configs.json"
STATES = ("whole", "partial", "refused", "failed")
LAYERS = "num_hidden_layers"
INNER = ("text_config", "llm_config", "language_config")
"""Where a config of several parts keeps the sizes of its language model."""
SECTION = "quantization_config"
DRAFT_LAYERS = 8
"""How many layers of drafts lists may have behind those of the model."""

Config = dict[str, Any]


@attrs.frozen
class Variant:
    """A config to look at.

    Attributes:
        family: Its family.
        name: The config's name, with what was varied behind a `+`.
        config: The config.
        asks_release: Whether it is the draft model that a release finds in this checkpoint.
    """

    family: str
    name: str
    config: Config
    asks_release: bool = False

    @property
    def architecture(self) -> str:
        """The class that the config names."""
        return str(self.config["architectures"][0])


@attrs.frozen
class Row:
    """What became of a variant on a release.

    Attributes:
        release: The release.
        family: The family.
        variant: The variant's name.
        architecture: The class that was elaborated.
        state: One of `STATES`.
        reasons: Why it is not whole.
        seconds: Processor time of tree, kernels and steps.
        launches: Stage to how many launches a step has.
        unknown: Launches of which nothing is known, by name, of both steps.
        judged: Why SGLang refuses it too, where `family_variants.json` says so.
    """

    release: str
    family: str
    variant: str
    architecture: str
    state: str
    reasons: tuple[str, ...] = ()
    seconds: float = 0.0
    launches: Mapping[str, int] = attrs.field(factory=dict)
    unknown: Mapping[str, int] = attrs.field(factory=dict)
    judged: str = ""


def text_of(config: Config) -> Config:
    """The part of a config that has the sizes of its language model."""
    inner = (config[key] for key in INNER if isinstance(config.get(key), dict))
    return next((part for part in inner if LAYERS in part), config)


def variants(family: str, bases: Mapping[str, Config]) -> Iterator[Variant]:
    """The configs of a family as they are, and what the rules make of the first of each class."""
    varied: set[str] = set()
    for name, base in bases.items():
        yield Variant(family, name, base)
        architecture = base["architectures"][0]
        if architecture not in varied:
            varied.add(architecture)
            yield from _varied(family, name, base)
        elif any(text_of(base).get(key) for key in RULES["drafts"]["nextn"]["asks"]):
            yield from _draft(family, name, base, "nextn")


def _varied(family: str, name: str, base: Config) -> Iterator[Variant]:
    rules = RULES["families"][family]
    plain = unquantised(base)
    if plain != base:
        yield Variant(family, f"{name}+unquantised", plain)
    for quantization in rules["quantizations"]:
        yield Variant(family, f"{name}+{quantization}", quantised(plain, quantization, rules))
    for size, change in RULES["sizes"].items():
        resized_config = resized(base, change)
        if resized_config != base:
            yield Variant(family, f"{name}+{size}", resized_config)
    for draft in rules["drafts"]:
        yield from _draft(family, name, base, draft)
    named = rules.get("nextn", {}).get(base["architectures"][0])
    if named is not None:
        config = {**base, "architectures": [named]}
        yield Variant(family, f"{name}+nextn", config)


def _draft(family: str, name: str, base: Config, draft: str) -> Iterator[Variant]:
    rule = RULES["drafts"][draft]
    text = text_of(base)
    if "asks" in rule:
        if any(text.get(key) for key in rule["asks"]):
            yield Variant(family, f"{name}+{draft}", base, asks_release=True)
        return
    if rule.get("keeps"):  # all of the target's config, with what is the draft's own
        config = copy.deepcopy({**base, **rule["set"]})
        text_of(config).update(rule.get("text", {}))
    else:
        config = copy.deepcopy(rule["set"])
        config.update({key: text[key] for key in rule["takes"] if key in text})
    yield Variant(family, f"{name}+{draft}", config)


def unquantised(base: Config) -> Config:
    """A config of weights that are stored as they were trained."""
    plain = copy.deepcopy(base)
    for part in (plain, text_of(plain)):
        part.pop(SECTION, None)
    return plain


def quantised(plain: Config, quantization: str, rules: Mapping[str, Any]) -> Config:
    """A config of weights that are stored in a way of `quantizations`.

    Args:
        plain: The config without.
        quantization: The way's name.
        rules: The family's, which say what such checkpoints leave as it was.
    """
    way = RULES["quantizations"][quantization]
    key, form = way["as"]
    inside = list(rules["gates"])
    if way["leaves_out"] == "attention":
        inside += rules["attention"]
    head, outside = rules.get("head", "lm_head"), rules.get("outside", ())
    section = copy.deepcopy(way["section"])
    # A gate's name is the beginning of a projection's, and stands for itself alone.
    ends = {name: "$" if name in rules["gates"] else ".*" for name in inside}
    patterns = [f".*{re.escape(name)}{end}" for name, end in ends.items()]
    patterns += [f"{re.escape(name)}.*" for name in outside]
    if form == "bare":  # AWQ's names are parts of a path, such as `mlp.gate.`
        section[key] = [head, *outside]
        section[key] += [f"{name}." if name.endswith(".gate") else name for name in inside]
    elif form == "regex":
        section[key] = [head, *(f"re:{pattern}" for pattern in patterns)]
    elif form == "minus":  # GPTQModel's rules: a minus and a pattern leaves layers out
        section[key] = {f"-:{pattern}": {} for pattern in patterns}
    else:
        star = "*" if form == "glob" else ""
        layers, number = rules.get("layers", "model.layers"), text_of(plain)[LAYERS]
        names = [name if name in rules["gates"] else f"{name}{star}" for name in inside]
        section[key] = [head, *(f"{name}{star}" for name in outside)]
        first = first_with_experts(text_of(plain))
        section[key] += [
            f"{layers}.{n}.{name}"
            for n in range(number)
            for name in names
            if n >= first or name not in rules["gates"]
        ]
    return {**plain, SECTION: section}


def first_with_experts(text: Config) -> int:
    """The first layer of experts, behind those that are dense and have no gate."""
    for key in ("first_k_dense_replace", "num_dense_layers"):
        if isinstance(text.get(key), int):
            return int(text[key])
    frequency = text.get("moe_layer_freq")
    return frequency.index(1) if isinstance(frequency, list) and 1 in frequency else 0


def resized(base: Config, change: Mapping[str, Any]) -> Config:
    """A config of a sibling of other sizes; the same where it has none of the keys."""
    found = copy.deepcopy(base)
    text = text_of(found)
    if "layers" in change:
        old = text[LAYERS]
        wanted = change["layers"]
        new = old * int(wanted[1:]) if isinstance(wanted, str) else min(wanted, old)
        if new != old:
            for key, value in text.items():
                text[key] = _of_layers(key, value, old, new)
            text[LAYERS] = new
        return found
    for key in change["scale"]:
        value = text.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and value > 1:
            text[key] = int(value * change["by"])
    return found


def _of_layers(key: str, value: Any, old: int, new: int) -> Any:
    """What a key says of a model that has another number of layers.

    Lists and texts with an item for each layer, and perhaps for draft layers behind them, go on as
    they began; lists of layers' numbers end with the last layer, or go on with the same distance.
    """
    times = -(-new // old)
    if isinstance(value, dict):
        return {k: _of_layers(k, v, old, new) for k, v in value.items()}
    if key.endswith("layers_enum") and isinstance(value, str):  # Step's, from 0
        numbers = [int(n) + k * old for k in range(times) for n in value.split(",")]
        return ",".join(str(n) for n in numbers if n < new)
    if key.endswith("_layers") and isinstance(value, list):  # Kimi's, from 1
        return [n for k in range(times) for m in value if (n := m + k * old) <= new]
    if isinstance(value, str) and len(value) == old:
        return (value * times)[:new]
    if isinstance(value, list) and old <= len(value) <= old + DRAFT_LAYERS:
        return (value[:old] * times)[:new] + value[old:]
    return value


def bases(folders: Iterable[Path]) -> dict[str, dict[str, Config]]:
    """Family to its configs by name: written ones, the catalogue's and those in folders."""
    known: dict[str, Config] = dict(json.loads(SHARE_CONFIGS.read_text("utf-8")))
    for rules in RULES["families"].values():
        known.update(rules.get("configs", {}))
    known.update({entry.slug: dict(entry.config) for entry in catalogue()})
    for folder in folders:
        for path in sorted(folder.rglob("*.json")):
            if path.name != QUANT_FILE:
                name = path.stem if path.name != "config.json" else path.parent.name
                try:
                    known[name.rpartition("--")[2]] = read_config(
                        path, path.with_name(QUANT_FILE)
                    ).data
                except ConfigError as error:
                    print(f"{path}: {error.summary}", file=sys.stderr)  # noqa: T201
    found: dict[str, dict[str, Config]] = {family: {} for family in RULES["families"]}
    for name, config in known.items():
        named = (config.get("architectures") or [None])[0]
        for family, rules in RULES["families"].items():
            if named in rules["architectures"]:
                found[family][name] = config
    return found


@cache
def _plugins() -> Registry:
    return load_plugins()


@cache
def _files(folder: Path, release: str) -> Mapping[str, str]:
    files = model_files(tree_at(folder, "sglang", release))
    return {name: file for file, names in files.items() for name in names}


def look(folder: Path, release: str, variant: Variant, tp: int) -> Row | None:
    """Look at a variant on a release; None where the release does not register its class."""
    start = time.process_time()
    source, files = tree_at(folder, "sglang", release), _files(folder, release)
    architecture = variant.architecture
    if architecture not in files:
        return None
    if variant.asks_release:
        config = ModelConfig(variant.name, None, variant.config, "given")
        draft = draft_of(source, config, Serving(tp=tp))
        if draft is None or draft not in files:
            return None
        architecture = draft
    task = Task(architecture, files[architecture], variant.name, "given", variant.config, tp=tp)
    found = examine(task, source, _plugins())
    unknown: Counter[str] = Counter()
    for step in found.steps:
        for kernel in step.kernels:
            unknown[kernel.what] += kernel.count * (kernel.state == "unknown")
    reasons = tuple(map(str, found.reasons))
    return Row(
        release,
        variant.family,
        variant.name,
        architecture,
        found.state,
        reasons,
        round(time.process_time() - start, 2),
        {step.stage: step.total for step in found.steps},
        {what: n for what, n in unknown.items() if n},
        "" if found.state == "whole" else judgement(release, variant.name, architecture, reasons),
    )


def judgement(release: str, variant: str, architecture: str, reasons: Sequence[str]) -> str:
    """Why SGLang does not take a variant either; "" where nobody said so.

    A judgement names the architecture or the variant by a pattern, and words of the reason.
    """
    for each in RULES["refused_by_sglang"]:
        names = (f"{variant}@{release}", f"{architecture}@{release}")
        named = any(fnmatch.fnmatch(name, each["of"]) for name in names)
        if named and any(each["says"] in reason for reason in reasons):
            return str(each["why"])
    return ""


def releases_of(variant: Variant, sources: Mapping[str, Path], *, ends: bool) -> Iterator[str]:
    """The releases to look at a variant on."""
    having = [r for r, folder in sources.items() if variant.architecture in _files(folder, r)]
    yield from ({having[0], list(sources)[-1]} & set(having) if ends and having else having)


def report(rows: Sequence[Row], releases: Iterable[str]) -> Iterator[str]:
    """The page."""
    yield "# Families of models"
    yield ""
    yield "Written by `tools/family_table.py`: configs as they are, and what checkpoints of their"
    yield "families are: quantised in other ways, of other sizes, and the draft models beside them."
    yield ""
    yield f"| SGLang | {' | '.join(STATES)} | refused by SGLang too | CPU s | longest |"
    yield "| --- |" + " ---: |" * (len(STATES) + 3)
    for release in releases:
        some = [row for row in rows if row.release == release]
        if some:
            counts = Counter(row.state for row in some if not row.judged)
            cells = [*(counts[state] for state in STATES), sum(bool(row.judged) for row in some)]
            times = [row.seconds for row in some]
            figures = " | ".join(map(str, cells))
            yield f"| {release} | {figures} | {sum(times):.0f} | {max(times):.1f} |"
    yield ""
    yield f"| family | SGLang | {' | '.join(STATES)} | refused by SGLang too |"
    yield "| --- | --- |" + " ---: |" * (len(STATES) + 1)
    for family, release in dict.fromkeys((row.family, row.release) for row in rows):
        some = [row for row in rows if (row.family, row.release) == (family, release)]
        counts = Counter(row.state for row in some if not row.judged)
        cells = [*(counts[state] for state in STATES), sum(bool(row.judged) for row in some)]
        yield f"| {family} | {release} | {' | '.join(map(str, cells))} |"
    for heading, judged in (("Not whole", False), ("Refused by SGLang too", True)):
        some = [row for row in rows if row.state != "whole" and bool(row.judged) == judged]
        if some:
            yield f"\n## {heading}\n"
        for row in some:
            why = row.judged or "; ".join(row.reasons[:3])
            yield f"- **{row.variant}** ({row.architecture}) on {row.release}, {row.state}: {why}"
    unknown = [row for row in rows if row.unknown]
    if unknown:
        yield "\n## Launches of which nothing is known\n"
    for row in unknown:
        names = ", ".join(f"{what} ({n})" for what, n in row.unknown.items())
        yield f"- **{row.variant}** on {row.release}: {names}"


def main() -> int:
    """Look at all variants and write the page; the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--sglang", required=True, action="append", metavar="VERSION=FOLDER")
    parser.add_argument("--configs", type=Path, action="append", default=[])
    parser.add_argument("--family", action="append", default=[], choices=list(RULES["families"]))
    parser.add_argument("--ends", action="store_true")
    parser.add_argument("--tp", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=machine.cores())
    parser.add_argument("--output", type=Path)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    sources: dict[str, Path] = {}
    for each in given.sglang:
        release, _, folder = each.partition("=")
        sources[release] = Path(folder) / "sglang"
    wanted: list[Variant] = []
    for family, configs in bases(given.configs).items():
        if not given.family or family in given.family:
            wanted += variants(family, configs)
            if not configs:
                print(f"no config of {family}: --configs has none", file=sys.stderr)  # noqa: T201
    places: dict[str, list[Variant]] = {release: [] for release in sources}
    for variant in wanted:
        for release in releases_of(variant, sources, ends=given.ends):
            places[release].append(variant)
    rows: list[Row] = []
    for release, some in places.items():  # each in processes of its own, which parse it once
        with ProcessPoolExecutor(given.jobs) as pool:
            number = len(some)
            found = pool.map(
                look, [sources[release]] * number, [release] * number, some, [given.tp] * number
            )
            rows += [row for row in found if row is not None]
    text = "\n".join(report(rows, sources)) + "\n"
    if given.output is not None:
        given.output.write_text(text, encoding="utf-8")
    else:
        print(text, end="")  # noqa: T201
    if given.json is not None:
        data = [attrs.asdict(row) for row in rows]
        given.json.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    return int(any(row.state != "whole" and not row.judged for row in rows))


if __name__ == "__main__":
    sys.exit(main())
