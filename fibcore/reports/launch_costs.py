"""What the launches of a step cost, at a batch."""

from __future__ import annotations

import re
from collections.abc import Iterable

from fibcore.benchmarking.costs.floors import floor
from fibcore.benchmarking.costs.gpus import Gpu
from fibcore.errors import FibcoreError
from fibcore.extraction.launches import Launch
from fibcore.model.cost import Cost
from fibcore.model.definition import Definition
from fibcore.model.step_batch import StepBatch
from fibcore.ops.registry import Registry

MOVES = ("copy", "collective")
"""States of launches that move data and compute nothing."""

_ROWS = ("M", "num_tokens", "nnz_kv", "seq_len", "total_q", "total_seq_len")
"""Var axes whose size is the number of tokens that go through the model."""
_OFFSETS = ("len_indptr", "batch_size_plus_1", "len_cu_seqlens")
_DOUBLE = re.compile(r"(?P<whole>\w+) == (?P<factor>\d+) \* (?P<part>\w+)")


BATCHES = {
    "decode": StepBatch("decode", sequences=64, tokens=64, keys=2048),
    "prefill": StepBatch("prefill", sequences=4, tokens=8192, keys=2048),
}
"""The batch of each stage that launches are weighed at."""


class LaunchCosts:
    """Costs of launches, from sizes that follow from the batch and from the model's constants.

    Args:
        found: All launches of the model.
        registry: The plugins.
    """

    def __init__(self, found: Iterable[Launch], registry: Registry) -> None:
        self._registry = registry
        self._definitions: dict[str, Definition | None] = {}
        self._constants: dict[str, int] = {}
        for launch in found:
            definition = self._definition(launch)
            for name, size in (definition.const_axes if definition else {}).items():
                self._constants.setdefault(name, size)

    def _definition(self, launch: Launch) -> Definition | None:
        """The definition of a launch; None where its plugin cannot write it, as others report."""
        if launch.kernel is None:
            return None
        if launch.what not in self._definitions:
            try:
                self._definitions[launch.what] = self._registry.reference(launch.kernel)
            except FibcoreError:
                self._definitions[launch.what] = None
        return self._definitions[launch.what]

    def cost(self, launch: Launch, batch: StepBatch) -> Cost | None:
        """What one of its launches costs; None where that is not known.

        One without a definition reads its weights at least. What moves data has no cost.
        """
        if launch.state in MOVES:
            return None
        definition = self._definition(launch)
        if definition is None:
            if launch.kernel is not None or not launch.weights:
                return None
            return Cost(0, "bfloat16", launch.weights // launch.count, 0)
        try:
            axes = self._axes(launch, definition, batch)
            return None if axes is None else self._registry.cost(definition, axes)
        except FibcoreError:
            return None

    def seconds(self, launch: Launch, batch: StepBatch, gpu: Gpu) -> float | None:
        """The floors of all its launches together; None where they are not known."""
        cost = self.cost(launch, batch)
        return None if cost is None else floor(cost, gpu).seconds * launch.count

    def _axes(
        self, launch: Launch, definition: Definition, batch: StepBatch
    ) -> dict[str, int] | None:
        """Sizes of the var axes, by FlashInfer's names; None where one is not known."""
        pieces = {option.name for option in self._registry.options.several}
        page = next((n for axis, n in definition.const_axes.items() if axis in pieces), 1)
        pages = batch.sequences * -(-batch.keys // page)
        rows = batch.sequences if launch.last_tokens else batch.tokens
        of_sequences = not set(_OFFSETS).isdisjoint(definition.axes)
        table = {
            **dict.fromkeys(_ROWS, rows),
            "batch_size": batch.sequences if of_sequences else rows,
            # Of states that are no pages, each sequence has one.
            **dict.fromkeys(("num_seqs", "state_cache_size", "pool_size"), batch.sequences),
            **dict.fromkeys(_OFFSETS, batch.sequences + 1),
            "total_kv": batch.sequences * batch.keys,
            "num_kv_indices": pages,
            "num_pages": pages,
            "max_num_pages": -(-batch.keys // page),
            **_pools(definition, batch, pieces),
            "max_seq_len": batch.keys,
        }
        facts = {n: f.value for n, f in launch.kernel.facts.items()} if launch.kernel else {}
        told = self._registry.step_sizes(launch.kernel, batch) if launch.kernel else {}
        found = {}
        for name in definition.var_axes:
            size = told.get(name, facts.get(name, table.get(name, self._constants.get(name))))
            size = _part(definition, name) if size is None else size
            if not isinstance(size, int):
                return None
            found[name] = int(size)
        return found


def _pools(definition: Definition, batch: StepBatch, pieces: Iterable[str]) -> dict[str, int]:
    """Pages of caches that have sizes of their own: `swa_num_pages`, with its prefix the size's."""
    found = {}
    for name in definition.var_axes:
        prefix = name.removesuffix("num_pages")
        sizes = [definition.const_axes.get(prefix + piece) for piece in pieces]
        page = next((size for size in sizes if size is not None), None)
        if prefix not in ("", name) and page is not None:
            found[name] = batch.sequences * -(-batch.keys // page)
    return found


def _part(definition: Definition, axis: str) -> int | None:
    """The size of an axis of which a constraint says that a const axis is a multiple."""
    for constraint in definition.constraints:
        match = _DOUBLE.fullmatch(constraint)
        if match and match["part"] == axis:
            whole = definition.const_axes.get(match["whole"])
            return None if whole is None else whole // int(match["factor"])
    return None
