"""Small plots: where everything is drawn, for `plot.html` to draw it as inline SVG."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from fibcore.pages.axes import Tick, number, scale_of

WIDTH = 720.0
RIGHT = 24.0
TOP = 12.0
AXIS = 46.0  # below the plot: ticks and the axis label
CHARACTER = 7.7  # width of a character of the labels, 12 px, in wide system fonts (DejaVu Sans)
LABEL_CHARACTERS = 44

SERIES_COLOURS = 8
"""`page.css` has so many colours of series; more series begin again."""


@attrs.frozen
class Bar:
    """A bar: its label, value, what it says on hover, and where it links to."""

    label: str
    value: float
    title: str = ""
    href: str = ""
    series: str = ""


@attrs.frozen
class Point:
    """A point: its place, what it says on hover, where it links to, and its series (its colour).

    In a strip plot `y` is the name of the point's strip.
    """

    x: float
    y: float | str
    title: str
    href: str = ""
    series: str = ""


@attrs.frozen
class Mark:
    """A circle (`width` 0) or bar, in pixels."""

    x: float
    y: float
    title: str
    colour: int
    href: str = ""
    width: float = 0.0
    height: float = 0.0
    note: str = ""


@attrs.frozen
class Plot:
    """A plot as `plot.html` draws it.

    Attributes:
        title: What it shows.
        width: Pixels; so are all other numbers.
        height: Likewise.
        left: Where the x axis begins.
        right: Where it ends.
        top: Where the y axis ends.
        bottom: Where it begins.
        x_label: Name and unit of the x axis.
        y_label: Name and unit of the y axis; empty where its ticks are names.
        x_ticks: Ticks of the x axis.
        y_ticks: Ticks of the y axis.
        marks: What is plotted.
        legend: (series, colour) of the series.
        left_out: How many values could not be plotted: not finite, or negative on a logarithmic
            axis.
    """

    title: str
    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    x_label: str
    y_label: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    marks: tuple[Mark, ...]
    legend: tuple[tuple[str, int], ...] = ()
    left_out: int = 0


def _fits(value: float, log: bool) -> bool:
    # At the ends of what a float holds a scale would overflow.
    return (value == 0 or 1e-300 <= abs(value) <= 1e300) and (not log or value >= 0)


def _short(label: str) -> str:
    # The end of a kernel's name holds its sizes, so the middle is what goes.
    if len(label) <= LABEL_CHARACTERS:
        return label
    half = LABEL_CHARACTERS // 2
    return f"{label[: half - 1]}…{label[-half:]}"


def _left(labels: Iterable[str]) -> float:
    longest = max((len(label) for label in labels), default=0)
    return round(16 + CHARACTER * longest, 1)


def _colours(series: Iterable[str]) -> dict[str, int]:
    return {name: i % SERIES_COLOURS for i, name in enumerate(dict.fromkeys(series))}


def _legend(colours: dict[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple((name, colour) for name, colour in colours.items() if name)


def bar_plot(bars: Iterable[Bar], *, title: str, label: str, log: bool = False) -> Plot:
    """Horizontal bars, the first on top.

    Args:
        bars: The bars; values that cannot be shown are left out and counted.
        title: What the plot shows.
        label: What the values are, with their unit.
        log: Whether the axis is logarithmic.
    """
    given = tuple(bars)
    shown = [b for b in given if _fits(b.value, log)]
    labels = [_short(b.label) for b in shown]
    left = _left(labels)
    row = 24.0
    bottom = TOP + row * max(len(shown), 1)
    end = WIDTH - RIGHT - 48  # room for the number after the longest bar
    scale = scale_of([b.value for b in shown], left, end, log)
    colours = _colours(b.series for b in shown)
    base = left if log else scale.at(0.0)
    marks = []
    for index, bar in enumerate(shown):
        at = scale.at(bar.value)
        marks.append(
            Mark(
                x=min(base, at),
                y=TOP + row * index + 4,
                width=max(round(abs(at - base), 2), 1.0),
                height=row - 8,
                title=bar.title or f"{bar.label}: {number(bar.value)}",
                colour=colours[bar.series],
                href=bar.href,
                note=number(float(f"{bar.value:.3g}")),
            )
        )
    return Plot(
        title=title,
        width=WIDTH,
        height=bottom + AXIS,
        left=left,
        right=end,
        top=TOP,
        bottom=bottom,
        x_label=label,
        y_label="",
        x_ticks=scale.ticks(),
        y_ticks=tuple(
            Tick(TOP + row * (i + 0.5), labels[i], shown[i].label) for i in range(len(shown))
        ),
        marks=tuple(marks),
        legend=_legend(colours),
        left_out=len(given) - len(shown),
    )


def scatter_plot(
    points: Iterable[Point],
    *,
    title: str,
    x_label: str,
    y_label: str,
    log_x: bool = False,
    log_y: bool = False,
    height: float = 340.0,
) -> Plot:
    """Points by two numbers.

    Args:
        points: The points; those that cannot be shown are left out and counted.
        title: What the plot shows.
        x_label: What x is, with its unit.
        y_label: What y is, with its unit.
        log_x: Whether the x axis is logarithmic.
        log_y: Whether the y axis is logarithmic.
        height: Pixels.
    """
    given = tuple(points)
    shown = [
        (p, float(p.y))
        for p in given
        if not isinstance(p.y, str) and _fits(p.x, log_x) and _fits(p.y, log_y)
    ]
    left, bottom = 76.0, height - AXIS
    x = scale_of([p.x for p, _ in shown], left, WIDTH - RIGHT, log_x)
    y = scale_of([value for _, value in shown], bottom, TOP, log_y)
    colours = _colours(p.series for p, _ in shown)
    return Plot(
        title=title,
        width=WIDTH,
        height=height,
        left=left,
        right=WIDTH - RIGHT,
        top=TOP,
        bottom=bottom,
        x_label=x_label,
        y_label=y_label,
        x_ticks=x.ticks(),
        y_ticks=y.ticks(),
        marks=tuple(
            Mark(x.at(p.x), y.at(value), p.title, colours[p.series], p.href) for p, value in shown
        ),
        legend=_legend(colours),
        left_out=len(given) - len(shown),
    )


def strip_plot(points: Iterable[Point], *, title: str, label: str, log: bool = False) -> Plot:
    """Points by one number, in a strip for every `Point.y`, in the order of their first points.

    Args:
        points: The points; those that cannot be shown are left out and counted.
        title: What the plot shows.
        label: What x is, with its unit.
        log: Whether the axis is logarithmic.
    """
    given = tuple(points)
    shown = [p for p in given if _fits(p.x, log)]
    strips = list(dict.fromkeys(str(p.y) for p in shown))
    labels = [_short(name) for name in strips]
    left = max(_left(labels), 76.0)
    row = 40.0
    bottom = TOP + row * max(len(strips), 1)
    scale = scale_of([p.x for p in shown], left, WIDTH - RIGHT, log)
    colours = _colours(p.series for p in shown)
    counts = dict.fromkeys(strips, 0)
    marks = []
    for point in shown:
        strip = str(point.y)
        # Low-discrepancy offsets spread equal values, the same way every time.
        offset = (counts[strip] * 0.618034) % 1.0 - 0.5
        counts[strip] += 1
        y = TOP + row * (strips.index(strip) + 0.5) + offset * row * 0.6
        marks.append(
            Mark(scale.at(point.x), round(y, 2), point.title, colours[point.series], point.href)
        )
    return Plot(
        title=title,
        width=WIDTH,
        height=bottom + AXIS,
        left=left,
        right=WIDTH - RIGHT,
        top=TOP,
        bottom=bottom,
        x_label=label,
        y_label="",
        x_ticks=scale.ticks(),
        y_ticks=tuple(
            Tick(TOP + row * (i + 0.5), labels[i], name) for i, name in enumerate(strips)
        ),
        marks=tuple(marks),
        legend=_legend(colours),
        left_out=len(given) - len(shown),
    )
