"""`fibcore.diff`: which two things are compared, and their extraction."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from fibcore.errors import UsageError
from fibcore.extraction.report import ModelReport, Refused
from fibcore.extraction.run import Findings, FoundModel, Wanted, find_models
from fibcore.ops.registry import Registry, load_plugins
from fibcore.progress import Progress
from fibcore.reports.diff.comparing import compare
from fibcore.reports.diff.report import DiffReport, Mode, ModelDiff
from fibcore.sources.finding import find_source
from fibcore.sources.tree import SourceTree

Config = str | Path | Mapping[str, Any] | None
"""A model's config: a file, plain data, or None for what its name stands for."""

SIDES = ("before", "after")


@attrs.frozen
class _Side:
    """One side of a comparison before it is extracted."""

    names: tuple[str, ...]
    sglang: str | None
    config: Config


def diff(
    model_name: str | Sequence[str],
    *,
    sglang: str | Sequence[str] | None = None,
    config: Config | Sequence[Config] = None,
    trace: str | Path | None = None,
    target_dir: str | Path = "./repos",
    tp: int | Sequence[int] | None = None,
    ep: int | Sequence[int] | None = None,
    op_type: str | Sequence[str] = (),
    stage: str | Sequence[str] | None = None,
    registry: Registry | None = None,
    disable_plugin: Sequence[str] = (),
    progress: Progress | None = None,
    **options: Any,
) -> DiffReport:
    """Compare the kernels of two sources, two models or two configs, or of models and a dump.

    What is compared follows from what is given twice: two `sglang` compare every model on two
    sources; two models compare them on one source; two `config` compare two configs of one model;
    `trace` compares models with a dump of FlashInfer's tracing. Nothing is written.

    Args:
        model_name: One or several models, as for `fibcore.extract`.
        sglang: SGLang's source, or two of them; by default the repository in `target_dir`.
        config: The config of the one model; or two, of the two models or of the two sides, where
            None stands for the config that the name means.
        trace: Folder (or one file) that FlashInfer's tracing wrote.
        target_dir: Folder that holds the repositories.
        tp: Tensor-parallel sizes; by default how the catalogue says the model is served.
        ep: Expert-parallel sizes, likewise.
        op_type: Compare these op types only.
        stage: "decode", "prefill" or both; both by default.
        registry: The plugins; by default all that are installed.
        disable_plugin: Plugins to leave out, by name, where no registry is given.
        progress: Told how far the work is.
        **options: Values of options that op types declare, as for `fibcore.extract`.

    Returns:
        The report. A side that is partial or could not be extracted is in it, and its `exit_code`
        is 1 then; `differs` says whether the sides differ.

    Raises:
        UsageError: a name or an option is wrong, or not exactly one thing is given twice.
        SourceError: there is no source to elaborate.
        TraceError: there is no dump, or nothing of it can be read.
        FibcoreError: no model of either side could be extracted; the first error.
    """
    names = (model_name,) if isinstance(model_name, str) else tuple(dict.fromkeys(model_name))
    sources = (sglang,) if sglang is None or isinstance(sglang, str) else tuple(sglang)
    configs = _configs(config)
    mode = _mode(names, sources, configs, trace)
    if registry is None:
        registry = load_plugins(disable=disable_plugin)
    wanted = Wanted.of(registry, tp, ep, op_type, stage, options)
    trees: dict[str | None, SourceTree] = {}

    def findings(side: _Side) -> Findings:
        if side.sglang not in trees:
            trees[side.sglang] = find_source(side.sglang, Path(target_dir), progress=progress)
        found = find_models(
            side.names, trees[side.sglang], wanted, registry, config=side.config, progress=progress
        )
        gc.collect()  # the syntax trees of this side
        return found

    if trace is not None:
        from fibcore.reports.diff.traced import compare_with_trace
        from fibcore.traces import read_trace

        dump = read_trace(trace)
        found = findings(_Side(names, sources[0], configs[0]))
        _refuse_nothing([found])
        return DiffReport(
            mode,
            trace=compare_with_trace(found, dump, wanted, registry),
            refused=tuple(("before", refused) for refused in found.refused),
        )
    before, after = (findings(side) for side in _sides(mode, names, sources, configs))
    _refuse_nothing([before, after])
    pairs, alone = _pairs(before.models, after.models, same_model=mode != "models")
    refused = [(side, r) for side, f in zip(SIDES, (before, after), strict=True) for r in f.refused]
    return DiffReport(
        mode,
        models=tuple(pairs),
        refused=tuple(refused),
        unpaired=tuple(
            f"{side}: nothing to compare with {model.label}"
            for side, model in alone
            if not any(s == side and _explains(r, model, mode) for s, r in refused)
        ),
    )


