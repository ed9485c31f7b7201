"""Steps in HTML: a picture and a table for every step."""

from __future__ import annotations

from collections.abc import Iterator

from fibcore.pages import Bar, Cell, Column, Plot, Table, TableRow, bar_plot
from fibcore.reports.steps import Step

StepPart = tuple[Step, str, Plot, Table]
"""A step, its floors in words, its picture and its table."""

BARS = 20
"""The kernels that a picture has at most, those that take most."""


def step_parts(gpus: tuple[str, ...], number: int, steps: tuple[Step, ...]) -> Iterator[StepPart]:
    """What a page shows of steps: each with its floors in words, a picture and a table."""
    for step in steps:
        floors = ", ".join(f"{gpu} {1e3 * step.floors[gpu]:.3g} ms" for gpu in gpus)
        yield step, floors, _picture(step, gpus[0]), _table(step, gpus, number)


def _picture(step: Step, gpu: str) -> Plot:
    weighed = sorted(step.kernels, key=lambda kernel: -kernel.share)[:BARS]
    bars = [
        Bar(
            kernel.what,
            1e6 * kernel.floors[gpu],
            f"{kernel.what}: {kernel.share:.1%} of the step, {kernel.count} launches",
            series=kernel.bound,
        )
        for kernel in weighed
        if kernel.floors
    ]
    return bar_plot(bars, title=f"Floors of a {step.stage} step", label=f"microseconds on {gpu}")


def _table(step: Step, gpus: tuple[str, ...], number: int) -> Table:
    return Table(
        id=f"{step.stage}-{number}",
        caption=f"Kernels of a {step.stage} step, in order",
        columns=(
            Column("Order", kind="number"),
            Column("Kernel"),
            Column("Op type", filter=True),
            Column("State", filter=True),
            Column("Launches", kind="number"),
            Column("GFLOP", kind="number"),
            Column("MB", kind="number"),
            *(Column(f"{gpu}, \u00b5s", kind="number") for gpu in gpus),
            Column("Share, %", kind="number"),
            Column("Bound", filter=True),
        ),
        rows=tuple(
            TableRow(
                (
                    place,
                    Cell(kernel.what, code=True),
                    kernel.op_type,
                    kernel.state,
                    kernel.count,
                    _rounded(kernel.flops, 1e9),
                    _rounded(kernel.bytes, 1e6),
                    *(_rounded(kernel.floors.get(gpu), 1e-6) for gpu in gpus),
                    round(100 * kernel.share, 2),
                    kernel.bound,
                )
            )
            for place, kernel in enumerate(step.kernels, 1)
        ),
    )


def _rounded(value: float | None, unit: float) -> float | None:
    return None if value is None else float(f"{value / unit:.4g}")
