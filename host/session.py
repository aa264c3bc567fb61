"""An image on an engine: laid out for its size, loaded, run, read back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateware.registers import MAX_VECTORS, Kind
from host.driver import Driver, Identity, Progress, Segment
from host.errors import LinkError, ProtocolError
from host.link import Link
from host.transport import open_transport
from model.baseline import BaselineParameters, InterleavedParameters
from model.engine import EDGES, EngineParameters, ceil_div
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

BASELINES: Mapping[int, type[BaselineParameters]] = {
    Kind.BASELINE: BaselineParameters,
    Kind.INTERLEAVED: InterleavedParameters,
}

Parameters = EngineParameters | BaselineParameters
Words = NDArray[np.uint32]


class CapacityError(LinkError):
    """An image, or a vector, that the engine at hand cannot hold; the message compares sizes."""


def parameters(identity: Identity) -> Parameters:
    """What an engine was built from, as far as a host needs to know, from its registers;
    `ProtocolError` if there is no such engine."""
    if identity.kind in BASELINES:
        return BASELINES[identity.kind](
            weights=identity.index_depth, columns=identity.max_columns, rows=identity.slots,
            layers=identity.layers,
        )  # fmt: skip
    known = {field.name for field in fields(EngineParameters)}
    sizes = {name: value for name, value in vars(identity).items() if name in known}
    if identity.edges < len(EDGES):
        sizes["edges"] = EDGES[identity.edges]
    try:
        return EngineParameters(**sizes)
    except ValueError as error:
        raise ProtocolError(
            f"the engine's registers describe an engine that this host does not know ({error}); "
            "use the host software and the bitstream of one release"
        ) from error


@dataclass(frozen=True)
class Placement:
    """A layer and its descriptor, which says where everything of it is."""

    layer: ImageLayer
    descriptor: Descriptor


def place_layers(image: Image, engine: EngineParameters) -> list[Placement]:
    """A place for every layer of `image`; `CapacityError` if it is larger than the engine, or of
    numbers that the engine does not compute with."""
    placements: list[Placement] = []
    index_row = slot = row = result_slot = 0
    for number, layer in enumerate(image.layers):
        _check_edges(layer, engine)
        tiles, beats = engine.tiles(layer.rows), engine.beats(layer.columns)
        vector_rows = ceil_div(beats, engine.row_beats)
        out_row = row + vector_rows
        chained = not layer.is_fp32 and number < len(image.layers) - 1
        descriptor = Descriptor(
            beats=beats, tiles=tiles, rows=layer.rows, k=layer.k, index_row=index_row, slot=slot,
            result_slot=result_slot, in_row=row, out_row=out_row if chained else 0,
            out_bits=layer.out_bits, vector_rows=vector_rows, fp32_in=layer.is_fp32,
            fp32_out=layer.is_fp32, relu=layer.relu, forward=chained,
        )  # fmt: skip
        placements.append(Placement(layer, descriptor))
        needs = {
            "index rows": (index_row + tiles * beats, engine.index_depth),
            "codebook slots": (slot + tiles * engine.stages, engine.slots),
            "result slots": (result_slot + tiles * engine.stages, engine.result_slots),
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
        # fp32 matrices stand alone and share the first rows and result slots; a chain has a vector
        # and results after each layer.
        row = out_row if chained else 0
        result_slot = slot if chained else 0
    return placements


def _check_edges(layer: ImageLayer, engine: EngineParameters) -> None:
    if not (engine.fp32 if layer.is_fp32 else engine.integer):
        kinds = ("fp32", "integers") if layer.is_fp32 else ("integers", "fp32")
        raise CapacityError(
            f"layer {layer.name} computes with {kinds[0]}, the engine only with {kinds[1]} "
            f"(edges {engine.edges}); use an engine with edges both, or another image"
        )


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
    Results that changed between the engine's storing and reading them are an `EngineError`.
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

    def predicted_cycles(self, first: int, last: int, vectors: int = 1) -> int:
        """Cycles of a run of these layers, or of one layer with several `vectors`, by
        `EngineParameters.layer_cycles`."""
        total = 1
        for placement in self.placements[first : last + 1]:
            layer, descriptor = placement.layer, placement.descriptor
            total += self.engine.layer_cycles(
                layer.rows, layer.columns, layer.k, fp32_in=descriptor.fp32_in,
                fp32_out=descriptor.fp32_out, forward=descriptor.forward, vectors=vectors,
            )  # fmt: skip
        return total

    def most_vectors(self, number: int) -> int:
        """Vectors that one run of this layer can take: what the vector store and the result slots
        hold from the layer's places on."""
        d, engine = self.placements[number].descriptor, self.engine
        return min(
            MAX_VECTORS,
            (engine.vector_rows - d.in_row) // d.vector_rows,
            (engine.result_slots - d.result_slot) // (d.tiles * engine.stages),
        )

    def run_network(self, x: NDArray[np.int64]) -> tuple[list[NDArray[np.int64]], int]:
        """Integers x (C,) through all layers: every layer's results, and the cycles of the run."""
        words = self._vector_words(self.placements[0].layer, x)
        self._write_vectors(self.placements[0], [words])
        last = len(self.placements) - 1
        report = self.driver.run(0, last, self._patience(0, last))
        outputs = [self._read(p)[0].view(np.int32).astype(np.int64) for p in self.placements]
        self.driver.check_results()
        return outputs, report.cycles

    def run_layer(self, number: int, x: NDArray[Any]) -> tuple[NDArray[Any], int]:
        """A vector x (C,) through one layer, fp32 or integers as the layer is: the results (R,),
        and the cycles."""
        words = self._vector_words(self.placements[number].layer, x)
        results, cycles = self._run_words(number, [words])
        return results[0], cycles

    def run_batch(self, number: int, vectors: NDArray[Any]) -> tuple[NDArray[Any], int]:
        """Vectors (V, C) through one layer, back to back in one run: the results (V, R), and the
        cycles of the run.  `CapacityError` for more than `most_vectors`."""
        layer = self.placements[number].layer
        if vectors.ndim != 2 or not len(vectors):
            raise ImageError(
                f"layer {layer.name} takes vectors of shape (n, {layer.columns}), "
                f"not {vectors.shape}"
            )
        most = self.most_vectors(number)
        if len(vectors) > most:
            raise CapacityError(
                f"layer {layer.name} takes at most {most} vectors in one run on this engine, not "
                f"{len(vectors)}; run them in parts, or use an engine with more vector_words and "
                "result_slots"
            )
        return self._run_words(number, [self._vector_words(layer, x) for x in vectors])

    def _run_words(self, number: int, words: list[Words]) -> tuple[NDArray[Any], int]:
        placement, count = self.placements[number], len(words)
        self._write_vectors(placement, words)
        patience_s = self._patience(number, number, count)
        report = self.driver.run(number, number, patience_s, vectors=count)
        found = self._read(placement, count)
        self.driver.check_results()
        if placement.layer.is_fp32:
            return found.view(np.float32), report.cycles
        return found.view(np.int32).astype(np.int64), report.cycles

    def _patience(self, first: int, last: int, vectors: int = 1) -> float:
        return 2 * self.predicted_cycles(first, last, vectors) / CLOCK_HZ + 1.0

    def _vector_words(self, layer: ImageLayer, x: NDArray[Any]) -> Words:
        """x (C,) as the words of the engine's store; `ImageError` if it is no input of `layer`."""
        if x.shape != (layer.columns,):
            raise ImageError(
                f"layer {layer.name} takes a vector of shape ({layer.columns},), not {x.shape}"
            )
        if layer.is_fp32:
            if not np.isfinite(x).all():
                raise ImageError(
                    "the vector holds a NaN or an infinity; the engine takes finite numbers"
                )
            return np.ascontiguousarray(x, np.float32).view(np.uint32)
        limit = 1 << self.engine.activation_bits - 1
        if x.min() < -limit or x.max() >= limit:
            raise ImageError(f"activations must fit {self.engine.activation_bits} bits")
        return (x.astype(np.int64) & 0xFFFFFFFF).astype(np.uint32)

    def _write_vectors(self, placement: Placement, vectors: list[Words]) -> None:
        descriptor, row_bytes = placement.descriptor, vector_row_bytes(self.engine)
        stored = [vector_store(self.engine, words) for words in vectors]
        pitch = descriptor.vector_rows * row_bytes // 4
        padded = [np.pad(words, (0, pitch - len(words))) for words in stored[:-1]]
        address = Region.VECTOR.base + descriptor.in_row * row_bytes
        self.driver.write_words(address, np.concatenate([*padded, stored[-1]]))

    def _read(self, placement: Placement, vectors: int = 1) -> Words:
        """Results (vectors, R) as words."""
        descriptor, rows = placement.descriptor, placement.layer.rows
        address = Region.RESULT.base + 4 * descriptor.result_slot * slot_words(self.engine)
        pitch = descriptor.tiles * self.engine.stages * slot_words(self.engine)
        count = (vectors - 1) * pitch + result_bytes(self.engine, rows) // 4
        words = self.driver.read_words(address, count)
        return np.stack([
            results(self.engine, words[n * pitch : (n + 1) * pitch], rows) for n in range(vectors)
        ])  # fmt: skip


class BaselineSession:
    """One dense fp32 matrix on one of the baseline engines."""

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
        patience = 2 * self.params.cycles(rows, columns) / CLOCK_HZ + 1.0
        report = self.driver.run(0, 0, patience)
        return self.driver.read_words(Region.RESULT.base, rows).view(np.float32), report.cycles


def connect(url: str) -> Driver:
    """A driver for the engine at `url`; close it with `driver.link.transport.close()`."""
    return Driver(Link(open_transport(url)))
