"""Decode and prefill steps of a model that was found: their launches in order, weighed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import attrs

from fibcore.benchmarking.costs.floors import floor
from fibcore.benchmarking.costs.gpus import Gpu
from fibcore.errors import UsageError
from fibcore.extraction.findings import FoundModel
from fibcore.extraction.launches import Launch
from fibcore.model.step_batch import StepBatch
from fibcore.ops.registry import Registry
from fibcore.reports.launch_costs import BATCHES, LaunchCosts


@attrs.frozen
class StepKernel:
    """Launches of one kernel in a step.

    Attributes:
        what: The definition, or what a plugin calls the op, or the class or function.
        op_type: Its op type; "" where it has no definition.
        state: As of `Launch`.
        count: How many the step has.
        flops: Operations of all of them; None where their cost is not known.
        bytes: Bytes that all of them move, likewise; of those without a definition, their weights.
        floors: GPU to the seconds that all of them take at least; empty where that is not known.
        bound: "compute" or "memory": what decides that on the first GPU; "" where it is not known.
        share: Its part of the first GPU's floor of the step, 0 to 1.
    """

    what: str
    op_type: str
    state: str
    count: int
    flops: int | None
    bytes: int | None
    floors: Mapping[str, float]
    bound: str
    share: float


@attrs.frozen
class Step:
    """One step of a model.

    Attributes:
        stage: "decode" or "prefill".
        batch: The batch, in words.
        kernels: What it launches, in the order in which the forward pass first comes to it.
        floors: GPU to the seconds that all launches of known cost take at least.
    """

    stage: str
    batch: str
    kernels: tuple[StepKernel, ...]
    floors: Mapping[str, float]

    @property
    def launches(self) -> int:
        """All launches."""
        return sum(kernel.count for kernel in self.kernels)

    @property
    def unweighed(self) -> int:
        """Launches whose cost is not known, or that move data and no more."""
        return sum(kernel.count for kernel in self.kernels if not kernel.floors)

    @property
    def advice(self) -> str:
        """What to optimise first: the kernel that takes most of the step, and what bounds it."""
        first = max(self.kernels, key=lambda kernel: kernel.share, default=None)
        if first is None or not first.share:
            return ""
        way = {
            "memory": "move fewer bytes, or come closer to the bandwidth",
            "compute": "come closer to the peak rate, or use a narrower format",
        }[first.bound]
        return f"{first.what} has {first.share:.1%} of the floor, bound by {first.bound}: {way}"


@attrs.frozen
class ModelSteps:
    """The steps of a model that is served in one way.

    Attributes:
        label: The model and how it is served.
        steps: Its decode step and its prefill step.
        partial: What of the model is not complete, in a line each.
    """

    label: str
    steps: tuple[Step, ...]
    partial: tuple[str, ...]


def step_batches(
    batch: int = BATCHES["decode"].sequences,
    keys: int = BATCHES["decode"].keys,
    tokens: int = BATCHES["prefill"].tokens,
    sequences: int = BATCHES["prefill"].sequences,
) -> tuple[StepBatch, ...]:
    """The batches of a decode step and of a prefill step.

    Raises:
        UsageError: one of the numbers makes no sense.
    """
    for name, value in (
        ("--batch", batch),
        ("--keys", keys),
        ("--prefill-tokens", tokens),
        ("--prefill-sequences", sequences),
    ):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise UsageError(
                "not a number of these", where=name, expected="at least 1", found=repr(value)
            )
    if tokens < sequences:
        raise UsageError(
            "every sequence has a token",
            where="--prefill-tokens",
            expected=f"at least {sequences}, for {sequences} sequences",
            found=str(tokens),
        )
    return (
        StepBatch("decode", batch, batch, keys),
        StepBatch("prefill", sequences, tokens, -(-tokens // sequences)),
    )


def model_steps(
    model: FoundModel, batches: Iterable[StepBatch], gpus: Sequence[Gpu], registry: Registry
) -> ModelSteps:
    """The steps of a model on each of the GPUs."""
    costs = LaunchCosts(model.launches, registry)
    report = model.report
    partial = (
        *(f"missing: {missing}" for missing in report.missing),
        *(f"undecided: {problem}" for problem in report.problems),
        *(str(error) for error in report.errors),
    )
    return ModelSteps(
        label=", ".join(filter(None, (report.label, report.served))),
        steps=tuple(
            _step(batch, [one for one in model.launches if one.stage == batch.stage], costs, gpus)
            for batch in batches
        ),
        partial=partial,
    )


def _step(
    batch: StepBatch, found: Iterable[Launch], costs: LaunchCosts, gpus: Sequence[Gpu]
) -> Step:
    kernels = [_kernel(one, batch, costs, gpus) for one in found]
    floors = {gpu.name: sum(k.floors.get(gpu.name, 0.0) for k in kernels) for gpu in gpus}
    first = gpus[0].name
    whole = floors[first] or 1.0  # nothing is a part of nothing
    return Step(
        stage=batch.stage,
        batch=str(batch),
        kernels=tuple(attrs.evolve(k, share=k.floors.get(first, 0.0) / whole) for k in kernels),
        floors=floors,
    )


def _kernel(one: Launch, batch: StepBatch, costs: LaunchCosts, gpus: Sequence[Gpu]) -> StepKernel:
    cost = costs.cost(one, batch)
    limits = {} if cost is None else {gpu.name: floor(cost, gpu) for gpu in gpus}
    return StepKernel(
        what=one.what,
        op_type="" if one.kernel is None else one.kernel.op_type,
        state=one.state,
        count=one.count,
        flops=None if cost is None else cost.flops * one.count,
        bytes=None if cost is None else cost.bytes_moved * one.count,
        floors={name: limit.seconds * one.count for name, limit in limits.items()},
        bound=limits[gpus[0].name].bound if limits else "",
        share=0.0,
    )
