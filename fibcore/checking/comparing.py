"""Whether a record of a table is what a model has."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import attrs

from fibcore.checking.reading import TableRow
from fibcore.checking.report import State, Verdict
from fibcore.exporting.shapes import KernelShape
from fibcore.reports.coverage.handkept.quantities import meaning


@attrs.frozen
class KnownModel:
    """What is derived of a model.

    Attributes:
        slug: The model.
        origin: Where its config is from.
        config: Integers of its config by key.
        shapes: Its kernels, at one or several ways to cut them.
    """

    slug: str
    origin: str
    config: Mapping[str, int]
    shapes: Sequence[KernelShape]


def compare(record: TableRow, models: Sequence[KnownModel]) -> Verdict:
    """Hold a record against the models that it may be about; one that has it all is enough."""
    verdicts = [_of_model(record, model) for model in models]
    for state in ("right", "wrong", "unknown"):
        for verdict in verdicts:
            if verdict.state == state:
                return verdict
    return Verdict(str(record), "unknown", "", "it names no model that is known")


def _of_model(record: TableRow, model: KnownModel) -> Verdict:
    """By its kernels where all columns are their axes, else by its config."""
    names = {name.lower(): name for shape in model.shapes for name in shape.sizes}
    variable = {name.lower() for shape in model.shapes for name in shape.variable}
    given = {name.lower(): value for name, value in record.numbers.items()}
    sizes = {names[name]: value for name, value in given.items() if name in names}
    kernels = [shape for shape in model.shapes if sizes.keys() <= shape.sizes.keys()]
    if sizes and kernels and given.keys() <= names.keys() | variable:
        return _of_kernels(record, model, sizes, kernels)
    return _of_config(record, model)


def _of_kernels(
    record: TableRow, model: KnownModel, sizes: Mapping[str, int], kernels: Sequence[KernelShape]
) -> Verdict:
    best = min(kernels, key=lambda shape: _distance(shape, sizes))
    where = "; ".join(
        f"{name} {best.sizes[name]} from {best.origins[name]}"
        for name in sizes
        if name in best.origins
    )
    served = f"{best.definition} (TP {best.tp}, EP {best.ep})"
    if all(best.sizes[name] == value for name, value in sizes.items()):
        return Verdict(str(record), "right", model.slug, served, where)
    true = ", ".join(
        f"{name} {best.sizes[name]}, not {value}"
        for name, value in sizes.items()
        if best.sizes[name] != value
    )
    return Verdict(str(record), "wrong", model.slug, f"nearest is {served}: {true}", where)


def _distance(shape: KernelShape, sizes: Mapping[str, int]) -> tuple[int, float]:
    """How many sizes differ, and then by which factors."""
    pairs = [(shape.sizes[name], value) for name, value in sizes.items()]
    factors = (abs(math.log(max(true, 1) / max(said, 1))) for true, said in pairs)
    return sum(true != said for true, said in pairs), sum(factors)


def _of_config(record: TableRow, model: KnownModel) -> Verdict:
    """Numbers of an architecture, each by itself."""
    wrong: list[str] = []
    right: list[str] = []
    for label, value in record.numbers.items():
        found = meaning(label, model.config)
        candidates = (
            [(key, model.config[key]) for key in found[1] if key in model.config] if found else []
        )
        if not candidates:
            continue
        matching = [key for key, true in candidates if true == value]
        if matching:
            right.append(f"{label} {value} is {matching[0]}")
        else:
            key, true = candidates[0]
            wrong.append(f"{label} is {true} ({key}), not {value}")
    if not wrong and not right:
        return Verdict(
            str(record), "unknown", model.slug, "nothing of the model has names like these"
        )
    state: State = "wrong" if wrong else "right"
    return Verdict(str(record), state, model.slug, "; ".join(wrong or right), model.origin)
