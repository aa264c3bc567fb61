"""What an image of a map engine is, as text and as JSON: its layers on an engine, its tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from dpnet.host.commands import figures
from dpnet.host.maps.engines import engine_url
from dpnet.host.report import on_a_line, table, table_width, terminal_width
from dpnet.model.engine.maps.figures import LayerFigures, NetworkFigures, network_figures
from dpnet.model.image.maps import MapImage
from dpnet.model.image.maps.layer_tensors import stored_bytes
from dpnet.model.indices import index_bits

__all__ = ["calibration_table", "document_of", "layer_table", "saturation_text", "summary"]

MHZ = 100
HEAD = ("layer", "operator", "input", "output", "K", "bytes", "cycles", "lanes", "source")
LESS = (("input",), ("input", "source"))
"""Columns that a narrow terminal goes without."""
SCALES = ("tensor", "least", "largest", "integers", "step", "reaches to", "saturated", "error")
FEWER = (("reaches to",), ("reaches to", "integers"))


def document_of(image: MapImage) -> dict[str, Any]:
    """All of an image, in JSON's types."""
    found = network_figures(image.engine, image.network)
    network = image.network
    return {
        "kind": "maps",
        "engine": engine_url(image.engine),
        "lanes": image.engine.lanes,
        "input_shape": list(image.input_shape),
        "output_shape": list(image.output_shape),
        "classes": image.classes,
        "input_range": list(image.input_range),
        "input_zero": network.input.zero,
        "padding": list(network.padding),
        "host": list(network.host),
        "weights": image.weights,
        "cycles": found.cycles,
        "utilization": found.utilization,
        "layers": [_layer(row, image) for row in found.layers],
        "tensors": [
            figures({**asdict(scale), "shape": list(network.tensor(name).shape)})
            for name, scale in image.calibration.items()
        ],
        "about": dict(image.about),
    }


def _layer(row: LayerFigures, image: MapImage) -> dict[str, Any]:
    source = image.sources.get(row.name)
    return {
        "name": row.name,
        "operator": row.operator,
        "input": list(row.input),
        "output": list(row.output),
        "k": row.k,
        "bits": None if row.k is None else index_bits(row.k),
        "weights": _weights(row),
        "bytes": _bytes(row),
        "adds": row.adds,
        "cycles": row.cycles,
        "utilization": row.utilization,
        "source": None if source is None else asdict(source),
    }


def _weights(row: LayerFigures) -> int:
    return 0 if row.layer is None or row.layer.indices is None else row.layer.indices.size


def _bytes(row: LayerFigures) -> int:
    return 0 if row.layer is None else sum(stored_bytes(row.layer).values())


def layer_table(image: MapImage) -> str:
    """The layers, one a line, as wide as the terminal allows."""
    rows = [_cells(row, image) for row in network_figures(image.engine, image.network).layers]
    return _fitted(HEAD, rows, LESS)


def _fitted(
    head: Sequence[str], rows: Sequence[Sequence[str]], less: Sequence[Sequence[str]]
) -> str:
    """A table with as few of its columns left out as the terminal allows."""
    for left_out in ((), *less):
        kept = [n for n, name in enumerate(head) if name not in left_out]
        titles, cells = [head[n] for n in kept], [[row[n] for n in kept] for row in rows]
        if table_width(titles, cells) <= terminal_width():
            break
    return table(titles, cells)


def _cells(row: LayerFigures, image: MapImage) -> list[str]:
    source = image.sources.get(row.name)
    return [
        on_a_line(row.name),
        on_a_line(row.operator),
        _shape(row.input),
        _shape(row.output),
        "–" if row.k is None else str(row.k),
        f"{_bytes(row):,}",
        f"{row.cycles:,}",
        f"{row.utilization:.0%}" if row.adds else "–",
        "" if source is None or not source.file else on_a_line(f"{source.file}:{source.line}"),
    ]


def _shape(shape: Sequence[int]) -> str:
    """(64, 1, 1) as 64."""
    vector = len(shape) == 3 and tuple(shape[1:]) == (1, 1)
    return "×".join(map(str, shape[:1] if vector else shape))


def calibration_table(image: MapImage) -> str:
    """How every tensor's scale was chosen."""
    rows = []
    for scale in image.calibration.values():
        kind = "signed" if scale.signed else f"from {-scale.zero}" if scale.zero else "unsigned"
        rows.append(
            (
                on_a_line(scale.tensor),
                f"{scale.low:.5g}",
                f"{scale.high:.5g}",
                kind,
                f"{scale.scale:.5g}",
                on_a_line(scale.choice),
                f"{scale.saturated:.3%}",
                f"{scale.error:.2%}",
            )
        )
    return _fitted(SCALES, rows, FEWER)


def saturation_text(shares: Mapping[str, float]) -> str:
    """The tensors of which most is cut off, the worst first."""
    worst = sorted((x for x in shares.items() if x[1] > 0), key=lambda x: -x[1])
    if not worst:
        return "nothing saturates"
    shown = ", ".join(f"{share:.3%} of {on_a_line(name)}" for name, share in worst[:3])
    more = f", and {len(worst) - 3} tensors more" if len(worst) > 3 else ""
    return f"saturated: {shown}{more}"


def summary(image: MapImage) -> list[str]:
    """What is worth a line."""
    found: NetworkFigures = network_figures(image.engine, image.network)
    low, high = image.input_range
    host = f"; the host does {', '.join(image.network.host)}" if image.network.host else ""
    return [
        f"{image.weights:,} weights; {found.cycles:,} cycles a picture on "
        f"{engine_url(image.engine)}, {image.engine.lanes} lanes, {found.utilization:.0%} of them "
        f"at work: {found.cycles / MHZ / 1000:.3f} ms at {MHZ} MHz",
        f"inputs {_shape(image.input_shape)} from {low:.4g} to {high:.4g}, results "
        f"{_shape(image.output_shape) or '1'}{host}",
    ]
