"""An image on an engine: laid out for its size, loaded, run, read back."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from gateware.registers import Kind
from host.driver import Driver, Identity, Progress, Segment
from host.errors import LinkError
from host.link import Link
from host.transport import open_transport
from model.baseline import BaselineParameters
from model.engine import EngineParameters, ceil_div
from model.image import Image, ImageError, ImageLayer
from model.layout import (
    Descriptor,
    Region,
    codebook_store,
    index_rows,
    index_store,
    result_bytes,
    results,
    row_store,
    slot_words,
    vector_row_bytes,
    vector_store,
)

CLOCK_HZ = 100_000_000

Parameters = EngineParameters | BaselineParameters


class CapacityError(LinkError):
    """An image, or a vector, that the engine at hand cannot hold; the message compares sizes."""


def parameters(identity: Identity) -> Parameters:
    """What an engine was built from, as far as a host needs to know, from its registers."""
    if identity.kind == Kind.BASELINE:
        return BaselineParameters(
            weights=identity.index_depth, columns=identity.max_columns, rows=identity.slots,
            layers=identity.layers,
        )  # fmt: skip
    known = {field.name for field in fields(EngineParameters)}
    return EngineParameters(
        **{name: value for name, value in vars(identity).items() if name in known}
    )


@dataclass(frozen=True)
class Placement:
    """A layer and its descriptor, which says where everything of it is."""

    layer: ImageLayer
    descriptor: Descriptor


def place_layers(image: Image, engine: EngineParameters) -> list[Placement]:
    """A place for every layer of `image`; `CapacityError` if it is larger than the engine."""
    placements: list[Placement] = []
    index_row = slot = row = 0
    for number, layer in enumerate(image.layers):
        tiles, beats = engine.tiles(layer.rows), engine.beats(layer.columns)
        out_row = row + ceil_div(beats, engine.row_beats)
        chained = not layer.is_fp32 and number < len(image.layers) - 1
        descriptor = Descriptor(
            beats=beats, tiles=tiles, rows=layer.rows, k=layer.k, index_row=index_row, slot=slot,
            result_slot=slot, in_row=row, out_row=out_row if chained else 0,
            out_bits=layer.out_bits, fp32_in=layer.is_fp32, fp32_out=layer.is_fp32,
            relu=layer.relu, forward=chained,
        )  # fmt: skip
        placements.append(Placement(layer, descriptor))
        needs = {
            "index rows": (index_row + tiles * beats, engine.index_depth),
            "codebook slots": (slot + tiles * engine.stages, engine.slots),
            "rows of activations": (out_row, engine.vector_rows),
            "columns": (layer.columns, engine.max_columns),
            "layers": (number + 1, engine.layers),
            "values per codebook": (layer.k, engine.buckets),
        }
        for what, (needed, there) in needs.items():
            if needed > there:
                raise CapacityError(
                    f"the image is larger than the engine: layer {layer.name} "
                    f"({layer.rows} × {layer.columns}, K = {layer.k}) needs {needed} {what}, "
                    f"there are {there}; use a larger engine, or fewer layers at a time"
                )
        index_row += tiles * beats
        slot += tiles * engine.stages
        # fp32 matrices stand alone and share the first rows; a chain has a vector after each layer.
        row = out_row if chained else 0
    return placements


def segments(image: Image, engine: EngineParameters) -> list[Segment]:
    """Everything that an engine needs of `image`: (byte address, words); as `place_layers`
    raises.
    """
    placements = place_layers(image, engine)
    indices, books, rows, descriptors = [], [], [], []
    for placement in placements:
        layer = placement.layer
        entries, exponent = layer.aligned(engine.entry_bits)
        if int(np.abs(entries).max(initial=0)) > (1 << engine.entry_bits - 1) - 1:
            raise CapacityError(
                f"layer {layer.name} has entries of more than {engine.entry_bits} bits, the "
                "engine's; compile it with fewer entry bits"
            )
        zeros = np.zeros(layer.rows, np.int64)
        indices.append(index_rows(engine, layer.indices))
        books.append(codebook_store(engine, entries))
        rows.append(
            row_store(
                engine,
                zeros if layer.bias is None else layer.bias,
                zeros if layer.multiplier is None else layer.multiplier,
                zeros if layer.shift is None else layer.shift,
                exponent,
            )
        )
        descriptors.append(placement.descriptor.words())
    return [
        (Region.INDEX.base, index_store(engine, np.concatenate(indices))),
        (Region.CODEBOOK.base, np.concatenate(books)),
        (Region.ROWS.base, np.concatenate(rows)),
        (Region.LAYERS.base, np.concatenate(descriptors)),
    ]


class Session:
    """An engine with one image on it.

    `cycles` of a run are the engine's own count; `predicted_cycles` the formula's.  All methods
    raise `LinkError`s; inputs that are not finite or of the wrong shape raise `ImageError`.
    """

    def __init__(self, driver: Driver, image: Image) -> None:
        engine = parameters(driver.identify())
        if not isinstance(engine, EngineParameters):
            raise CapacityError(
                "the engine is the fp32 baseline, which runs no images; connect to an array"
            )
        self.driver, self.image, self.engine = driver, image, engine
        self.placements = place_layers(image, engine)

    def load(self, progress: Progress | None = None) -> bool:
        """Load the image, or go on with an interrupted load; False if it was there already."""
        return self.driver.load(segments(self.image, self.engine), progress)

    def predicted_cycles(self, first: int, last: int) -> int:
        """Cycles of a run of these layers, by `EngineParameters.layer_cycles`."""
        total = 1
        for placement in self.placements[first : last + 1]:
            layer, descriptor = placement.layer, placement.descriptor
            total += self.engine.layer_cycles(
                layer.rows, layer.columns, layer.k, fp32_in=descriptor.fp32_in,
                fp32_out=descriptor.fp32_out, forward=descriptor.forward,
            )  # fmt: skip
        return total

    def run_network(self, x: NDArray[np.int64]) -> tuple[list[NDArray[np.int64]], int]:
        """Integers x (C,) through all layers: every layer's results, and the cycles of the run."""
        self._check_vector(x, self.image.layers[0])
        limit = 1 << self.engine.activation_bits - 1
        if x.min() < -limit or x.max() >= limit:
            raise ImageError(f"activations must fit {self.engine.activation_bits} bits")
        self._write_vector(self.placements[0], x)
        last = len(self.placements) - 1
        report = self.driver.run(0, last, self._patience(0, last))
        outputs = [self._read(p).view(np.int32).astype(np.int64) for p in self.placements]
        return outputs, report.cycles

    def run_layer(self, number: int, x: NDArray[np.float32]) -> tuple[NDArray[np.float32], int]:
        """An fp32 vector x (C,) through one fp32 layer: the results (R,), and the cycles."""
        placement = self.placements[number]
        self._check_vector(x, placement.layer)
        if not np.isfinite(x).all():
            raise ImageError(
                "the vector holds a NaN or an infinity; the engine takes finite numbers"
            )
        self._write_vector(placement, np.ascontiguousarray(x, np.float32).view(np.uint32))
        report = self.driver.run(number, number, self._patience(number, number))
        return self._read(placement).view(np.float32), report.cycles

    def _patience(self, first: int, last: int) -> float:
        return 2 * self.predicted_cycles(first, last) / CLOCK_HZ + 1.0

    def _check_vector(self, x: NDArray[np.generic], layer: ImageLayer) -> None:
        if x.shape != (layer.columns,):
            raise ImageError(
                f"layer {layer.name} takes a vector of shape ({layer.columns},), not {x.shape}"
            )

    def _write_vector(self, placement: Placement, words: NDArray[np.integer]) -> None:
        address = Region.VECTOR.base + placement.descriptor.in_row * vector_row_bytes(self.engine)
        self.driver.write_words(address, vector_store(self.engine, words))

    def _read(self, placement: Placement) -> NDArray[np.uint32]:
        slot = placement.descriptor.result_slot
        address = Region.RESULT.base + 4 * slot * slot_words(self.engine)
        count = result_bytes(self.engine, placement.layer.rows) // 4
        return results(self.engine, self.driver.read_words(address, count), placement.layer.rows)