def _configs(config: Config | Sequence[Config]) -> tuple[Config, ...]:
    if isinstance(config, Sequence) and not isinstance(config, str):
        return tuple(config) or (None,)
    return (config,)


def _mode(
    names: Sequence[str],
    sources: Sequence[str | None],
    configs: Sequence[Config],
    trace: str | Path | None,
) -> Mode:
    """What is compared with what.

    Raises:
        UsageError: not exactly one thing is given twice.
    """
    if not names:
        raise UsageError("no model is named", where="--model-name", expected="at least one name")
    for option, values in (("--sglang", sources), ("--config", configs)):
        if len(values) > 2:
            raise UsageError(
                "a comparison has two sides",
                where=option,
                expected="at most two",
                found=str(values),
            )
    if len(sources) == 1 and len(configs) == 1 and trace is not None:
        return "trace"
    if len(sources) == 2 and len(configs) == 1 and trace is None:
        return "sources"
    if len(sources) == 1 and len(names) == 2 and trace is None:
        if len(configs) == 1 and configs[0] is not None:
            raise UsageError(
                "one config does not serve two models",
                where="--config",
                expected="NAME=FILE for the model that it is meant for, or one for each",
            )
        return "models"
    if len(sources) == 1 and len(names) == 1 and len(configs) == 2 and trace is None:
        return "configs"
    raise UsageError(
        "exactly one thing has two sides",
        where="--model-name, --sglang, --config, --trace",
        expected="two --sglang, or two --model-name, or two --config of one model, or --trace",
        found=f"{len(names)} models, {len(sources)} sources, {len(configs)} configs, "
        f"{'a' if trace is not None else 'no'} trace",
    )


def _sides(
    mode: Mode,
    names: tuple[str, ...],
    sources: Sequence[str | None],
    configs: Sequence[Config],
) -> tuple[_Side, _Side]:
    if mode == "sources":
        return (_Side(names, sources[0], configs[0]), _Side(names, sources[1], configs[0]))
    if mode == "configs":
        return (_Side(names, sources[0], configs[0]), _Side(names, sources[0], configs[1]))
    one, other = configs if len(configs) == 2 else (None, None)
    return (_Side(names[:1], sources[0], one), _Side(names[1:], sources[0], other))


def _refuse_nothing(sides: Iterable[Findings]) -> None:
    """Raise the first error where no model of any side could be extracted."""
    refused: list[Refused] = []
    for side in sides:
        if side.models:
            return
        refused += side.refused
    if refused:
        raise refused[0].error


def _pairs(
    before: Sequence[FoundModel], after: Sequence[FoundModel], *, same_model: bool
) -> tuple[list[ModelDiff], list[tuple[str, ModelReport]]]:
    """The combinations that stand against each other, and those that the named side lacks.

    A model stands against itself at the same sizes. Two models stand against each other at equal
    sizes; where each is extracted at one pair of sizes, at these.
    """

    def key_of(model: FoundModel) -> tuple[object, ...]:
        report = model.report
        return (report.slug, report.tp, report.ep) if same_model else (report.tp, report.ep)

    def single(_: FoundModel) -> tuple[object, ...]:
        return ()

    key: Callable[[FoundModel], tuple[object, ...]] = key_of
    if not same_model and len(before) == len(after) == 1:
        key = single
    right = {key(model): model for model in after}
    left = {key(model) for model in before}
    pairs = [compare(model, right[key(model)]) for model in before if key(model) in right]
    alone = [(SIDES[1], model.report) for model in before if key(model) not in right]
    alone += [(SIDES[0], model.report) for model in after if key(model) not in left]
    return pairs, alone


def _explains(refused: Refused, model: ModelReport, mode: Mode) -> bool:
    """Whether a refusal on the other side says already why `model` has no counterpart there."""
    named = mode == "models" or refused.name in (model.name, model.slug)
    return named and (refused.tp, refused.ep) in ((None, None), (model.tp, model.ep))
