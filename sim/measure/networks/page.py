"""The page of all networks: their figures in a table, and each one drawn with its cycles.

One file without script, which asks for nothing from anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dpnet.host.page.document import POLICY
from dpnet.host.page.drawing import Box, network_drawing
from dpnet.host.page.markup import Child, Html, element, raw
from dpnet.host.page.numbers import Axis, percent, shape_text, size_text
from dpnet.host.page.overview import edges
from dpnet.host.page.rows import Bar, Dots, Kind, bars, dots
from dpnet.host.page.style import STYLE
from dpnet.host.page.subject import Subject
from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.sim.measure.networks.row import Row

__all__ = ["page"]

CYCLES = (
    Kind("additions", 1),
    Kind("drains", 2),
    Kind("waits", 3),
    Kind("start and end", 4),
)
ACCURACIES = (
    Kind("float", 4, hollow=True),
    Kind("weights on codebooks", 2, square=True),
    Kind("engine", 1),
)
CLOCK_MHZ = 100
"""The clock that times are told for: the paper's."""
HEAD = (
    "network",
    "bits",
    "pictures",
    "values compared",
    "differ",
    "cycles",
    "lanes used",
    "float",
    "codebooks",
    "engine",
    "error",
    "image",
    "in float",
)

Shown = Sequence[tuple[Row, Subject]]


