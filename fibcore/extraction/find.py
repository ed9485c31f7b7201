"""From a model and one way to serve it to its tree and kernels; nothing else does that."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs

from fibcore.errors import FibcoreError, ServingError
from fibcore.extraction.agreement import agreed
from fibcore.extraction.launch_records import recorded
from fibcore.extraction.launches import Launch, launches
from fibcore.extraction.request import Config, Request
from fibcore.extraction.unclaimed import unclaimed_calls, unclaimed_modules
from fibcore.model.kernel import Kernel, NotCovered, Problem, Use
from fibcore.model.serving import Serving
from fibcore.model.tree import ModelTree
from fibcore.ops.registry import Registry
from fibcore.sources.tree import SourceTree

if TYPE_CHECKING:
    from fibcore.configs.catalogue import ResolvedModel

_EVERYTHING = Request()


@attrs.frozen
class FoundKernels:
    """What plugins find in the tree of one model that is served in one way.

    Attributes:
        model: The model.
        serving: How it is served.
        tree: Its tree. It is large: whoever looks at several models keeps it no longer than needed.
        kernels: The kernels that are wanted, plugin by plugin.
        not_covered: Ops that the plugins of the wanted op types recognise, and no plugin defines.
        problems: What these plugins could not decide.
        unclaimed: Modules and calls that no plugin accounts for.
        errors: One error for each plugin that failed.
        launches: What one decode step and one prefill step launch.
    """

    model: ResolvedModel
    serving: Serving
    tree: ModelTree
    kernels: tuple[Kernel, ...]
    not_covered: tuple[NotCovered, ...]
    problems: tuple[Problem, ...]
    unclaimed: tuple[Use, ...]
    errors: tuple[FibcoreError, ...]
    launches: tuple[Launch, ...] = ()


def find_kernels(
    source: SourceTree,
    model: ResolvedModel,
    serving: Serving,
    registry: Registry,
    request: Request = _EVERYTHING,
) -> FoundKernels:
    """Elaborate a model for one way to serve it and let the plugins find its kernels.

    Args:
        source: SGLang's source.
        model: The model.
        serving: How it is served.
        registry: The plugins.
        request: Which op types are wanted; all by default.

    Raises:
        FibcoreError: the model cannot be served like that, or not be elaborated at all.
    """
    serving = settled(source, model, serving)
    tree = elaborated(source, model, serving)
    serving = recorded(serving, tree)
    extractions, errors = registry.extract(tree, serving)
    for error in errors:
        if isinstance(error, ServingError):
            raise error
    extractions = agreed(extractions)
    owned = registry.op_types()
    owners = {owned[op_type].plugin for op_type in request.op_types}
    wanted = [e for plugin, e in extractions if not owners or plugin in owners]
    claimed = frozenset().union(*(extraction.claimed for _, extraction in extractions))
    nobodys = unclaimed_modules(tree, claimed)
    return FoundKernels(
        model=model,
        serving=serving,
        tree=tree,
        kernels=tuple(k for e in wanted for k in e.kernels if request.wants(k.op_type)),
        not_covered=tuple(op for e in wanted for op in e.not_covered),
        problems=tuple(problem for e in wanted for problem in e.problems),
        unclaimed=(*nobodys, *unclaimed_calls(tree, claimed)),
        errors=errors,
        launches=launches(tree, [e for _, e in extractions], claimed, nobodys),
    )


def settled(source: SourceTree, model: ResolvedModel, serving: Serving) -> Serving:
    """How a model is served once the server has decided about the options of its launch.

    The server decides once, by its target model: a draft model is served as it decided.

    Raises:
        ServingError: the server refuses them.
    """
    if serving.launch is None or serving.launch.settled:
        return serving
    from fibcore.elaborate import settle

    return settle(source, model.config, serving, architecture=model.architecture)


def elaborated(source: SourceTree, model: ResolvedModel, serving: Serving) -> ModelTree:
    """The tree of a model.

    Raises:
        FibcoreError: the model cannot be served like that, or not be elaborated at all.
    """
    from fibcore.elaborate import elaborate

    return elaborate(source, model.config, serving, architecture=model.architecture)


def resolve(
    name: str,
    source: SourceTree,
    *,
    hf_repo_id: str | None = None,
    config: Config = None,
) -> ResolvedModel:
    """The model that a name stands for, with its config and how it is served.

    Raises:
        UnknownModelError: no model has this name; the nearest ones are named.
        ConfigError: its config cannot be read.
    """
    from fibcore.configs.catalogue import resolve_model
    from fibcore.elaborate import model_files

    return resolve_model(
        name, hf_repo_id=hf_repo_id, config_file=config, known_files=lambda: model_files(source)
    )


@contextmanager
def few_collections() -> Iterator[None]:
    """Pause the garbage collector.

    Syntax trees are a million objects that all stay; looking for garbage among them again and
    again takes a quarter of an extraction's time, and pausing that costs 10 MB. Whoever elaborates
    several models calls `gc.collect` in between.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
