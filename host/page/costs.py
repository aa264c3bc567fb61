"""Where cycles and bytes go."""

from __future__ import annotations

from dataclasses import astuple

from dpnet.host.page.markup import Html, element
from dpnet.host.page.numbers import percent, size_text
from dpnet.host.page.rows import Bar, Kind, bars
from dpnet.host.page.subject import Subject

__all__ = ["costs"]

CYCLES = (
    Kind("additions", 1),
    Kind("drains", 2),
    Kind("waits", 3),
    Kind("start", 4),
    Kind("end", 5),
)
"""As in `dpnet.model.engine.maps.Cycles`."""
BYTES = (
    Kind("indices", 1),
    Kind("codebooks", 2),
    Kind("row parameters", 3),
    Kind("descriptors", 4),
)
"""As in `dpnet.model.engine.maps.Bytes`."""
USED = (Kind("lanes used", 1),)


def costs(about: Subject) -> Html:
    """Cycles by kind, utilization, bytes by kind."""
    return element(
        "section",
        element("h2", "Cycles"),
        element(
            "p",
            "Additions: the cycles in which a stage adds. Drains: a tile waits until its buckets "
            "are read, at least 16 cycles. Waits: a layer needs values that the layer before has "
            "not written yet. Start and end: the first descriptor is read, the last results are "
            "written.",
            class_="soft",
        ),
        _cycles(about),
        _used(about),
        element("h2", "Bytes"),
        element(
            "p",
            f"The image's file has {size_text(about.file_bytes)}{_profile(about)}, the network's "
            f"weights and biases in float {size_text(about.float_bytes)}. The engine is loaded "
            f"with {size_text(about.engine_bytes)}: its stores have room for 16 rows of 16 values "
            "in each row group, and an index for each of 16 lanes, whether a layer fills them or "
            "not. Descriptors count with the taps that no layer before has.",
            class_="soft",
        ),
        _bytes(about),
    )


def _profile(about: Subject) -> str:
    return f" ({size_text(about.profile_bytes)} of it for this page)" if about.profile else ""


def _cycles(about: Subject) -> Html:
    rows = []
    for layer in about.layers:
        cycles = layer.cycles
        said = f"{cycles.total:,}"
        rows.append(Bar(layer.name, layer.anchor, astuple(cycles), said))
    title = f"Cycles of each layer by kind: {about.cycles:,} a picture"
    return bars(title, "cycles", CYCLES, rows, "")


def _used(about: Subject) -> Html:
    rows = [
        Bar(layer.name, layer.anchor, [100 * share], percent(share) if share else "–")
        for layer in about.layers
        for share in [layer.utilization(about.lanes)]
    ]
    title = f"Utilization: {percent(about.utilization)} of {about.lanes:,} lanes over all layers"
    return bars(title, "% of lanes and cycles that add a weight", USED, rows, "")


def _bytes(about: Subject) -> Html:
    rows = []
    for layer in about.layers:
        found = layer.bytes
        said = f"{found.total:,}"
        rows.append(Bar(layer.name, layer.anchor, astuple(found), said, layer.float_bytes or None))
    title = f"Bytes in the engine by kind: {about.engine_bytes:,}"
    return bars(title, "bytes", BYTES, rows, "weights and biases in float")