class BaselineSession:
    """One dense fp32 matrix on the paper's baseline engine."""

    def __init__(self, driver: Driver, weights: NDArray[np.float32]) -> None:
        params = parameters(driver.identify())
        if not isinstance(params, BaselineParameters):
            raise CapacityError("the engine is an array, not the fp32 baseline; swap the ports")
        rows, columns = weights.shape
        if weights.size > params.weights or rows > params.rows or columns > params.columns:
            raise CapacityError(
                f"the matrix is larger than the baseline engine: {rows} × {columns}, there is room "
                f"for {params.weights} weights, {params.rows} rows, {params.columns} columns"
            )
        if not np.isfinite(weights).all():
            raise ImageError("the matrix holds a NaN or an infinity")
        self.driver, self.weights, self.params = driver, weights, params

    def load(self, progress: Progress | None = None) -> bool:
        """Load the matrix; False if it was there already."""
        rows, columns = self.weights.shape
        descriptor = Descriptor(
            beats=columns, tiles=1, rows=rows, k=1, index_row=0, slot=0, result_slot=0, in_row=0
        )
        words = np.ascontiguousarray(self.weights, np.float32).view(np.uint32).reshape(-1)
        return self.driver.load(
            [(Region.INDEX.base, words), (Region.LAYERS.base, descriptor.words())], progress
        )

    def run(self, x: NDArray[np.float32]) -> tuple[NDArray[np.float32], int]:
        """x (C,) fp32 -> y (R,) fp32, and the cycles that the engine counted."""
        rows, columns = self.weights.shape
        if x.shape != (columns,) or not np.isfinite(x).all():
            raise ImageError(f"the vector must be {columns} finite numbers, not {x.shape}")
        self.driver.write_words(Region.VECTOR.base, x.astype(np.float32).view(np.uint32))
        patience = 2 * BaselineParameters.cycles(rows, columns) / CLOCK_HZ + 1.0
        report = self.driver.run(0, 0, patience)
        return self.driver.read_words(Region.RESULT.base, rows).view(np.float32), report.cycles


def connect(url: str) -> Driver:
    """A driver for the engine at `url`; close it with `driver.link.transport.close()`."""
    return Driver(Link(open_transport(url)))
