"""The table of all layers."""

from __future__ import annotations

from collections.abc import Sequence

from dpnet.host.page.markup import Child, Html, element
from dpnet.host.page.numbers import percent, shape_text
from dpnet.host.page.subject import Layer, Subject

__all__ = ["layer_table"]

HEAD = (
    ("layer", True),
    ("operator", True),
    ("reads", True),
    ("makes", True),
    ("bits", False),
    ("K", False),
    ("weights", False),
    ("float bytes", False),
    ("engine bytes", False),
    ("cycles", False),
    ("lanes used", False),
)
"""Titles, and whether what is below is text."""


def layer_table(about: Subject) -> Html:
    """A row for each layer, and their sums."""
    rows = [_row(layer, _cells(about, layer)) for layer in about.layers]
    head = [element("th", title, class_="text" if text else None) for title, text in HEAD]
    foot = [
        element("td", cell, class_="text" if text else None)
        for cell, (_, text) in zip(_sums(about), HEAD, strict=True)
    ]
    table = element(
        "table",
        element("thead", element("tr", head)),
        element("tbody", rows),
        element("tfoot", element("tr", foot)),
        id="layers",
    )
    return element(
        "section",
        element("h2", "Layers"),
        element(
            "p",
            "K is the number of values that a row of weights has at most, bits what an index of "
            "one takes. Shapes are channels × rows × columns. Engine bytes are all that is loaded "
            "for a layer, in words of 4 bytes; ",
            "lanes used is the share of all lanes and cycles that add one of its weights.",
            class_="soft",
        ),
        element(
            "div", table, class_="wide", tabindex=0, role="region", aria_label="table of layers"
        ),
    )


def _row(layer: Layer, cells: Sequence[str]) -> Html:
    first = element("a", layer.name, href=f"#{layer.anchor}", title=layer.name)
    parts: list[Child] = [element("td", first, class_="text name")]
    for cell, (_, text) in zip(cells, HEAD[1:], strict=True):
        parts.append(element("td", cell, class_="text" if text else None))
    return element("tr", parts)


def _cells(about: Subject, layer: Layer) -> list[str]:
    return [
        layer.operator,
        shape_text(layer.reads),
        shape_text(layer.makes),
        str(max(1, (layer.k - 1).bit_length())) if layer.k else "–",
        str(layer.k) if layer.k else "–",
        f"{layer.weights:,}" if layer.float_bytes else "–",
        f"{layer.float_bytes:,}" if layer.float_bytes else "–",
        f"{layer.bytes.total:,}",
        f"{layer.cycles.total:,}",
        percent(layer.utilization(about.lanes)) if layer.weights else "–",
    ]


def _sums(about: Subject) -> list[str]:
    return [
        *("all", "", "", "", "", ""),
        f"{about.weights:,}",
        f"{about.float_bytes:,}",
        f"{about.engine_bytes:,}",
        f"{about.cycles:,}",
        percent(about.utilization),
    ]
