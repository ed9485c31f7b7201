"""Which part of a step's launches, and of their time, kernels with a definition have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from fibcore.benchmarking.costs.gpus import gpu_called
from fibcore.extraction.launches import LAUNCH_STATES, Launch
from fibcore.model.step_batch import StepBatch
from fibcore.ops.registry import Registry
from fibcore.reports.launch_costs import BATCHES, MOVES, LaunchCosts

GPU = "H100"
"""The GPU whose floors weigh launches."""


@attrs.frozen
class LaunchTotals:
    """How many launches have a definition, and how many need none.

    Attributes:
        defined: Those with a definition.
        moves: Copies and collectives.
        all: All launches.
    """

    defined: int = 0
    moves: int = 0
    all: int = 0

    def __str__(self) -> str:
        both = self.defined + self.moves
        text = f"{_part_of(self.defined, self.all)} of {self.all} launches have a definition"
        return f"{text}, {_part_of(both, self.all)} with copies and collectives"


def _part_of(part: int, whole: int) -> str:
    return f"{part} ({100 * part / whole if whole else 0.0:.1f} %)"


@attrs.frozen
class Weighed:
    """Launches of one name.

    Attributes:
        state: "defined", "copy", "collective", "named" or "unknown".
        what: The definition, the op, the class or the function.
        count: How many a step launches.
        floor: Seconds that all of them take at least; of those without a definition, what reading
            their weights once takes. None where nothing is known.
    """

    state: str
    what: str
    count: int
    floor: float | None


@attrs.frozen
class StepShare:
    """What one step launches, and how much of it has a definition.

    Attributes:
        stage: "decode" or "prefill".
        batch: The batch, in words.
        launches: State to number of launches.
        floors: State to the floors of those launches whose cost is known, in sum, in seconds.
        without_cost: State to launches of which no cost is known.
        kernels: The launches by name, those that weigh most first.
    """

    stage: str
    batch: str
    launches: Mapping[str, int]
    floors: Mapping[str, float]
    without_cost: Mapping[str, int]
    kernels: tuple[Weighed, ...]

    @property
    def total(self) -> int:
        """All launches."""
        return sum(self.launches.values())

    @property
    def moves(self) -> int:
        """The launches that move data and no more: copies and collectives."""
        return self.launches["copy"] + self.launches["collective"]

    @property
    def defined(self) -> float:
        """The part of the launches that have a definition, 0 to 1; 0 where nothing is launched."""
        return self.launches["defined"] / self.total if self.total else 0.0

    @property
    def defined_cost(self) -> float:
        """The part that these have of the floors that are known, 0 to 1."""
        known = sum(self.floors.values())
        return self.floors["defined"] / known if known else 0.0

    @property
    def bounded(self) -> bool:
        """Whether `defined_cost` is an upper bound: the cost of launches without a definition.

        It is what reading their weights takes, or not known at all. What moves data and no more
        is left out of costs.
        """
        return self.launches["defined"] + self.moves < self.total

    @property
    def launches_text(self) -> str:
        """For people: `351 of 352 (99.7 %)`."""
        return f"{self.launches['defined']} of {self.total} ({100 * self.defined:.1f} %)"

    @property
    def cost_text(self) -> str:
        """For people: `at most 98.2 %`."""
        sign = "at most " if self.bounded else ""
        return f"{sign}{100 * self.defined_cost:.1f} %"

    def to_dict(self) -> dict[str, Any]:
        """Plain data; floors to six digits."""
        return {
            "stage": self.stage,
            "batch": self.batch,
            "gpu": GPU,
            "launches": dict(self.launches),
            "moves": self.moves,
            "defined": round(self.defined, 4),
            "floors": {state: _rounded(s) for state, s in self.floors.items()},
            "without_cost": dict(self.without_cost),
            "defined_cost": round(self.defined_cost, 4),
            "bounded": self.bounded,
            "kernels": [
                {**attrs.asdict(k), "floor": None if k.floor is None else _rounded(k.floor)}
                for k in self.kernels
            ],
        }


SHARE_COLUMNS = (
    "step",
    "launches with a definition",
    "their cost",
    "copies and collectives",
    "without a definition",
)
"""What the cells of `share_cells` are."""


def share_cells(step: StepShare) -> tuple[str, str, str, str, str]:
    """A step in a row of a table: its stage, both shares, what moves data, and what is lacking."""
    moves = [f"{k.what} ({k.count})" for k in step.kernels if k.state in MOVES]
    gaps = [f"{k.what} ({k.count})" for k in step.kernels if k.state in ("named", "unknown")]
    return step.stage, step.launches_text, step.cost_text, ", ".join(moves), ", ".join(gaps)


def share_note(gpu: str) -> tuple[str, ...]:
    """What the shares are, in lines of Markdown."""
    decode, prefill = BATCHES["decode"], BATCHES["prefill"]
    return (
        f"What one step launches: decode of {decode}, prefill of {prefill}. A launch weighs its",
        f"floor on one {gpu}. One without a definition weighs what reading its weights once takes,",
        "or nothing where that is not known: the share of cost is at most what is given then.",
        "What moves data and computes nothing, within a device or between ranks, is named by a",
        "plugin and weighs nothing.",
    )


def _rounded(seconds: float) -> float:
    return float(f"{seconds:.6g}")


def shares(found: Iterable[Launch], registry: Registry) -> tuple[StepShare, ...]:
    """The shares of a decode step and a prefill step, each at its batch.

    Args:
        found: The launches of one model.
        registry: The plugins, which write definitions and count their costs.
    """
    several = list(found)
    costs = LaunchCosts(several, registry)
    return tuple(
        _share(batch, [one for one in several if one.stage == batch.stage], costs)
        for batch in BATCHES.values()
    )


def _share(batch: StepBatch, found: Iterable[Launch], costs: LaunchCosts) -> StepShare:
    gpu = gpu_called(GPU)
    kernels = [
        Weighed(one.state, one.what, one.count, costs.seconds(one, batch, gpu)) for one in found
    ]
    counts: Counter[str] = Counter()
    without: Counter[str] = Counter()
    seconds: dict[str, float] = dict.fromkeys(LAUNCH_STATES, 0.0)
    for kernel in kernels:
        counts[kernel.state] += kernel.count
        if kernel.floor is None:
            without[kernel.state] += kernel.count
        else:
            seconds[kernel.state] += kernel.floor
    return StepShare(
        stage=batch.stage,
        batch=str(batch),
        launches={state: counts[state] for state in LAUNCH_STATES},
        floors=seconds,
        without_cost={state: without[state] for state in LAUNCH_STATES},
        kernels=tuple(
            sorted(kernels, key=lambda k: (-(k.floor or 0.0), -k.count, k.state, k.what))
        ),
    )
