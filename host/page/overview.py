"""The page's beginning: what the network costs and how good it is, and the network drawn."""

from __future__ import annotations

from collections.abc import Iterator

from dpnet.host.page.drawing import Box, Edge, network_drawing
from dpnet.host.page.markup import Child, Html, element
from dpnet.host.page.numbers import percent, shape_text, size_text
from dpnet.host.page.subject import Subject
from dpnet.model.maps.layers import MapNetwork
from dpnet.model.maps.profile.records import Accuracies

__all__ = ["edges", "footer", "network", "overview"]

NO_PROFILE = (
    "The image carries no profile, so that nothing can be said here of its weights before they had "
    "codebooks, of its values, and of its errors: compile it again with one."
)
MANY_WAITS = 0.02
"""Of all cycles: waits that are worth a word."""
NOTABLE = 1e-3
"""A share of saturated values that is worth a word."""


def overview(about: Subject) -> Html:
    """The name, the figures that matter most, and what stands out."""
    engine = about.placement.params
    return element(
        "header",
        element("h1", about.name),
        element(
            "p",
            f"{len(about.layers)} layers and {about.weights:,} weights in integers, on a map "
            f"engine of {engine.clusters} × {engine.stages} × 16 = {engine.lanes:,} lanes.",
        ),
        element("div", [_tile(*tile) for tile in _tiles(about)], class_="tiles"),
        element("ul", [element("li", text) for text in _remarks(about)], class_="said"),
    )


def _tile(value: str, said: str) -> Html:
    return element("div", element("b", value), element("span", said), class_="tile")


def _tiles(about: Subject) -> Iterator[tuple[str, str]]:
    yield f"{about.cycles:,}", "cycles a picture, from its start to its last result"
    yield percent(about.utilization), "of all lanes and cycles add a weight"
    yield (
        size_text(about.file_bytes - about.profile_bytes),
        f"in the image, {size_text(about.float_bytes)} in float",
    )
    if about.profile is not None and about.profile.accuracy is not None:
        found = about.profile.accuracy
        yield percent(found.integers / found.pictures, 2), _beside_float(found)
    if about.measured is not None:
        count = f"{about.measured.pictures:,} pictures given to this report"
        yield f"{about.measured.percent:.2f} %", f"right in integers, of {count}"
    if about.result_ratio is not None:
        yield f"{about.result_ratio:.1f} dB", "from the result to its error against float"


def _beside_float(found: Accuracies) -> str:
    lost = 100 * (found.floats - found.integers) / found.pictures
    if not lost:
        return f"right in integers, as many of {found.pictures:,} pictures as in float"
    return f"right in integers, {abs(lost):.2f} points {'less' if lost > 0 else 'more'} than float"


def _ran(about: Subject) -> Iterator[str]:
    ran = about.ran
    if ran is None:
        yield "Cycles are the planner's; this page was made without an engine."
        return
    many = "s" * (ran.pictures > 1)
    yield (
        f"{ran.pictures} picture{many} ran on an engine for this page: of {ran.values:,} values of "
        f"all maps and results {ran.mismatches:,} differ from the golden model."
    )
    if ran.late or ran.cycles != ran.predicted:
        yield (
            f"The engine counted {ran.cycles:,} cycles, {ran.predicted:,} are the formula's; "
            f"{ran.late:,} runs of pictures or passes took others than theirs."
        )
    else:
        yield f"The engine counted {ran.cycles:,} cycles, the formula's, and those of every pass."


def _remarks(about: Subject) -> Iterator[str]:
    yield from _ran(about)
    total = about.cycles
    most = max(about.layers, key=lambda one: one.cycles.total)
    yield (
        f"Most cycles: {most.name} with {percent(most.cycles.total / total)} of them, its "
        f"lanes used to {percent(most.utilization(about.lanes))}."
    )
    drains = sum(one.cycles.drains for one in about.layers)
    yield f"Lanes wait for drains in {percent(drains / total)} of the cycles."
    waits = sum(one.cycles.waits for one in about.layers)
    if waits > MANY_WAITS * total:
        yield f"Layers wait for values of the one before in {percent(waits / total)} of the cycles."
    if about.profile is None:
        yield NO_PROFILE
        return
    parts = [one.noise.output for one in about.profile.layers]
    worst = about.profile.layers[max(range(len(parts)), key=parts.__getitem__)]
    if sum(parts):
        share = percent(worst.noise.output / sum(parts))
        yield f"{worst.name} costs most: {share} of the result's error that layers cause alone."
    saturated = [one for one in about.profile.tensors if one.saturated > NOTABLE]
    if saturated:
        names = ", ".join(f"{one.name} ({percent(one.saturated, 2)})" for one in saturated)
        yield f"More than {percent(NOTABLE)} of the integers saturate in {names}."
    else:
        yield f"In no tensor more than {percent(NOTABLE)} of the integers saturate."


def network(about: Subject) -> Html:
    """The network drawn."""
    graph, largest = about.image.network, max(x.cycles.total for x in about.layers)
    shape = shape_text(graph.picture)
    boxes = [Box("picture", shape, f"tensor {graph.input.name}", "")]
    for layer in about.layers:
        cycles = layer.cycles.total
        boxes.append(
            Box(
                layer.name,
                shape_text(layer.makes),
                layer.operator,
                f"{cycles:,} cycles",
                layer.anchor,
                cycles / largest,
            )
        )
    boxes += [Box(kind, "", "on the host", "") for kind in graph.host]
    return element(
        "section",
        element("h2", "The network"),
        element(
            "p",
            "Layers in the order in which the engine runs them, with what each one makes. Solid "
            "arrows are what a layer reads, dashed ones what it adds; the orange bar is its part "
            "in the cycles, against the layer that takes most.",
            class_="soft",
        ),
        network_drawing(boxes, edges(graph)),
    )


def edges(graph: MapNetwork) -> list[Edge]:
    """From the layers that write a tensor (box n + 1 is layer n, box 0 the picture) to those that
    read it; and on to what the host does."""
    writers: dict[str, list[int]] = {graph.input.name: [0]}
    found = []
    for n, layer in enumerate(graph.layers, start=1):
        found += [Edge(one, n) for one in writers[layer.input]]
        if layer.skip is not None:
            found += [Edge(one, n, skip=True) for one in writers[layer.skip.tensor]]
        writers.setdefault(layer.output, []).append(n)
    ends = writers[graph.output]
    for place in range(len(graph.layers) + 1, len(graph.layers) + 1 + len(graph.host)):
        found += [Edge(one, place) for one in ends]
        ends = [place]
    return found


def footer(about: Subject) -> Html:
    """What the engine is, and what was noted in the image."""
    engine = vars(about.placement.params)
    noted = [(str(name), str(value)) for name, value in about.image.about.items()]
    parts: list[Child] = [
        element("p", ", ".join(f"{name} {value}" for name, value in engine.items())),
        [element("p", f"{name}: {value}") for name, value in noted],
    ]
    return element("footer", element("h2", "The engine and the image"), parts, class_="soft")
