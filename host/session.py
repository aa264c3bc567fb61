"""An image on an engine: laid out for its size, loaded, run, read back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpnet.gateware.registers import BY_NAME, MAX_VECTORS, Kind, parameters_of
from dpnet.host.driver import Driver, Identity, RunReport
from dpnet.host.errors import EngineError, ProtocolError
from dpnet.host.fitting import remedy
from dpnet.host.link import AHEAD_BYTES, Link
from dpnet.host.link.transport import open_transport
from dpnet.host.placement import CapacityError, LayerTiles, Placement, place_layers, runs, segments
from dpnet.host.segments import LoadImage, Progress
from dpnet.host.stream import run_streamed
from dpnet.model.engine.baseline import BaselineParameters, InterleavedParameters
from dpnet.model.engine.layout import (
    Descriptor,
    Region,
    result_bytes,
    results,
    slot_words,
    vector_row_bytes,
    vector_store,
)
from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.model.engine.parameters import EngineParameters
from dpnet.model.engine.tiles import streamed_cycles
from dpnet.model.image import Image, ImageError, ImageLayer
from dpnet.model.image.inputs import activations, fp32

__all__ = [
    "BASELINES",
    "BaselineSession",
    "CapacityError",
    "Parameters",
    "Session",
    "connect",
    "parameters",
    "place_layers",
    "segments",
]

BASELINES: Mapping[int, type[BaselineParameters]] = {
    Kind.BASELINE: BaselineParameters,
    Kind.INTERLEAVED: InterleavedParameters,
}

Parameters = EngineParameters | BaselineParameters | MapEngineParameters
KINDS: Mapping[int, type[Parameters]] = {**BASELINES, Kind.MAPS: MapEngineParameters}
Words = NDArray[np.uint32]


def parameters(identity: Identity) -> Parameters:
    """What an engine was built from, as far as a host needs to know, from its registers;
    `ProtocolError` if there is no such engine."""
    kind: type[Parameters] = KINDS.get(identity.kind, EngineParameters)
    try:
        if not identity.clock_hz:
            raise ValueError("CLOCK_HZ is 0")
        found = parameters_of(identity.values)
        return kind(
            **{field.name: found[field.name] for field in fields(kind) if field.name in found}
        )
    except ValueError as error:
        raise ProtocolError(
            f"the engine's registers describe an engine that this host does not know ({error}); "
            "use the host software and the bitstream of one release"
        ) from error


class Session:
    """An engine with one image on it; layers that its stores do not hold are streamed.

    `cycles` of a run are the engine's own count, `report.stalled` of them passed waiting for tiles;
    `predicted_cycles` the formula's, without these.  All methods raise `LinkError`s; inputs that
    are not finite, no integers of the engine's range where integers are asked for, or of the wrong
    shape raise `ImageError`.  Results that changed between the
    engine's storing and reading them are an `EngineError`, and so are results of an engine that
    holds another image by now than this session loaded.
    Members: `report`, all runs of the last call together; `clock_hz` of the engine.
    """

    def __init__(self, driver: Driver, image: Image) -> None:
        engine = parameters(driver.identify())
        if isinstance(engine, MapEngineParameters):
            raise CapacityError(
                "the engine is a map engine, which runs whole networks, and this image is for an "
                f"array of lanes; {remedy(image, EngineParameters())}"
            )
        if not isinstance(engine, EngineParameters):
            raise CapacityError(
                "the engine is the fp32 baseline, which runs no images; connect to an array"
            )
        self.driver, self.image, self.engine = driver, image, engine
        self.clock_hz = driver.identify().clock_hz
        self.placements = place_layers(image, engine)
        self.report = RunReport(0)
        self._loaded_crc: int | None = None

    def load(self, progress: Progress | None = None) -> bool:
        """Load what the engine keeps of the image, or go on with an interrupted load; False if it
        was there already.  A run that a host before this one left is ended."""
        parts = segments(self.image, self.engine)
        self._loaded_crc = LoadImage(parts).crc
        return self.driver.load(parts, progress)

    @property
    def streamed(self) -> list[str]:
        """Names of the layers that are streamed."""
        return [placement.layer.name for placement in self.placements if placement.streamed]

    def predicted_cycles(self, first: int, last: int, vectors: int = 1) -> int:
        """Cycles of these layers, or of one layer with several `vectors`, by
        `EngineParameters.layer_cycles`, without those that wait for tiles."""
        alone = first == last and self.placements[first].streamed
        ends = [end for _, end in runs(self.placements, first, last)]
        total = len(ends)
        # At the end of a run nothing waits for the exponents of the results that were copied.
        if self.engine.fp32:
            copies = sum(self.placements[end].descriptor.forward for end in ends)
            total -= copies * self.engine.settle_cycles
        for placement in self.placements[first : last + 1]:
            layer, descriptor = placement.layer, placement.descriptor
            if placement.streamed:
                total += streamed_cycles(self.engine, descriptor, layer.columns)
                continue
            total += self.engine.layer_cycles(
                layer.rows,
                layer.columns,
                layer.k,
                fp32_in=descriptor.fp32_in,
                fp32_out=descriptor.fp32_out,
                forward=descriptor.forward,
                vectors=vectors,
            )
        return total * (vectors if alone else 1)

    def most_vectors(self, number: int) -> int:
        """Vectors that `run_batch` takes of this layer: what the vector store and the result slots
        hold from the layer's places on; of a streamed layer as many as of any."""
        placement, engine = self.placements[number], self.engine
        if placement.streamed:
            return MAX_VECTORS
        d = placement.descriptor
        return min(
            MAX_VECTORS,
            (engine.vector_rows - d.in_row) // d.vector_rows,
            (engine.result_slots - d.result_slot) // (d.tiles * engine.stages),
        )

    def run_network(
        self, x: NDArray[np.int64], progress: Progress | None = None
    ) -> tuple[list[NDArray[np.int64]], int]:
        """Integers x (C,) through all layers: every layer's results, and the cycles of all runs.
        `progress` is called with the tiles sent of a streamed layer, and all of them."""
        words = self._vector_words(self.placements[0].layer, x)
        self._write_vectors(self.placements[0], [words])
        self.report = RunReport(0)
        for first, last in runs(self.placements, 0, len(self.placements) - 1):
            self._run(first, last, 1, progress)
        outputs = [self._read(p)[0].view(np.int32).astype(np.int64) for p in self.placements]
        self._check_results()
        return outputs, self.report.cycles

    def run_layer(
        self, number: int, x: NDArray[Any], progress: Progress | None = None
    ) -> tuple[NDArray[Any], int]:
        """A vector x (C,) through one layer, fp32 or integers as the layer is: the results (R,),
        and the cycles; `progress` as in `run_network`."""
        words = self._vector_words(self.placements[number].layer, x)
        self.report = RunReport(0)
        return self._run_words(number, [words], progress)[0], self.report.cycles

    def run_batch(self, number: int, vectors: NDArray[Any]) -> tuple[NDArray[Any], int]:
        """Vectors (V, C) through one layer, back to back in one run, or one after the other where
        it is streamed: the results (V, R), and the cycles.  `CapacityError` for more than
        `most_vectors`."""
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
        words = [self._vector_words(layer, x) for x in vectors]
        self.report = RunReport(0)
        if not self.placements[number].streamed:
            return self._run_words(number, words), self.report.cycles
        found = [self._run_words(number, [one])[0] for one in words]
        return np.stack(found), self.report.cycles

    def _run_words(
        self, number: int, words: list[Words], progress: Progress | None = None
    ) -> NDArray[Any]:
        placement, count = self.placements[number], len(words)
        self._write_vectors(placement, words)
        self._run(number, number, count, progress)
        found = self._read(placement, count)
        self._check_results()
        if placement.layer.is_fp32:
            return found.view(np.float32)
        return found.view(np.int32).astype(np.int64)

    def _check_results(self) -> None:
        """After the results were read: they are this image's, or an `EngineError` is raised."""
        self.driver.check_results()
        if self._loaded_crc is None:
            return
        held = int.from_bytes(self.driver.link.read(BY_NAME["IMAGE_CRC"].offset, 4), "little")
        if held != self._loaded_crc:
            raise EngineError(
                "the engine holds another image by now: another session or program loaded it, or "
                "the engine was reset; load and run again"
            )

    def _run(self, first: int, last: int, vectors: int, progress: Progress | None) -> None:
        """One run, added to `report`."""
        patience_s = 2 * self.predicted_cycles(first, last, vectors) / self.clock_hz + 1.0
        placement = self.placements[first]
        if placement.streamed:
            tiles = LayerTiles(placement, self.engine)
            self.report += run_streamed(self.driver, first, tiles, patience_s, progress)
        else:
            self.report += self.driver.run(first, last, patience_s, vectors=vectors)

    def _vector_words(self, layer: ImageLayer, x: NDArray[Any]) -> Words:
        """x (C,) as the words of the engine's store; `ImageError` if it is no input of `layer`."""
        if np.shape(x) != (layer.columns,):
            raise ImageError(
                f"layer {layer.name} takes a vector of shape ({layer.columns},), not {np.shape(x)}"
            )
        if layer.is_fp32:
            return fp32(x, "the vector").view(np.uint32)
        values = activations(x, self.engine.activation_bits, "the vector")
        return (values & 0xFFFFFFFF).astype(np.uint32)

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
        pitch = placement.tiles * self.engine.stages * slot_words(self.engine)
        count = (vectors - 1) * pitch + result_bytes(self.engine, rows) // 4
        words = self.driver.read_words(address, count)
        return np.stack(
            [results(self.engine, words[n * pitch : (n + 1) * pitch], rows) for n in range(vectors)]
        )


