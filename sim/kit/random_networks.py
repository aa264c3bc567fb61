"""Random networks for an engine: layers, their places in the stores, what they must give."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from dpnet.model.engine.layout import (
    LAYER_WORDS,
    Descriptor,
    Region,
    codebook_address,
    codebook_store,
    index_rows,
    index_store,
    row_address,
    row_store,
    slot_words,
    vector_row_bytes,
    vector_store,
)
from dpnet.model.engine.parameters import EngineParameters, ceil_div, ceil_log2
from dpnet.model.engine.tiles import streamed_cycles, tile_words
from dpnet.model.golden.align import Align, align_codebook
from dpnet.model.golden.array import BucketProduct
from dpnet.model.golden.normalize import Normalize
from dpnet.model.golden.requantize import Requantize

Words = NDArray[np.uint32]
Integers = NDArray[np.int64]
REQUANTIZE = Requantize()


@dataclass
class Layer:
    """One layer: its numbers, and where it lies (`descriptor`)."""

    engine: EngineParameters
    descriptor: Descriptor
    columns: int
    indices: Integers
    entries: Integers
    bias: Integers
    multiplier: Integers
    shift: Integers
    exponent: Integers

    @property
    def rows(self) -> int:
        return self.descriptor.rows

    @property
    def cycles(self) -> int:
        """What the formula says of one vector."""
        return self.cycles_of(1)

    def cycles_of(self, vectors: int) -> int:
        """What the formula says of so many vectors back to back, of a streamed layer without the
        cycles that wait for tiles."""
        d = self.descriptor
        if d.stream:
            return streamed_cycles(self.engine, d, self.columns)
        return self.engine.layer_cycles(
            d.rows,
            self.columns,
            d.k,
            fp32_in=d.fp32_in,
            fp32_out=d.fp32_out,
            forward=d.forward,
            vectors=vectors,
        )

    @property
    def cycles_without_waits(self) -> int:
        """The same of one vector if no product waits for the one before it."""
        d = self.descriptor
        return self.engine.layer_cycles(
            d.rows, self.columns, d.k, fp32_in=d.fp32_in, fp32_out=d.fp32_out, forward=d.forward
        )

    @property
    def most_vectors(self) -> int:
        """Vectors for which there is room behind the first, and for their results; a streamed layer
        takes one."""
        d, engine = self.descriptor, self.engine
        if d.stream:
            return 1
        own = ceil_div(d.beats, engine.row_beats)
        rows = (engine.vector_rows - d.in_row - own) // d.vector_rows + 1
        return min(rows, (engine.result_slots - d.result_slot) // (d.tiles * engine.stages))

    def tile_words(self, tile: int) -> list[tuple[int, Words]]:
        """Byte addresses and words of a streamed layer's tile, in its place in the ring."""
        return tile_words(self.engine, self.descriptor, self, tile)

    def aligned(self, words: Words) -> tuple[Integers, int]:
        """The input as integers of the array, and the power of two that one step is worth."""
        if not self.descriptor.fp32_in:
            return words.view(np.int32).astype(np.int64), 0
        align = Align(bits=self.engine.activation_bits)
        x, e_max = align.compute(words.view(np.float32))
        return x, align.scale(e_max)

    def accumulators(self, words: Words) -> Integers:
        product = BucketProduct(
            activation_bits=self.engine.activation_bits, entry_bits=self.engine.entry_bits
        )
        return product.compute(self.entries, self.indices, self.aligned(words)[0])

    def results(self, words: Words) -> Words:
        """The golden results (R,) of the input (C,), both as words of the stores."""
        d, accumulators = self.descriptor, self.accumulators(words)
        if d.fp32_out:
            normalize = Normalize(width=self.engine.accumulator_bits)
            scale = self.aligned(words)[1] + self.exponent
            return normalize.compute(accumulators, scale)[0].view(np.uint32)
        values = REQUANTIZE.compute(
            accumulators, self.bias, self.multiplier, self.shift, d.relu, d.out_bits
        )
        return (values & 0xFFFFFFFF).astype(np.uint32)

    def stored(self, results: Words, vector: int = 0) -> dict[int, int]:
        """Word address to word of all result slots of a vector; rows that pad a tile give 0."""
        engine = self.engine
        count = engine.tiles(self.rows) * engine.tile_rows
        padded = np.zeros(count, np.uint32)
        padded[: self.rows] = results
        base = Region.RESULT.base // 4
        first = self.descriptor.result_slot + vector * count // engine.columns
        found = {}
        for row, word in enumerate(padded.tolist()):
            slot, column = divmod(row, engine.columns)
            bank, rest = divmod(column, engine.bank_columns)
            place = (first + slot) * slot_words(engine)
            found[base + place + (bank << ceil_log2(engine.bank_columns)) + rest] = word
        return found


