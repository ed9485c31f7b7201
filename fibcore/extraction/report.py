"""What an extraction found, as data: for people, for `--json` and for callers of the API."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from fibcore.errors import FibcoreError
from fibcore.model.json import to_data
from fibcore.model.kernel import Use
from fibcore.model.layer_paths import count_paths, group_uses
from fibcore.model.serving import Serving
from fibcore.model.tree import ModelTree, SourcePlace
from fibcore.sources.tree import SourceTree


@attrs.frozen
class FoundKernel:
    """A kernel of one model at one pair of parallel sizes.

    Attributes:
        name: Name of its definition in the dataset; differs from `kernel` where the dataset has the
            same kernel under another name, or another kernel under this one.
        kernel: The name that its plugin gave it.
        op_type: Its op type.
        outcome: What became of the definition: one of `fibcore.dataset`'s outcomes ("new",
            "merged", "unchanged", ...).
        layers: How many layers of the model run it.
        where: File and line that construct the first of those layers.
        paths: Paths of the layers, in tree order.
        notes: What a reader should know beside it.
    """

    name: str
    kernel: str
    op_type: str
    outcome: str
    layers: int
    where: str
    paths: tuple[str, ...]
    notes: tuple[str, ...] = ()


@attrs.frozen
class Remark:
    """Something missing or undecided, or without a definition: what, why, the layers concerned."""

    what: str
    reason: str
    layers: int
    paths: tuple[str, ...] = ()

    def __str__(self) -> str:
        count = f" ({self.layers} layers)" if self.layers > 1 else ""
        return f"{self.what}: {self.reason}{count}"


@attrs.frozen
class ModelReport:
    """What was found in one model at one (TP, EP).

    Attributes:
        name: The name that was asked for.
        slug: The model slug in tags and reports.
        architecture: The architecture class that was elaborated.
        constants: Where the constants came from: a config file, the Hub, the catalogue.
        source: Version or commit of the SGLang source, and where it lies.
        tp: Tensor-parallel size.
        ep: Expert-parallel size.
        served: The options of the launch that decide about kernels, and the GPU where it is not the
            usual one; "" where there is neither.
        ignored: Options of the launch that decide about no kernel.
        kernels: The kernels, op type by op type.
        missing: What should be in the model tree and could not be elaborated.
        problems: What plugins could not decide.
        not_covered: Ops that plugins recognised and have no definition for.
        moves: Copies and collectives, which are no gaps: nobody defines those.
        unclaimed: Class name to number of layers that no installed plugin accounts for.
        covered_by: Those of these names that a plugin covers which is not in use, with the
            distributions to install.
        warnings: What a reader should know although nothing is missing.
        errors: Plugins that raised, as errors; the other plugins' kernels are in `kernels`.
        class_defaults: Keys that the config lacks and that constants of kernels were
            computed from, by the config class that defaults them, `LlamaConfig, transformers 5.0`.
    """

    name: str
    slug: str
    architecture: str
    constants: str
    source: str
    tp: int
    ep: int
    served: str = ""
    ignored: tuple[str, ...] = ()
    kernels: tuple[FoundKernel, ...] = ()
    missing: tuple[Remark, ...] = ()
    problems: tuple[Remark, ...] = ()
    not_covered: tuple[Remark, ...] = ()
    moves: tuple[Remark, ...] = ()
    unclaimed: Mapping[str, int] = attrs.field(factory=dict)
    covered_by: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)
    warnings: tuple[str, ...] = ()
    errors: tuple[FibcoreError, ...] = ()
    class_defaults: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)

    @property
    def label(self) -> str:
        """Slug and parallel sizes, as people read them: `llama-3.1-8b (TP 1, EP 1)`."""
        return f"{self.slug} (TP {self.tp}, EP {self.ep})"

    @property
    def complete(self) -> bool:
        """Whether nothing is missing or undecided and no plugin failed."""
        return not (self.missing or self.problems or self.errors)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        data = to_data(self)
        errors = data.pop("errors")
        return {**data, "complete": self.complete, "errors": errors}


@attrs.frozen
class Refused:
    """A model, or one of its (TP, EP) combinations, that could not be extracted at all."""

    name: str
    error: FibcoreError
    tp: int | None = None
    ep: int | None = None

    @property
    def label(self) -> str:
        """The model and, where it is one of several combinations, the parallel sizes."""
        sizes = f" (TP {self.tp}, EP {self.ep})" if self.tp is not None else ""
        return self.name + sizes

    def __str__(self) -> str:
        """The model and the error; a model that the error names already is said once."""
        return str(self.error) if self.error.where == self.label else f"{self.label}: {self.error}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"name": self.name, "tp": self.tp, "ep": self.ep, "error": self.error.to_dict()}


@attrs.frozen
class ExtractReport:
    """The result of `fibcore.extract`.

    Attributes:
        dataset: Folder of the dataset.
        dry_run: Whether nothing was written.
        models: One entry for every model and (TP, EP) combination.
        refused: Models and combinations that could not be extracted.
        definitions: Definition name to the slugs of the models of this run that use it.
        shared: The same for definitions that several models use, with all models of the dataset.
        outcomes: Definition name to what became of it.
        conflicts: One line for every definition whose name was taken by a different kernel.
        errors: Plugins that could not be loaded although they were asked for, dataset files that
            are broken, definitions that could not be written.
        skipped_plugins: Installed plugins that were left out, and why.
    """

    dataset: str
    dry_run: bool
    models: tuple[ModelReport, ...] = ()
    refused: tuple[Refused, ...] = ()
    definitions: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)
    shared: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)
    outcomes: Mapping[str, str] = attrs.field(factory=dict)
    conflicts: tuple[str, ...] = ()
    errors: tuple[FibcoreError, ...] = ()
    skipped_plugins: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """How many definitions had each outcome, and how many models are whole or partial."""
        counts = dict(sorted(Counter(self.outcomes.values()).items()))
        counts["definitions"] = len(self.outcomes)
        counts["partial models"] = sum(not m.complete for m in self.models)
        counts["refused"] = len(self.refused)
        return counts

    @property
    def failures(self) -> tuple[str, ...]:
        """Why `exit_code` is not 0, one line each; empty where all went well."""
        lines = [f"{r.label}: {r.error.message}" for r in self.refused]
        for model in self.models:
            parts = []
            if model.missing:
                parts.append(f"{sum(m.layers for m in model.missing)} missing from the model tree")
            if model.problems:
                parts.append(f"{len(model.problems)} undecided")
            if model.errors:
                parts.append(f"{len(model.errors)} failed in a plugin")
            if parts:
                lines.append(f"{model.label} is partial: {', '.join(parts)}")
        lines += [f"{e.where}: {e.message}" if e.where else e.message for e in self.errors]
        return tuple(lines)

    @property
    def exit_code(self) -> int:
        """0 where all that was asked for is whole, 2 where nothing but usage was wrong, else 1."""
        if not self.failures:
            return 0
        only_refused = not self.models and not self.errors
        if only_refused and all(r.error.exit_code == 2 for r in self.refused):
            return 2
        return 1

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `--json` prints it."""
        return {
            "dataset": self.dataset,
            "dry_run": self.dry_run,
            "counts": self.counts,
            "models": [m.to_dict() for m in self.models],
            "refused": [r.to_dict() for r in self.refused],
            "definitions": {
                name: {"outcome": outcome, "models": list(self.definitions.get(name, ()))}
                for name, outcome in self.outcomes.items()
            },
            "shared": {name: list(models) for name, models in self.shared.items()},
            "conflicts": list(self.conflicts),
            "errors": to_data(self.errors),
            "skipped_plugins": list(self.skipped_plugins),
            "failures": list(self.failures),
            "exit_code": self.exit_code,
        }


