"""`fibcore.sizes`: the parallel sizes that a checkpoint can be served at.

A choice is tried: the model is elaborated at it, its server's checks run, the weights of layers are
made as the source makes them, and plugins read what a rank has. What refuses is the reason.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import attrs

from fibcore.errors import FibcoreError, UsageError
from fibcore.extraction.find import FoundKernels, few_collections, find_kernels, resolve
from fibcore.extraction.report import source_label
from fibcore.extraction.request import ModelsLaunched, Request
from fibcore.keywords import api, part, several
from fibcore.model.launch import Launch
from fibcore.model.serving import Serving
from fibcore.processes.sizes import parse_size
from fibcore.progress import report
from fibcore.reports.sizes.memory import has_experts, rank_memory
from fibcore.reports.sizes.report import Size, SizesReport
from fibcore.workspace import Where, Workspace

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from fibcore.configs.catalogue import ResolvedModel
    from fibcore.sources.tree import SourceTree

USUAL = (1, 2, 4, 8, 16)
"""Ranks that are tried unless others are asked for: one GPU to two nodes of eight."""
SHARE = 0.9
"""The share of a GPU's memory for weights and cache, about SGLang's `--mem-fraction-static`."""
_GIB = 2**30
_GROUPS = ("dp_size", "enable_dp_attention", "attn_dp_size")
"""Options that say how many groups of attention there are."""


@api(ModelsLaunched, options=True)
def sizes(
    model_name: str = "",
    *,
    gpu_memory: str | int | None = None,
    dp: int | Sequence[int] | None = None,
    **asked: Unpack[ModelsLaunched],
) -> SizesReport:
    """Say which parallel sizes a checkpoint can be served at, and why it cannot at others.

    Args:
        model_name: The model, as for `fibcore.extract`; may be left out where a launch line names
            it.
        gpu_memory: Memory of a GPU (`80G`); with it, whether the weights fit and how many tokens
            the rest holds.
        dp: Data-parallel groups of attention that are tried; by default 1, and for models with
            experts as many as ranks.
        **asked: The sizes to try (`tp`, `ep`), the config, the other options of the server
            (`launch`, `gpu`), and where; see `ModelsLaunched`. A launch line alone is tried as it
            stands; sizes that are named beside it take the place of its own.

    Raises:
        UsageError: a name or an option is wrong.
        SourceError: there is no source to elaborate.
        ConfigError: the config cannot be read.
    """
    memory = None if gpu_memory is None else parse_size(gpu_memory, "--gpu-memory")
    workspace = Workspace.of(**part(Where, asked))
    named = (model_name,) if model_name else ()
    tp, ep = several(asked.pop("tp", None)), several(asked.pop("ep", None))
    request = attrs.evolve(Request.of_models(workspace.registry, asked), tp=tp, ep=ep)
    request.check_named(named)
    source = workspace.source()
    (name,) = request.named(named, source)
    model = resolve(name, source, hf_repo_id=request.hf_repo_id, config=request.config)
    request = request.for_source(source).for_model(model.slug, source)
    search = _Search(source, model, request, workspace, memory)
    with few_collections():
        found = tuple(search.tried(several(dp)))
    return SizesReport(
        slug=model.slug,
        architecture=search.architecture,
        constants=model.config.origin,
        source=source_label(source),
        gpu_memory=memory,
        share=SHARE,
        sizes=found,
    )


class _Search:
    """Tries one choice after the other."""

    def __init__(
        self,
        source: SourceTree,
        model: ResolvedModel,
        request: Request,
        workspace: Workspace,
        memory: int | None,
    ) -> None:
        self.source, self.model, self.request = source, model, request
        self.workspace, self.memory = workspace, memory
        self.architecture = model.architecture or ""
        self._usual: frozenset[str] | None = (
            None  # undecided kinds that have nothing to do with sizes
        )
        self._experts: bool | None = None

    def tried(self, dp: tuple[int, ...]) -> Iterator[Size]:
        """Every choice, each with what refuses it or what a rank holds."""
        read = self.request.read_launch
        if read is not None and not (self.request.tp or self.request.ep or dp):
            yield self._try(read.tp, read.ep, None)
            return
        for tp in self.request.tp or USUAL:
            # The first choice tells whether there are experts to divide.
            yield self._try(tp, 1, 1) if 1 in (self.request.ep or (1,)) else self._try(tp, tp, 1)
            for ep, groups in self._further(tp, dp):
                yield self._try(tp, ep, groups)

    def _further(self, tp: int, dp: tuple[int, ...]) -> Iterator[tuple[int, int]]:
        experts = bool(self._experts)
        eps = self.request.ep or ((1, tp) if experts else (1,))
        groups = dp or ((1, tp) if experts else (1,))
        first = (1, 1) if 1 in (self.request.ep or (1,)) else (tp, 1)
        choices = [(ep, group) for group in groups for ep in eps]
        yield from (c for c in dict.fromkeys(choices) if c != first)

    def _try(self, tp: int, ep: int, groups: int | None) -> Size:
        """Try a choice; without a number of groups, that of the launch line."""
        dp = 1 if groups is None else groups
        report(self.workspace.progress, f"{self.model.slug}: TP {tp}, EP {ep}, DP {dp}")
        gc.collect()
        try:
            serving = self._serving(tp, ep, groups)
            found = find_kernels(self.source, self.model, serving, self.workspace.registry)
        except UsageError:
            raise
        except FibcoreError as error:
            return Size(tp, ep, dp, (error.found or error.message,), where=error.where or "")
        self.architecture = found.tree.architecture
        if groups is None and found.serving.launch is not None:
            tp, ep, dp = found.serving.tp, found.serving.ep, found.serving.launch.attention_dp
        if self._experts is None:
            self._experts = has_experts(found.tree)
        reasons = self._undecided(found)
        if reasons:
            return Size(tp, ep, dp, reasons)
        return self._sized(Size(tp, ep, dp), found)

    def _serving(self, tp: int, ep: int, dp: int | None) -> Serving:
        serving = self.request.serving(self.model, tp, ep, self.workspace.registry.options)
        launch = serving.launch
        if dp is None or (dp == 1 and launch is None):
            return serving
        given = {} if launch is None else dict(launch.given)
        for name in _GROUPS:
            given.pop(name, None)
        given |= {} if dp == 1 else {"dp_size": dp, "enable_dp_attention": True}
        variables = {} if launch is None else launch.variables
        return attrs.evolve(
            serving, launch=Launch("", arguments=given, given=given, variables=variables)
        )

    def _undecided(self, found: FoundKernels) -> tuple[str, ...]:
        """What plugins cannot decide at these sizes, and could on a single rank."""
        kinds = {problem.what: problem.reason for problem in found.problems}
        if self._usual is None and kinds:
            self._usual = frozenset(kinds if found.serving.tp == 1 else self._on_one_rank())
        usual = self._usual or frozenset()
        return tuple(dict.fromkeys(reason for what, reason in kinds.items() if what not in usual))

    def _on_one_rank(self) -> set[str]:
        """What plugins cannot decide on a single rank: sizes are not to blame for it."""
        try:
            serving = self._serving(1, 1, 1)
            found = find_kernels(self.source, self.model, serving, self.workspace.registry)
        except FibcoreError:
            return set()
        return {problem.what for problem in found.problems}

    def _sized(self, size: Size, found: FoundKernels) -> Size:
        held = rank_memory(found.tree, found.serving)
        size = attrs.evolve(
            size,
            weights=held.weights,
            kv_per_token=held.per_token,
            not_counted=tuple(f"{cls}: {why}" for cls, why in held.not_counted.items()),
        )
        if self.memory is None:
            return size
        left = int(self.memory * SHARE) - held.weights
        if left <= 0:
            need, have = held.weights / _GIB, self.memory / _GIB
            why = f"weights of {need:.1f} GiB on a rank; {SHARE:.0%} of {have:.0f} GiB are usable"
            return attrs.evolve(size, reasons=(why,))
        tokens = left // held.per_token if held.per_token else None
        return attrs.evolve(size, tokens=tokens)