@dataclass
class Network:
    """Layers that fill an engine's stores, in chains whose layers hand their results on.

    `ks` are the next layers' K, filled up with every K in random order when empty.
    """

    engine: EngineParameters
    rng: np.random.Generator
    ks: list[int] = field(default_factory=list)
    layers: list[Layer] = field(default_factory=list)
    chains: list[tuple[int, int]] = field(default_factory=list)
    _row: int = 0
    _slot: int = 0
    _vector_row: int = 0

    def __post_init__(self) -> None:
        while self._chain(int(self.rng.integers(1, 4))) or not self.chains:
            pass
        self._place_results()

    def _chain(self, length: int) -> bool:
        """Add a chain of layers if there is room for it."""
        engine, rng = self.engine, self.rng
        sizes = [int(rng.integers(1, engine.max_columns + 1)) for _ in range(length + 1)]
        sizes[1:] = [min(size, 4 * engine.tile_rows, 40) for size in sizes[1:]]
        slots = sum(engine.tiles(rows) * engine.stages for rows in sizes[1:])
        # At most: layers of few values are packed.
        index = sum(engine.tiles(rows) * engine.beats(columns) for columns, rows in pairwise(sizes))
        vector = sum(self._vector_rows(size) for size in sizes)
        fits = (
            self._slot + slots <= min(engine.slots, engine.result_slots)
            and self._row + index <= engine.index_depth
            and self._vector_row + vector <= engine.vector_rows
            and len(self.layers) + length <= engine.layers
        )
        if fits:
            first = len(self.layers)
            formats = self._formats(length + 1)
            for n in range(length):
                self._layer(sizes[n], sizes[n + 1], formats[n : n + 2], n < length - 1)
            self._vector_row += self._vector_rows(sizes[-1])
            self.chains.append((first, len(self.layers) - 1))
        return fits

    def _formats(self, count: int) -> list[bool]:
        """Whether input, hidden vectors and output are fp32: what the engine's edges allow."""
        formats = (self.rng.random(count) < 0.5).tolist()
        if self.engine.edges == "fp32":
            return [formats[0], *[True] * (count - 1)]
        return formats if self.engine.edges == "both" else [False] * count

    def _vector_rows(self, size: int) -> int:
        return ceil_div(self.engine.beats(size), self.engine.row_beats)

    def _layer(self, columns: int, rows: int, fp32: list[bool], forward: bool) -> None:
        engine, rng = self.engine, self.rng
        tiles, beats = engine.tiles(rows), engine.beats(columns)
        if not self.ks:
            self.ks += (rng.permutation(engine.buckets) + 1).tolist()
        k = self.ks.pop()
        in_row = self._vector_row
        descriptor = Descriptor(
            beats=beats,
            tiles=tiles,
            rows=rows,
            k=k,
            index_row=self._row,
            slot=self._slot,
            result_slot=0,
            in_row=in_row,
            out_row=in_row + self._vector_rows(columns),
            vector_rows=self._vector_rows(columns),
            index_bits=engine.index_bits_of(k),
            out_bits=int(rng.integers(2, engine.activation_bits + 1)),
            fp32_in=fp32[0],
            fp32_out=fp32[1],
            relu=bool(rng.integers(2)),
            forward=forward,
        )
        self._row += tiles * engine.index_rows(columns, k)
        self._slot += tiles * engine.stages
        self._vector_row += self._vector_rows(columns)
        self.layers.append(self._numbers(descriptor, columns))

    def _numbers(self, d: Descriptor, columns: int) -> Layer:
        engine, rng = self.engine, self.rng
        if d.fp32_out:
            values = rng.normal(0, 1, (d.rows, d.k)) * 2.0 ** rng.integers(-9, 9, (d.rows, 1))
            entries, exponent = align_codebook(values, engine.entry_bits)
        else:
            # What the requantizer takes: the sums must fit 40 bits.
            bits = min(
                40 - engine.activation_bits - ceil_log2(engine.max_columns), engine.entry_bits
            )
            entries = rng.integers(-(1 << bits - 1), 1 << bits - 1, (d.rows, d.k))
            exponent = np.zeros(d.rows, np.int64)
        return Layer(
            engine,
            d,
            columns,
            rng.integers(0, d.k, (d.rows, columns)),
            entries,
            bias=rng.integers(-(1 << 39), 1 << 39, d.rows) >> rng.integers(0, 40, d.rows),
            multiplier=rng.integers(0, 1 << 16, d.rows),
            shift=rng.integers(0, 50, d.rows),
            exponent=exponent,
        )

    def _place_results(self) -> None:
        """Result slots in another order than the slots of the rows."""
        slot = self.engine.result_slots
        for n in self.rng.permutation(len(self.layers)):
            layer = self.layers[n]
            slot -= self.engine.tiles(layer.rows) * self.engine.stages
            layer.descriptor = Descriptor(**{**vars(layer.descriptor), "result_slot": slot})

    def vector(self, layer: Layer) -> Words:
        """A random input of `layer`, extremes among them."""
        rng, bits = self.rng, self.engine.activation_bits
        if layer.descriptor.fp32_in:
            values = rng.normal(0, 1, layer.columns) * 2.0 ** rng.integers(-30, 30)
            values[rng.random(layer.columns) < 0.1] = 0
            return values.astype(np.float32).view(np.uint32)
        low = -(1 << bits - 1)
        integers = rng.integers(low, -low, layer.columns)
        if rng.random() < 0.3:
            integers = rng.choice([low, -low - 1], layer.columns)
        return (integers & 0xFFFFFFFF).astype(np.uint32)

    def input(self, layer: Layer, words: Words, vector: int = 0) -> tuple[int, Words]:
        """Byte address and words of a layer's input, the first one or a later one of a run."""
        row = layer.descriptor.in_row + vector * layer.descriptor.vector_rows
        address = Region.VECTOR.base + row * vector_row_bytes(self.engine)
        return address, vector_store(self.engine, words)

    def image(self) -> Iterator[tuple[int, Words]]:
        """Byte addresses and words of everything but vectors and tiles of streamed layers."""
        engine = self.engine
        resident = [layer for layer in self.layers if not layer.descriptor.stream]
        ordered = sorted(resident, key=lambda layer: layer.descriptor.index_row)
        rows = [index_rows(engine, y.indices, y.descriptor.index_bits) for y in ordered]
        if rows:
            yield Region.INDEX.base, index_store(engine, np.concatenate(rows))
        for n, layer in enumerate(self.layers):
            d = layer.descriptor
            yield Region.LAYERS.base + 4 * LAYER_WORDS * n, d.words()
            if d.stream:
                continue
            yield codebook_address(engine, d.slot), codebook_store(engine, layer.entries)
            yield (
                row_address(engine, d.slot),
                row_store(engine, layer.bias, layer.multiplier, layer.shift, layer.exponent),
            )


