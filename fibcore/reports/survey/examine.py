"""One model of a survey: elaborate it, let the plugins look at it, and say what came of that."""

from __future__ import annotations

import gc
import time
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path

import attrs

from fibcore.configs.catalogue import ResolvedModel
from fibcore.configs.model_config import ModelConfig
from fibcore.errors import ConfigError, FibcoreError, ServingError
from fibcore.extraction.find import few_collections, find_kernels
from fibcore.extraction.report import missing_parts, not_followed
from fibcore.model.kernel import Use
from fibcore.model.serving import Serving
from fibcore.model.tree import ModelTree, ModuleNode
from fibcore.ops.registry import Registry
from fibcore.reports.launches import shares
from fibcore.reports.survey.report import STATES, MissingOp, NeededDefinition, Reason, SurveyedModel
from fibcore.reports.survey.task import Task
from fibcore.sources.tree import SourceTree

_PACKAGE = Path(__file__).parents[2]


def examine(task: Task, source: SourceTree, registry: Registry) -> SurveyedModel:
    """Look at one model. Whatever goes wrong is in the result; nothing is raised."""
    start = time.perf_counter()
    tried: list[SurveyedModel] = []
    for candidate in task.candidates():
        tried.append(_surveyed(candidate, source, registry))
        gc.collect()
        if tried[-1].state == "whole":
            break
    best = min(tried, key=lambda model: STATES.index(model.state))
    return attrs.evolve(best, seconds=time.perf_counter() - start)


def _surveyed(task: Task, source: SourceTree, registry: Registry) -> SurveyedModel:
    try:
        with few_collections():
            return _examine(task, source, registry)
    except FibcoreError as error:
        # Sizes that were asked for and do not divide say nothing of whether there is a config.
        sizes = isinstance(error, ServingError) and (task.tp, task.ep) != (1, 1)
        if task.origin.startswith("class:") and not sizes:
            # Defaults of a class need not be a model: what every file has to say has no default.
            reason = Reason(
                "no config", error.where or "", f"class defaults alone: {error.summary}"
            )
            return task.surveyed("no config", reasons=(reason,))
        return task.surveyed("refused", reasons=(_reason("refused", error),))
    except Exception as error:  # noqa: BLE001 - a defect, reported with its place; others go on
        return task.surveyed("failed", reasons=(_defect(error),))


def _examine(task: Task, source: SourceTree, registry: Registry) -> SurveyedModel:
    config = ModelConfig(task.model, None, task.config, task.origin)
    model = ResolvedModel(task.model, config, (task.tp,), (task.ep,), task.architecture)
    launched = {} if task.launch is None else registry.options.launched(task.launch.given)
    options = registry.options.completed({}, launched, {})
    serving = Serving(tp=task.tp, ep=task.ep, options=options, gpu=task.gpu, launch=task.launch)
    found = find_kernels(source, model, serving, registry)
    for error in found.errors:
        if isinstance(error, ConfigError):
            raise error  # the plugin did not fail: it says that the model cannot be
    reasons = [Reason("missing", m.what, m.reason, m.layers) for m in missing_parts(found.tree)]
    for problem in found.problems:
        layers = max(_layers(problem.uses), 1)
        reasons.append(Reason("undecided", problem.what, problem.reason, layers))
    failed = [_reason("plugin", error) for error in found.errors]
    kernels: dict[tuple[str, str], int] = {}
    for kernel in found.kernels:
        try:
            name = registry.reference(kernel).name
        except FibcoreError as error:
            failed.append(_reason("plugin", error))
            continue
        kernels[kernel.op_type, name] = _layers(kernel.uses)
    not_covered = [
        MissingOp(op.what, _layers(op.uses), op.reason) for op in found.not_covered if not op.moves
    ]
    not_covered += [MissingOp(use.cls.rpartition(".")[2], 1) for use in found.unclaimed]
    task = attrs.evolve(
        task, tp=found.serving.tp, ep=found.serving.ep
    )  # the server may change them
    return task.surveyed(
        "failed" if failed else "partial" if reasons else "whole",
        reasons=(*failed, *reasons),
        layers=dict(_stacks(found.tree)),
        definitions=tuple(
            NeededDefinition(name, op_type, layers) for (op_type, name), layers in kernels.items()
        ),
        not_covered=_merged(not_covered),
        notes=(*found.tree.warnings, *not_followed(found.tree)),
        steps=shares(found.launches, registry),
    )


def _layers(uses: Iterable[Use]) -> int:
    return len({use.path for use in uses})


def _merged(ops: Iterable[MissingOp]) -> tuple[MissingOp, ...]:
    """One entry for every op, the most frequent first."""
    found: dict[str, MissingOp] = {}
    for op in ops:
        first = found.get(op.op, MissingOp(op.op, 0))
        found[op.op] = MissingOp(op.op, first.layers + op.layers, first.reason or op.reason)
    return tuple(sorted(found.values(), key=lambda op: (-op.layers, op.op)))


def _stacks(tree: ModelTree) -> Iterator[tuple[str, int]]:
    """Path and length of every list of layers that lies in no other one."""

    def below(node: ModuleNode) -> Iterator[tuple[str, int]]:
        for child in node.children.values():
            names = list(child.children)
            if child.class_name != "Sequential" and names and all(n.isdigit() for n in names):
                if not all(n.leaf for n in child.children.values()):
                    yield child.path, len(names)
            else:
                yield from below(child)

    yield from below(tree.root)


def _reason(kind: str, error: FibcoreError) -> Reason:
    return Reason(kind, error.where or "", error.summary)


def _defect(error: Exception) -> Reason:
    """An exception that should not have been raised, and the last place of fibcore on its way."""
    place = ""
    for frame in traceback.extract_tb(error.__traceback__):
        path = Path(frame.filename)
        if path.is_relative_to(_PACKAGE):
            place = f"{path.relative_to(_PACKAGE.parent).as_posix()}:{frame.lineno}"
    return Reason("exception", place, f"{type(error).__name__}: {error}")