def remark(what: str, reason: str, uses: Iterable[Use]) -> Remark:
    """A remark about layers, what differs in a number alone as one path."""
    groups = group_uses(uses)
    return Remark(
        what, reason, len({use.path for use in uses}), tuple(paths for paths, _, _ in groups)
    )


def missing_parts(tree: ModelTree) -> tuple[Remark, ...]:
    """What is missing from a tree, with what differs in a layer number alone as one remark."""
    nowhere = SourcePlace("", 0)
    uses = (Use(m.path, m.reason, m.place or nowhere) for m in tree.missing)
    return tuple(
        Remark(
            paths,
            reason if place == nowhere else f"{reason} ({place})",
            count_paths(paths),
        )
        for paths, reason, place in group_uses(uses)
    )


def not_followed(tree: ModelTree) -> tuple[str, ...]:
    """Where calls of kernels may be lacking, one line for each reason."""
    paths: dict[str, list[str]] = {}
    for part in tree.not_followed:
        where = f" ({part.place})" if part.place is not None else ""
        paths.setdefault(f"{part.reason}{where}", []).append(part.path)
    return tuple(
        f"what {first}{f' and {len(more)} more' if more else ''} launches may be more: {reason}"
        for reason, (first, *more) in paths.items()
    )


def unread(serving: Serving) -> tuple[str, ...]:
    """Variables of the environment before a launch line that decide about nothing, in a line."""
    launch = serving.launch
    names = [] if launch is None else [n for n in launch.variables if n in launch.ignored]
    if not names:
        return ()
    return (f"variables before the launch line that decide about no kernel: {', '.join(names)}",)


def number_of_classes(uses: Iterable[Use]) -> dict[str, int]:
    """Class name to number, the most frequent first."""
    counts = Counter(u.cls.rpartition(".")[2] for u in uses)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def source_label(source: SourceTree) -> str:
    """Version, commit and origin of a source in a line for people."""
    commit = f" commit {source.commit[:12]}" if source.commit else ""
    return f"sglang {source.version or 'of unknown version'}{commit} ({source.origin})"
