"""The network drawn: a box for each layer in the order in which they run, and what each one reads
as arcs beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dpnet.host.page.markup import Child, Html, element

__all__ = ["Box", "Edge", "network_drawing"]

PITCH = 52
"""Pixels from a box to the next one, as in the style sheet."""
LANE, DOT = 13, 14


@dataclass(frozen=True)
class Box:
    """A box: two lines with something at the right of each, the anchor of what it is about (empty
    for none), and a share, 0 to 1, of which it has a bar."""

    name: str
    name_right: str
    line: str
    line_right: str
    anchor: str = ""
    share: float = 0.0


@dataclass(frozen=True, order=True)
class Edge:
    """From a box to a later one, by their numbers; `skip` values are added."""

    start: int
    end: int
    skip: bool = False


def network_drawing(boxes: Sequence[Box], edges: Sequence[Edge]) -> Html:
    """The boxes below each other."""
    lanes = _lanes(edges)
    width = DOT + LANE * (1 + max(lanes.values(), default=0)) + 8
    parts: list[Child] = [
        _edge(edge, lanes.get(edge, 0), width - DOT, boxes) for edge in sorted(set(edges))
    ]
    for n in range(len(boxes)):
        parts.append(element("circle", class_="f1", cx=width - DOT, cy=_middle(n), r=4.5))
    drawing = element(
        "svg",
        parts,
        width=width,
        height=PITCH * len(boxes),
        role="img",
        aria_label="what each layer reads",
    )
    items = element("ol", [_box(box) for box in boxes], style=f"margin-left: {width}px")
    return element("div", drawing, items, class_="net")


def _box(box: Box) -> Html:
    name: Child = element("b", box.name)
    if box.anchor:
        name = element("a", name, href=f"#{box.anchor}")
    bar = element("rect", class_="f2", width=f"{100 * box.share:.3f}%", height=3)
    return element(
        "li",
        element(
            "div",
            element("span", name, title=box.name),
            element("span", box.name_right),
            element("span", box.line, class_="soft", title=box.line),
            element("span", box.line_right, class_="soft"),
            element("svg", bar, aria_hidden="true") if box.share else None,
        ),
    )


def _middle(box: int) -> int:
    return PITCH * box + PITCH // 2


def _lanes(edges: Sequence[Edge]) -> dict[Edge, int]:
    """A lane for each edge that passes boxes by, and for skip values of what is read too: short
    ones inside, none over another one but where both begin at the same box."""
    taken: list[list[Edge]] = []
    found: dict[Edge, int] = {}
    plain = {Edge(edge.start, edge.end) for edge in edges if not edge.skip}
    long = {
        edge
        for edge in edges
        if edge.end > edge.start + 1 or (edge.skip and replace(edge, skip=False) in plain)
    }
    for edge in sorted(long, key=lambda edge: (edge.end - edge.start, edge)):
        lane = next(
            (n for n, others in enumerate(taken) if not any(_meet(edge, o) for o in others)),
            len(taken),
        )
        if lane == len(taken):
            taken.append([])
        taken[lane].append(edge)
        found[edge] = lane + 1
    return found


def _meet(one: Edge, other: Edge) -> bool:
    return one.start <= other.end and other.start <= one.end and one.start != other.start


def _edge(edge: Edge, lane: int, x: int, boxes: Sequence[Box]) -> Html:
    top, bottom = _middle(edge.start), _middle(edge.end)
    if lane:
        far = x - LANE * lane
        path = (
            f"M {x} {top} C {far} {top} {far} {top} {far} {top + 18} "
            f"V {bottom - 18} C {far} {bottom} {far} {bottom} {x - 7} {bottom}"
        )
    else:
        path = f"M {x} {top} V {bottom - 7}"
    what = "is added to" if edge.skip else "is read by"
    told = element("title", f"{boxes[edge.start].name} {what} {boxes[edge.end].name}")
    line = element("path", class_="skip" if edge.skip else "edge", d=path)
    return element("g", told, line, _arrow(edge, lane, x, bottom))


def _arrow(edge: Edge, lane: int, x: int, y: int) -> Html:
    shape = f"M {x - 5} {y} l -6 -4 v 8 z" if lane else f"M {x} {y - 5} l -4 -6 h 8 z"
    return element("path", d=shape, fill="var(--c5)" if edge.skip else "var(--soft)")
