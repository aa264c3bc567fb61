"""Charts of a row for each layer: stacked bars, and marks on a scale.

A row's drawing is as wide as there is room: its places are percentages, its texts keep their size.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dpnet.host.page.markup import Child, Html, element
from dpnet.host.page.numbers import Axis, places

__all__ = ["Bar", "Dots", "Kind", "bars", "dots"]

HEIGHT = 22
AXIS = 38


@dataclass(frozen=True)
class Kind:
    """What is told apart in a chart: its name, its color's number, and for dots whether they are
    `hollow`, or `square`."""

    name: str
    color: int
    hollow: bool = False
    square: bool = False


@dataclass(frozen=True)
class Bar:
    """A row: its name, the anchor of what it is about, a value for each kind, what is said at its
    end; `outline`: another value, drawn around."""

    name: str
    anchor: str
    values: Sequence[float]
    said: str
    outline: float | None = None


@dataclass(frozen=True)
class Dots:
    """A row of marks: a value for each kind, None where there is none."""

    name: str
    anchor: str
    values: Sequence[float | None]
    said: str


def bars(title: str, unit: str, kinds: Sequence[Kind], rows: Sequence[Bar], outline: str) -> Html:
    """Stacked bars from 0 on; `unit` is the axis's title, `outline` the name of what is drawn
    around, empty for nothing."""
    largest = max((max(sum(row.values), row.outline or 0.0) for row in rows), default=0.0)
    axis = Axis.from_zero(largest)
    drawn = [(row.name, row.anchor, _bar(axis, kinds, row, outline), row.said) for row in rows]
    marks = [(_swatch(kind), kind.name) for kind in kinds] if len(kinds) > 1 or outline else []
    if outline:
        box = element("rect", class_="outline", x=1, y=1, width=14, height=10)
        marks.append((element("svg", box, aria_hidden="true"), outline))
    return _chart(title, unit, axis, marks, drawn)


def dots(title: str, unit: str, kinds: Sequence[Kind], rows: Sequence[Dots], axis: Axis) -> Html:
    """Marks on `axis`."""
    drawn = [(row.name, row.anchor, _marks(axis, kinds, row, unit), row.said) for row in rows]
    marks = [(element("svg", _mark(k, "8", 6), aria_hidden="true"), k.name) for k in kinds]
    return _chart(title, unit, axis, marks, drawn)


def _chart(
    title: str,
    unit: str,
    axis: Axis,
    marks: Iterable[tuple[Html, str]],
    rows: Iterable[tuple[str, str, Html, str]],
) -> Html:
    cells: list[Child] = []
    for name, anchor, drawing, said in rows:
        link = element("a", name, href=f"#{anchor}", title=name)
        cells += [element("div", link, class_="name"), drawing]
        cells.append(element("div", said, class_="value"))
    cells += [element("div"), _axis(axis, unit), element("div")]
    legend = element("ul", [element("li", mark, name) for mark, name in marks], class_="legend")
    grid = element("div", cells, class_="rows")
    return element("figure", element("figcaption", title), legend, grid)


def _bar(axis: Axis, kinds: Sequence[Kind], row: Bar, outline: str) -> Html:
    parts: list[Child] = [_grid(axis)]
    start = 0.0
    for kind, value in zip(kinds, row.values, strict=True):
        if value > 0:
            x, width = axis.at(start), axis.at(start + value) - axis.at(start)
            told = element("title", f"{row.name}: {kind.name} {value:,.6g}")
            place = {"x": _share(x), "width": _share(width), "y": 4, "height": HEIGHT - 8}
            parts.append(element("g", told, element("rect", class_=f"f{kind.color}", **place)))
        start += value
    if row.outline:
        told = element("title", f"{row.name}: {outline} {row.outline:,.6g}")
        place = {"x": 0, "width": _share(axis.at(row.outline)), "y": 2, "height": HEIGHT - 4}
        parts.append(element("g", told, element("rect", class_="outline", **place)))
    return element("svg", parts, height=HEIGHT, role="img", aria_label=f"{row.name}: {row.said}")


def _marks(axis: Axis, kinds: Sequence[Kind], row: Dots, unit: str) -> Html:
    parts: list[Child] = [_grid(axis)]
    for kind, value in zip(kinds, row.values, strict=True):
        if value is not None:
            mark = _mark(kind, _share(axis.at(value)), HEIGHT // 2)
            told = element("title", f"{row.name}: {kind.name} {value:.1f} {unit}")
            parts.append(element("g", told, mark))
    return element("svg", parts, height=HEIGHT, role="img", aria_label=f"{row.name}: {row.said}")


def _mark(kind: Kind, x: str, y: int) -> Html:
    color = f"s{kind.color} hollow" if kind.hollow else f"f{kind.color}"
    if not kind.square:
        return element("circle", class_=color, cx=x, cy=y, r=4.5)
    size = {"width": 8, "height": 8, "transform": "translate(-4 -4)"}
    return element("rect", class_=color, x=x, y=y, **size)


def _swatch(kind: Kind) -> Html:
    box = element("rect", class_=f"f{kind.color}", width=16, height=12)
    return element("svg", box, aria_hidden="true")


def _grid(axis: Axis) -> list[Html]:
    return [_line(axis, tick, 0, HEIGHT, "grid") for tick in axis.ticks]


def _line(axis: Axis, tick: float, top: int, bottom: int, class_: str) -> Html:
    x = _share(axis.at(tick))
    return element("line", class_=class_, x1=x, x2=x, y1=top, y2=bottom)


def _axis(axis: Axis, unit: str) -> Html:
    parts: list[Child] = [element("line", class_="axis", x1=0, x2="100%", y1=0.5, y2=0.5)]
    for tick in axis.ticks:
        at = axis.at(tick)
        anchor = "start" if at < 0.02 else "end" if at > 0.98 else "middle"
        parts.append(_line(axis, tick, 0, 4, "axis"))
        parts.append(element("text", places(tick), x=_share(at), y=16, text_anchor=anchor))
    parts.append(element("text", unit, class_="soft", x="50%", y=32, text_anchor="middle"))
    return element("svg", parts, height=AXIS, role="img", aria_label=f"axis: {unit}")


def _share(value: float) -> str:
    return f"{100 * value:.3f}%"
