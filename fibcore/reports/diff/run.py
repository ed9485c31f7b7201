"""`fibcore.diff`: which two things are compared, and their extraction."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from fibcore.errors import UsageError
from fibcore.extraction.findings import Findings, FoundModel, find_models
from fibcore.extraction.report import ModelReport, Refused
from fibcore.extraction.request import Config, Request, Wanted
from fibcore.keywords import api, part, several, user_path
from fibcore.ops.registry import Registry
from fibcore.pages import need_for_pages
from fibcore.pages.output import write_page
from fibcore.reports.diff.comparing import compare
from fibcore.reports.diff.page import render
from fibcore.reports.diff.report import DiffReport, Mode, ModelDiff
from fibcore.sources.tree import SourceTree
from fibcore.workspace import Place, Where, Workspace

if TYPE_CHECKING:
    from typing_extensions import Unpack

BEFORE, AFTER = "before", "after"


class Compared(Place, Wanted, total=False):
    """The keywords of `diff`; of one of them there are two.

    Attributes:
        sglang: SGLang's source, or two of them; by default the repository in `target_dir`.
        config: The config of the one model; or two, of the two models or of one model before and
            after, where None stands for the config that the name means.
        launch: A launch line, as for `fibcore.extract`, or two of them.
        gpu: The GPU that the server runs on, or two of them.
    """

    sglang: str | Path | Sequence[str | Path] | None
    config: Config | Sequence[Config]
    launch: str | Path | Sequence[str | Path] | None
    gpu: str | Sequence[str] | None


@attrs.frozen
class _Operand:
    """One of the two things that are compared, before it is extracted."""

    names: tuple[str, ...]
    sglang: str | None
    config: Config
    request: Request


@api(Compared, options=True)
def diff(
    model_name: str | Sequence[str] = (),
    *,
    trace: str | Path | None = None,
    output: str | Path | None = None,
    **asked: Unpack[Compared],
) -> DiffReport:
    """Compare kernels: of two sources, models, configs or launches, or of models and a dump.

    What is compared follows from what is given twice: two `sglang` compare every model on two
    sources; two models compare them on one source; two `config` compare two configs of one model,
    two `launch` or two `gpu` two ways to serve it; `trace` compares models with a dump of
    FlashInfer's tracing. Nothing is written but the page that `output` names.

    Args:
        model_name: One or several models, as for `fibcore.extract`; may be left out where the
            launch line names the model.
        trace: Folder (or one file) that FlashInfer's tracing wrote.
        output: A page in HTML with the same; none is written without it.
        **asked: The sources and configs, how the models are served, and where; see `Compared`,
            `fibcore.extraction.request.Wanted` and `fibcore.workspace.Place`.

    Returns:
        The report. A side that is partial or could not be extracted is in it, and its `exit_code`
        is 1 then; `differs` says whether the sides differ.

    Raises:
        UsageError: a name or an option is wrong, or not exactly one thing is given twice.
        SourceError: there is no source to elaborate.
        TraceError: there is no dump, or nothing of it can be read.
        FibcoreError: no model of either side could be extracted; the first error.
    """
    if output is None:
        return _compared(several(model_name), trace, asked)
    need_for_pages()
    path = user_path(output, "--output")
    report = _compared(several(model_name), trace, asked)
    write_page(path, render(report))
    return attrs.evolve(report, output=str(path))


def _compared(names: tuple[str, ...], trace: str | Path | None, asked: Compared) -> DiffReport:
    sources = _sources(asked.get("sglang"))
    configs = _configs(asked.get("config"))
    workspace = Workspace.of(**_without_source(asked))
    registry = workspace.registry
    requests = _requests(registry, asked)
    mode = _mode(names, sources, configs, requests, trace)
    trees: dict[str | None, SourceTree] = {}

    def findings(operand: _Operand) -> Findings:
        if operand.sglang not in trees:
            trees[operand.sglang] = workspace.source(operand.sglang)
        found = find_models(
            operand.names,
            trees[operand.sglang],
            attrs.evolve(operand.request, config=operand.config),
            registry,
            progress=workspace.progress,
        )
        gc.collect()  # the syntax trees of this operand
        return found

    if trace is not None:
        from fibcore.reports.diff.traced import compare_with_trace
        from fibcore.traces import read_trace

        dump = read_trace(trace)
        found = findings(_Operand(names, sources[0], configs[0], requests[0]))
        _refuse_nothing([found])
        return DiffReport(
            mode,
            trace=compare_with_trace(found, dump, requests[0], registry),
            refused=tuple((BEFORE, refused) for refused in found.refused),
        )
    sides = _operands(mode, names, sources, configs, requests)
    before, after = (findings(operand) for operand in sides)
    _refuse_nothing([before, after])
    pairs, alone = _pairs(before.models, after.models, mode)
    refused = [(BEFORE, r) for r in before.refused] + [(AFTER, r) for r in after.refused]
    return DiffReport(
        mode,
        models=tuple(pairs),
        refused=tuple(refused),
        unpaired=tuple(
            f"{lacking}: nothing to compare with {model.label}"
            for lacking, model in alone
            if not any(side == lacking and _explains(r, model, mode) for side, r in refused)
        ),
    )


def _requests(registry: Registry, asked: Compared) -> tuple[Request, ...]:
    """What is asked for of each side; one for both where neither launch nor GPU is given twice.

    Raises:
        UsageError: as `Request.of`, or more than two are given.
    """
    launches = _sides(asked.get("launch"), "--launch")
    gpus = _sides(asked.get("gpu"), "--gpu")
    wanted: Wanted = part(Wanted, asked)
    both = max(len(launches), len(gpus))
    return tuple(
        Request.of(
            registry,
            {**wanted, "launch": launches[n % len(launches)], "gpu": gpus[n % len(gpus)]},  # type: ignore[typeddict-unknown-key]
        )
        for n in range(both)
    )


def _sides(given: Any, option: str) -> tuple[Any, ...]:
    found = (given,) if given is None or isinstance(given, str | Path) else tuple(given) or (None,)
    if len(found) > 2:
        raise UsageError(
            "a comparison has two sides", where=option, expected="at most two", found=str(found)
        )
    return found


def _without_source(asked: Compared) -> Where:
    place = part(Where, asked)
    place["sglang"] = None
    return place


def _sources(sglang: str | Path | Sequence[str | Path] | None) -> tuple[str | None, ...]:
    if sglang is None or isinstance(sglang, str | Path):
        return (None if sglang is None else str(sglang),)
    return tuple(map(str, sglang))


def _configs(config: Config | Sequence[Config]) -> tuple[Config, ...]:
    if isinstance(config, Sequence) and not isinstance(config, str):
        return tuple(config) or (None,)
    return (config,)


def _mode(
    names: Sequence[str],
    sources: Sequence[str | None],
    configs: Sequence[Config],
    requests: Sequence[Request],
    trace: str | Path | None,
) -> Mode:
    """What is compared with what.

    Raises:
        UsageError: not exactly one thing is given twice.
    """
    if not names and requests[0].launch is None:
        raise UsageError("no model is named", where="--model-name", expected="at least one name")
    if len(requests) == 2:
        if len(sources) == len(configs) == 1 and len(names) < 2 and trace is None:
            return "servings"
        raise _not_one(names, sources, configs, requests, trace)
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
    raise _not_one(names, sources, configs, requests, trace)


def _not_one(
    names: Sequence[str],
    sources: Sequence[str | None],
    configs: Sequence[Config],
    requests: Sequence[Request],
    trace: str | Path | None,
) -> UsageError:
    return UsageError(
        "exactly one thing has two sides",
        where="--model-name, --sglang, --config, --launch, --gpu, --trace",
        expected="two --sglang, or two --model-name, or two --config, --launch or --gpu of one "
        "model, or --trace",
        found=f"{len(names)} models, {len(sources)} sources, {len(configs)} configs, "
        f"{len(requests)} ways of serving, {'a' if trace is not None else 'no'} trace",
    )


def _operands(
    mode: Mode,
    names: tuple[str, ...],
    sources: Sequence[str | None],
    configs: Sequence[Config],
    requests: Sequence[Request],
) -> tuple[_Operand, _Operand]:
    before = _Operand(names, sources[0], configs[0], requests[0])
    if mode == "models":
        one, other = configs if len(configs) == 2 else (None, None)
        return (
            attrs.evolve(before, names=names[:1], config=one),
            attrs.evolve(before, names=names[1:], config=other),
        )
    # What is given once is the same on both sides.
    return before, attrs.evolve(
        before, sglang=sources[-1], config=configs[-1], request=requests[-1]
    )


def _refuse_nothing(operands: Iterable[Findings]) -> None:
    """Raise the first error where no model of any operand could be extracted."""
    refused: list[Refused] = []
    for operand in operands:
        if operand.models:
            return
        refused += operand.refused
    if refused:
        raise refused[0].error


def _pairs(
    before: Sequence[FoundModel], after: Sequence[FoundModel], mode: Mode
) -> tuple[list[ModelDiff], list[tuple[str, ModelReport]]]:
    """The combinations that stand against each other, and those that "before" or "after" lacks.

    A model stands against itself at the same sizes. Two models stand against each other at equal
    sizes; where each is extracted at one pair of sizes, at these. Two ways of serving are a model
    against itself at whatever sizes.
    """
    same_model = mode != "models"

    def key_of(model: FoundModel) -> tuple[object, ...]:
        report = model.report
        if mode == "servings":
            return (report.slug,)
        return (report.slug, report.tp, report.ep) if same_model else (report.tp, report.ep)

    def single(_: FoundModel) -> tuple[object, ...]:
        return ()

    key: Callable[[FoundModel], tuple[object, ...]] = key_of
    if not same_model and len(before) == len(after) == 1:
        key = single
    right = {key(model): model for model in after}
    left = {key(model) for model in before}
    pairs = [compare(model, right[key(model)]) for model in before if key(model) in right]
    alone = [(AFTER, model.report) for model in before if key(model) not in right]
    alone += [(BEFORE, model.report) for model in after if key(model) not in left]
    return pairs, alone


def _explains(refused: Refused, model: ModelReport, mode: Mode) -> bool:
    """Whether a refusal on the other side says already why `model` has no counterpart there."""
    named = mode == "models" or refused.name in (model.name, model.slug)
    return named and (refused.tp, refused.ep) in ((None, None), (model.tp, model.ep))
