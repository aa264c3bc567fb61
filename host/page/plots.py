"""Histograms: of a layer's weights with its centroids, of a row's, of a tensor's values."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from dpnet.host.page.markup import Child, Html, element
from dpnet.host.page.numbers import Axis, places, short
from dpnet.model.maps.profile.records import Histogram, Row, Weights

__all__ = ["row_plot", "values_plot", "weights_plot"]

WIDTH, HEIGHT = 360, 186
LEFT, RIGHT, TOP, BOTTOM = 44, 8, 8, 36
"""What the axes have around the plot."""

Height = Callable[[float], float]
"""0 to 1, of a count."""


def weights_plot(weights: Weights) -> Html:
    """All weights of a layer as bars, their centroids as a line in the same bins."""
    before, after = weights.before, weights.after
    axis = Axis.over(before.low, before.high, 4)
    up = Axis.from_zero(max(*before.counts, *after.counts), 3, whole=True)
    parts: list[Child] = [
        _frame(axis, [(tick, up.at(tick)) for tick in up.ticks], "weight", "weights"),
        _bins(axis, before, up.at, "f6"),
        _steps(axis, after, up.at),
    ]
    return _plot(parts, f"weights from {short(before.low)} to {short(before.high)}")


def row_plot(row: Row) -> Html:
    """A row's weights as bars; each of its centroids as a stem, as high as it is used often."""
    axis = Axis.over(row.weights.low, row.weights.high, 4)
    up = Axis.from_zero(max(*row.weights.counts, *row.uses), 3, whole=True)
    stems: list[Child] = []
    for centroid, uses in zip(row.centroids, row.uses, strict=True):
        x, y = _x(axis, centroid), _y(up.at(uses))
        told = element("title", f"centroid {short(centroid)}: {uses} weights")
        line = element("line", class_="s5", x1=x, x2=x, y1=_y(0), y2=y)
        stems.append(element("g", told, line, element("circle", class_="f5", cx=x, cy=y, r=3)))
    parts: list[Child] = [
        _frame(axis, [(tick, up.at(tick)) for tick in up.ticks], "weight", "weights"),
        _bins(axis, row.weights, up.at, "f6"),
        stems,
    ]
    return _plot(parts, f"row {row.number} with {len(row.centroids)} centroids")


def values_plot(values: Histogram, low: float, high: float) -> Html:
    """A tensor's values, their counts in a logarithmic scale; what its integers do not reach below
    `low` and above `high` is shaded."""
    axis = Axis.over(min(values.low, low), max(values.high, high), 4)
    digits = math.ceil(math.log10(max(2, *values.counts)))

    def up(count: float) -> float:
        # A single value must be seen: 1 is a little above the axis.
        return (math.log10(count) + 0.15) / (digits + 0.15) if count >= 1 else 0.0

    step = max(1, math.ceil(digits / 5))
    ticks = [(10.0**n, up(10.0**n)) for n in range(0, digits + 1, step)]
    parts: list[Child] = [
        _beyond(axis, low, high),
        _frame(axis, ticks, "value", "values"),
        _bins(axis, values, up, "f1"),
        *[_limit(axis, end) for end in (low, high)],
    ]
    return _plot(parts, f"values from {short(values.low)} to {short(values.high)}")


def _plot(parts: list[Child], label: str) -> Html:
    view = f"0 0 {WIDTH} {HEIGHT}"
    return element("svg", parts, class_="plot", viewBox=view, role="img", aria_label=label)


def _x(axis: Axis, value: float) -> float:
    return round(LEFT + axis.at(value) * (WIDTH - LEFT - RIGHT), 2)


def _y(share: float) -> float:
    return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 2)


def _frame(axis: Axis, ups: Sequence[tuple[float, float]], below: str, beside: str) -> list[Child]:
    parts: list[Child] = []
    for count, share in ups:
        y = _y(share)
        parts.append(element("line", class_="grid", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y))
        parts.append(
            element("text", places(count), x=LEFT - 4, y=round(y + 4, 2), text_anchor="end")
        )
    bottom = _y(0)
    parts.append(element("line", class_="axis", x1=LEFT, x2=WIDTH - RIGHT, y1=bottom, y2=bottom))
    for tick in axis.ticks:
        x = _x(axis, tick)
        parts.append(element("line", class_="axis", x1=x, x2=x, y1=bottom, y2=bottom + 4))
        parts.append(element("text", places(tick), x=x, y=bottom + 16, text_anchor=_anchor(x)))
    middle = (LEFT + WIDTH - RIGHT) / 2
    said = {"class_": "soft", "text_anchor": "middle"}
    parts.append(element("text", below, x=middle, y=HEIGHT - 4, **said))
    turned = f"translate(9 {_y(0.5)}) rotate(-90)"
    parts.append(element("text", beside, transform=turned, **said))
    return parts


def _anchor(x: float) -> str:
    return "end" if x > WIDTH - RIGHT - 12 else "middle"


def _edges(axis: Axis, values: Histogram) -> list[float]:
    count = len(values.counts)
    width = (values.high - values.low) / count
    return [_x(axis, values.low + n * width) for n in range(count + 1)]


def _bins(axis: Axis, values: Histogram, up: Height, class_: str) -> Html:
    """A bar for each bin that is not empty, all in one path: pages stay small."""
    edges, bars = _edges(axis, values), []
    for n, count in enumerate(values.counts):
        if count:
            width = max(round(edges[n + 1] - edges[n] - 0.4, 2), 1.0)
            bars.append(f"M{edges[n]} {_y(0)}V{_y(up(count))}h{width}V{_y(0)}z")
    return element("path", class_=class_, d="".join(bars))


def _steps(axis: Axis, values: Histogram, up: Height) -> Html:
    edges = _edges(axis, values)
    line = f"M {edges[0]} {_y(0)}"
    for n, count in enumerate(values.counts):
        line += f" V {_y(up(count))} H {edges[n + 1]}"
    return element("path", class_="s5", d=f"{line} V {_y(0)}")


def _beyond(axis: Axis, low: float, high: float) -> list[Child]:
    left, right, height = _x(axis, low), _x(axis, high), _y(0) - TOP
    ends = ((LEFT, left - LEFT), (right, WIDTH - RIGHT - right))
    return [
        element("rect", class_="shade", x=x, y=TOP, width=round(width, 2), height=height)
        for x, width in ends
        if width > 0.5
    ]


def _limit(axis: Axis, value: float) -> Html:
    x = _x(axis, value)
    told = element("title", f"the integers end at {short(value)}")
    return element("g", told, element("line", class_="s5", x1=x, x2=x, y1=TOP, y2=_y(0)))