class Batches(Network):
    """Layers that each run on their own, for several vectors: short and long, of few rows.

    Their vectors and results share the stores, so that only one layer's can be there at a time.
    """

    def __post_init__(self) -> None:
        while len(self.layers) < self.engine.layers and self._single():
            pass

    def _single(self) -> bool:
        """Add a layer if there is room for it."""
        engine, rng = self.engine, self.rng
        longest = engine.max_columns if rng.random() < 0.5 else 3 * engine.segments
        columns = int(rng.integers(1, min(longest, engine.max_columns) + 1))
        rows = int(rng.integers(1, rng.integers(1, 3) * engine.tile_rows + 1))
        slots, beats = engine.tiles(rows) * engine.stages, engine.beats(columns)
        fits = (
            self._slot + slots <= engine.slots
            and slots <= engine.result_slots
            and self._row + engine.tiles(rows) * beats <= engine.index_depth
        )
        if fits:
            self._vector_row = 0
            self._layer(columns, rows, self._formats(2), False)
            self._place(self.layers[-1])
        return fits

    def _place(self, layer: Layer) -> None:
        """Room for as many vectors as possible up to 6, some with rows between them, anywhere."""
        engine, rng, d = self.engine, self.rng, layer.descriptor
        own, slots = self._vector_rows(layer.columns), d.tiles * engine.stages
        pitch = min(own + int(rng.integers(0, 3)), engine.vector_rows)
        count = min(6, engine.vector_rows // pitch, engine.result_slots // slots)
        layer.descriptor = Descriptor(
            **{
                **vars(d),
                "vector_rows": pitch,
                "in_row": int(rng.integers(0, engine.vector_rows - count * pitch + 1)),
                "result_slot": int(rng.integers(0, engine.result_slots - count * slots + 1)),
            }
        )


class Streams(Network):
    """A resident layer where there is room for one, and streamed ones of up to 8 tiles that share
    what it leaves of the stores, in rings of 1 to 3 places.  Each layer runs on its own, for one
    vector: vectors and results of all of them overlap.
    """

    def __post_init__(self) -> None:
        if self.engine.slots >= 2 * self.engine.stages:
            self._add(1, self.engine.tile_rows)
        fold = self.engine.fold
        self._row = ceil_div(self._row, fold) * fold
        while len(self.layers) < self.engine.layers:
            row, slot = self._row, self._slot
            most = min(8, self.engine.result_slots // self.engine.stages)
            self._add(self.engine.index_depth - row, most * self.engine.tile_rows)
            self._stream(self.layers[-1])
            self._row, self._slot = row, slot

    def _add(self, most_beats: int, most_rows: int) -> None:
        """A layer whose vector and results lie anywhere."""
        engine, rng = self.engine, self.rng
        longest = min(engine.max_columns, most_beats * engine.segments)
        if rng.random() < 0.5:
            longest = min(longest, 3 * engine.segments)
        columns = int(rng.integers(1, longest + 1))
        rows = int(rng.integers(1, most_rows + 1))
        self._vector_row = 0
        self._layer(columns, rows, self._formats(2), False)
        layer = self.layers[-1]
        d, slots = layer.descriptor, engine.tiles(rows) * engine.stages
        layer.descriptor = Descriptor(
            **{
                **vars(d),
                "in_row": int(rng.integers(0, engine.vector_rows - d.vector_rows + 1)),
                "result_slot": int(rng.integers(0, engine.result_slots - slots + 1)),
            }
        )

    def _stream(self, layer: Layer) -> None:
        engine, d = self.engine, layer.descriptor
        ring = min(
            int(self.rng.integers(1, 4)),
            d.tiles,
            (engine.slots - d.slot) // engine.stages,
            (engine.index_depth - d.index_row) // engine.index_rows(layer.columns, d.k),
        )
        layer.descriptor = Descriptor(**{**vars(d), "tiles": ring, "stream": d.tiles})
