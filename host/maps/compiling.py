"""Compiling for the command line: what is asked for, dry runs, and what is said of the result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpnet.host.commands import InputError
from dpnet.host.maps.engines import engine_url
from dpnet.host.maps.tables import (
    calibration_table,
    document_of,
    layer_table,
    saturation_text,
    summary,
)
from dpnet.host.report import Progress, on_a_line, table
from dpnet.model.compile import CompileError
from dpnet.model.compile.whole import (
    check_holds,
    compile_graph,
    compile_network,
    graph_of,
    on_array,
)
from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.model.engine.maps.placement import NetworkTooLarge
from dpnet.model.graph.nodes import GraphError
from dpnet.model.graph.reading import refusals
from dpnet.model.image import Image
from dpnet.model.image.maps import MapImage

__all__ = ["DryRun", "Request", "dry_run_of", "image_of", "lacking", "reported"]

DRAWN = 8
"""Random inputs of a dry run without a calibration."""

Report = tuple[dict[str, Any], list[str]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Request:
    """What is to be compiled how: `rows`, the calibration, None in a dry run without one;
    `labels`, its classes, for the accuracies of a report, and whether an image is `profiled`."""

    rows: NDArray[Any] | None
    input_shape: tuple[int, ...] | None
    bits: int
    bits_of: Mapping[str, int]
    engine: str | MapEngineParameters
    of_array: Mapping[str, int]
    labels: NDArray[np.int64] | None = None
    profiled: bool = True

    @property
    def size(self) -> MapEngineParameters:
        """The map engine."""
        given = self.engine
        return given if isinstance(given, MapEngineParameters) else MapEngineParameters()

    @property
    def wanted(self) -> dict[str, Any]:
        return {"bits": self.bits, "bits_of": self.bits_of}


def image_of(net: Any, request: Request, progress: Progress) -> Image | MapImage:
    """The image of a network or a file; `InputError` where the engine does not hold it, with one
    that does, `CompileError` for what cannot be compiled."""
    given = request.wanted | dict(request.of_array)
    try:
        return compile_network(
            net,
            calibration=request.rows,
            engine=request.engine,
            labels=request.labels,
            profiled=request.profiled,
            progress=progress,
            **given,
        )
    except CompileError as error:
        raise InputError(_too_large(error)) from error


def _too_large(error: CompileError) -> str:
    """The error, with an engine that holds the network where that is what is wrong."""
    cause = error.__cause__
    if not isinstance(cause, NetworkTooLarge) or cause.fitting is None:
        return str(error)
    told = str(error).rpartition("; ")[0]
    url = engine_url(cause.fitting).removeprefix("sim://")
    return f"{told}; one that holds it: --engine '{url}'"


@dataclass(frozen=True)
class DryRun:
    """The image that would be, as far as there is one, and everything that would be refused."""

    image: Image | MapImage | None
    refused: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def report(self, verbose: bool) -> Report:
        """As JSON and as text."""
        document, lines = ({}, []) if self.image is None else reported(self.image, verbose)
        lines += [*self.notes, *(f"refused: {one}" for one in self.refused)]
        if not self.refused:
            lines.append("nothing is refused; nothing was written")
        return {"dry_run": True, **document, "refused": list(self.refused)}, lines


def dry_run_of(net: Any, request: Request) -> DryRun:
    """What would become of a network, without writing anything."""
    rows = request.rows
    notes: list[str] = []
    if rows is None:
        notes.append("no calibration was given: cycles and bytes are right, scales are not")
        rows = _drawn(net, request)
    try:
        if request.engine in ("auto", "array"):
            given = request.wanted | dict(request.of_array)
            image = on_array(net, rows, request.engine == "array", given)
            if image is not None:
                return DryRun(image, notes=tuple(notes))
        refused = refusals(net, rows[:1])
        if refused:
            return DryRun(None, tuple(map(str, refused)))
        found = compile_graph(graph_of(net, rows[:1]), rows, request.size, **request.wanted)
    except (CompileError, GraphError) as error:
        return DryRun(None, (str(error),))
    try:
        check_holds(request.size, found.network)
    except CompileError as error:
        return DryRun(found, (_too_large(error),), tuple(notes))
    return DryRun(found, notes=tuple(notes))


def _drawn(net: Any, request: Request) -> NDArray[np.float64]:
    """Random inputs of the shape that was said, or that a file says."""
    shape = request.input_shape
    if shape is None and isinstance(net, Path):
        shape = graph_of(net).input.shape
    if shape is None:
        raise InputError("--input-shape or --calibration must be given: the shape of an input")
    return np.random.default_rng(0).standard_normal((DRAWN, *shape))


def reported(image: Image | MapImage, verbose: bool) -> Report:
    """What is said of an image, as JSON and as lines of text."""
    return _maps(image, verbose) if isinstance(image, MapImage) else _array(image, verbose)


def lacking(image: Image | MapImage, request: Request) -> list[str]:
    """What was asked for and is not in the image, a line each."""
    if isinstance(image, Image) or image.profile is not None or not request.profiled:
        return []
    return [
        "no profile: it would be larger than an image has room for; dpnet report will say nothing "
        "of errors and values"
    ]


def _maps(image: MapImage, verbose: bool) -> Report:
    lines = [layer_table(image), ""]
    if verbose:
        lines += [calibration_table(image), ""]
    kept = [on_a_line(name) for name in image.about.get("kept", ())]
    if kept:
        lines.append(f"kept exactly, for they have few values already: {', '.join(kept)}")
    first = image.calibration[image.network.input.name]
    shares = {name: scale.saturated for name, scale in image.calibration.items()}
    more = "" if verbose else " (all tensors: --verbose)"
    lines += [
        *summary(image),
        f"calibration from {first.low:.4g} to {first.high:.4g}; {saturation_text(shares)}{more}",
    ]
    return document_of(image), lines


def _array(image: Image, verbose: bool) -> Report:
    document = {
        "weights": sum(layer.weights for layer in image.layers),
        "layers": [
            {"name": layer.name, "rows": layer.rows, "columns": layer.columns, "k": layer.k,
             "relu": layer.relu, "out_bits": layer.out_bits}
            for layer in image.layers
        ],
        "input_bits": image.input_bits,
        "largest_input": image.largest_input,
    }  # fmt: skip
    rows = [
        (on_a_line(x.name), f"{x.rows} × {x.columns}", x.k, f"{x.out_bits} bits{', ReLU' * x.relu}")
        for x in image.layers
    ]
    head = ("layer", "shape", "K", "results")
    lines = [
        table(head, rows),
        "",
        f"{document['weights']:,} weights; inputs of {image.input_bits} bits up to "
        f"{image.largest_input:g} in magnitude, as in the calibration",
    ]
    if verbose:
        lines.append(
            f"one step of an input is {image.input_scale:g}, of a result {image.output_scale:g}"
        )
    return document, lines