class BaselineSession:
    """One dense fp32 matrix on one of the baseline engines."""

    def __init__(self, driver: Driver, weights: NDArray[np.float32]) -> None:
        params = parameters(driver.identify())
        if not isinstance(params, BaselineParameters):
            found = "a map engine" if isinstance(params, MapEngineParameters) else "an array"
            raise CapacityError(f"the engine is {found}, not the fp32 baseline; swap the ports")
        rows, columns = weights.shape
        if weights.size > params.weights or rows > params.rows or columns > params.columns:
            raise CapacityError(
                f"the matrix is larger than the baseline engine: {rows} × {columns}, there is room "
                f"for {params.weights} weights, {params.rows} rows, {params.columns} columns"
            )
        self.driver, self.weights, self.params = driver, fp32(weights, "the matrix"), params
        self.clock_hz = driver.identify().clock_hz

    def load(self, progress: Progress | None = None) -> bool:
        """Load the matrix; False if it was there already."""
        rows, columns = self.weights.shape
        descriptor = Descriptor(
            beats=columns, tiles=1, rows=rows, k=1, index_row=0, slot=0, result_slot=0, in_row=0
        )
        words = self.weights.view(np.uint32).reshape(-1)
        return self.driver.load(
            [(Region.INDEX.base, words), (Region.LAYERS.base, descriptor.words())], progress
        )

    def run(self, x: NDArray[np.float32]) -> tuple[NDArray[np.float32], int]:
        """x (C,) fp32 -> y (R,) fp32, and the cycles that the engine counted."""
        rows, columns = self.weights.shape
        if np.shape(x) != (columns,):
            raise ImageError(f"the vector must be {columns} finite numbers, not {np.shape(x)}")
        self.driver.write_words(Region.VECTOR.base, fp32(x, "the vector").view(np.uint32))
        patience = 2 * self.params.cycles(rows, columns) / self.clock_hz + 1.0
        report = self.driver.run(0, 0, patience)
        return self.driver.read_words(Region.RESULT.base, rows).view(np.float32), report.cycles


def connect(url: str) -> Driver:
    """A driver for the engine at `url`; close it with `driver.link.transport.close()`."""
    return Driver(Link(open_transport(url), ahead_bytes=AHEAD_BYTES))