def page(
    engine: MapEngineParameters,
    command: str,
    shown: Shown,
    left_out: Mapping[str, Sequence[str]],
) -> str:
    """The whole document, of at least one network; `left_out` says by name why others are not in
    it."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", "Whole networks on the map engine"),
        element("style", raw(STYLE)),
    )
    body = element(
        "body",
        _overview(engine, command, shown, left_out),
        element(
            "main", _table(shown), _cycles(shown), _accuracies(shown), [_one(*x) for x in shown]
        ),
    )
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en').text}\n"


def _overview(
    engine: MapEngineParameters,
    command: str,
    shown: Shown,
    left_out: Mapping[str, Sequence[str]],
) -> Html:
    rows = [row for row, _ in shown]
    tiles = (
        (str(len(rows)), "networks, compiled, calibrated and rounded by one command"),
        (f"{sum(row.pictures for row in rows):,}", "inputs computed in RTL"),
        (f"{sum(row.outputs for row in rows):,}", "values of results and maps compared"),
        (f"{sum(row.mismatches for row in rows):,}", "of them differ from the golden model"),
    )
    size = f"{engine.clusters} clusters × {engine.stages} stages × 16 = {engine.lanes:,} lanes"
    return element(
        "header",
        element("h1", "Whole networks on the map engine"),
        element("p", f"{size}, in simulated RTL; measured by ", element("code", command), "."),
        element("div", [_tile(*tile) for tile in tiles], class_="tiles"),
        [element("p", f"Left out: {name}: {'; '.join(why)}") for name, why in left_out.items()],
    )


def _tile(value: str, said: str) -> Html:
    return element("div", element("b", value), element("span", said), class_="tile")


def _table(shown: Shown) -> Html:
    head = [element("th", title, class_=None if n else "text") for n, title in enumerate(HEAD)]
    lines = [element("tr", _cells(row)) for row, _ in shown]
    table = element(
        "table", element("thead", element("tr", head)), element("tbody", lines), id="networks"
    )
    return element(
        "section",
        element("h2", "All networks"),
        element(
            "p",
            "Values compared: those of results and of every map of every layer, from RTL, with the "
            "golden model's. Cycles: a picture's, from its start to its last result, counted by "
            "the engine and equal to the planner's where nothing differs. Lanes used: of all lanes "
            "and cycles, those that add a weight. Float, codebooks, engine: right answers of the "
            "float network, of the one with its weights on codebooks, of the integers. Error: of "
            "the results in integers against those of the float network.",
            class_="soft",
        ),
        element("div", table, class_="wide", tabindex=0, role="region", aria_label="all networks"),
    )


def _cells(row: Row) -> list[Child]:
    cells = (
        str(row.bits),
        f"{row.pictures:,}",
        f"{row.outputs:,}",
        f"{row.mismatches:,}",
        f"{row.cycles_per_picture:,}",
        percent(row.utilization, 0),
        *map(_right, (row.accuracy_float, row.accuracy_codebooks, row.accuracy_engine)),
        percent(row.result_error),
        size_text(row.bytes_image),
        size_text(row.bytes_float),
    )
    name = element("td", element("a", row.name, href=f"#{row.name}"), class_="text name")
    return [name, *(element("td", cell) for cell in cells)]


def _right(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f} %"


def _cycles(shown: Shown) -> Html:
    lines = []
    for row, about in shown:
        kinds = [layer.cycles for layer in about.layers]
        parts = (
            sum(one.adds for one in kinds),
            sum(one.drains for one in kinds),
            sum(one.waits for one in kinds),
            sum(one.start + one.end for one in kinds),
        )
        said = f"{about.cycles:,} cycles"
        lines.append(Bar(row.name, row.name, [100 * part / about.cycles for part in parts], said))
    return element(
        "section",
        element("h2", "Where the cycles go"),
        bars("Cycles of a picture by kind", "% of a picture's cycles", CYCLES, lines, ""),
    )


def _accuracies(shown: Shown) -> Html | None:
    lines, values = [], []
    for row, _ in shown:
        found = (row.accuracy_float, row.accuracy_codebooks, row.accuracy_engine)
        told = [one for one in found if one is not None]
        if told:
            values += told
            lines.append(Dots(row.name, row.name, found, f"{row.accuracy_engine:.2f} %"))
    if not lines:
        return None
    axis = Axis.over(max(0.0, min(values) - 1), 100.0)
    return element(
        "section",
        element("h2", "How many answers are right"),
        dots("Right answers of all samples", "%", ACCURACIES, lines, axis),
    )


def _one(row: Row, about: Subject) -> Html:
    clock = CLOCK_MHZ
    tiles = (
        (f"{row.cycles_per_picture:,}", "cycles a picture"),
        (f"{1e6 * clock / row.cycles_per_picture:,.0f}", f"pictures a second at {clock} MHz"),
        (percent(row.utilization), "of all lanes and cycles add a weight"),
        (size_text(row.bytes_image), f"in the image, {size_text(row.bytes_float)} in float"),
        *_judged(row),
    )
    where = row.engine.rpartition("/")[2]
    return element(
        "section",
        element("h2", row.name, id=row.name),
        element(
            "p",
            f"{about.weights:,} weights ({row.weights}) in {len(about.layers)} layers, calibrated "
            f"with {row.calibrated}. In RTL: {row.pictures:,} of its inputs, {row.outputs:,} "
            f"values compared, {row.mismatches:,} differ; engine ",
            element("code", where),
            ".",
        ),
        element("div", [_tile(*tile) for tile in tiles], class_="tiles"),
        element(
            "p",
            "Layers in the order in which the engine runs them. Solid arrows are what a layer "
            "reads, dashed ones what it adds; the orange bar is its part in the cycles, against "
            "the layer that takes most.",
            class_="soft",
        ),
        _drawn(about),
    )


def _judged(row: Row) -> Sequence[tuple[str, str]]:
    error = (percent(row.result_error), "error of the results against float")
    if row.accuracy_engine is None or row.accuracy_float is None:
        return (error,)
    lost = row.accuracy_float - row.accuracy_engine
    told = f"right of {row.samples_of_accuracy:,}, {lost:.2f} points less than float"
    return ((f"{row.accuracy_engine:.2f} %", told), error)


def _drawn(about: Subject) -> Html:
    graph, most = about.image.network, max(layer.cycles.total for layer in about.layers)
    boxes = [Box("picture", shape_text(graph.picture), f"tensor {graph.input.name}", "")]
    for layer in about.layers:
        cycles = layer.cycles.total
        share = percent(layer.utilization(about.lanes), 0) if layer.weights else "–"
        boxes.append(
            Box(
                layer.name,
                shape_text(layer.makes),
                f"{layer.operator}, lanes used {share}",
                f"{cycles:,} cycles",
                share=cycles / most,
            )
        )
    boxes += [Box(kind, "", "on the host", "") for kind in graph.host]
    return network_drawing(boxes, edges(graph))
