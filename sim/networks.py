"""Random networks for an engine: layers, their places in the stores, what they must give."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from model.engine import EngineParameters, ceil_div, ceil_log2
from model.golden.align import Align, align_codebook
from model.golden.array import BucketProduct
from model.golden.normalize import Normalize
from model.golden.requantize import Requantize
from model.layout import (
    LAYER_WORDS,
    ROW_WORDS,
    Descriptor,
    Region,
    codebook_store,
    index_rows,
    index_store,
    row_store,
    slot_words,
    vector_row_bytes,
    vector_store,
)

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
        """What the formula says."""
        d = self.descriptor
        return self.engine.layer_cycles(
            d.rows, self.columns, d.k, fp32_in=d.fp32_in, fp32_out=d.fp32_out, forward=d.forward
        )

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

    def stored(self, results: Words) -> dict[int, int]:
        """Word address to word of all its result slots; rows that pad a tile give 0."""
        engine = self.engine
        count = engine.tiles(self.rows) * engine.tile_rows
        padded = np.zeros(count, np.uint32)
        padded[: self.rows] = results
        base = Region.RESULT.base // 4
        found = {}
        for row, word in enumerate(padded.tolist()):
            slot, column = divmod(row, engine.columns)
            bank, rest = divmod(column, engine.bank_columns)
            place = (self.descriptor.result_slot + slot) * slot_words(engine)
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
        index = sum(
            engine.tiles(rows) * engine.beats(columns)
            for columns, rows in pairwise(sizes)
        )
        vector = sum(self._vector_rows(size) for size in sizes)
        fits = (
            self._slot + slots <= engine.slots and self._row + index <= engine.index_depth
            and self._vector_row + vector <= engine.vector_rows
            and len(self.layers) + length <= engine.layers
        )  # fmt: skip
        if fits:
            first = len(self.layers)
            formats = rng.random(length + 1) < 0.5
            for n in range(length):
                self._layer(sizes[n], sizes[n + 1], formats[n : n + 2].tolist(), n < length - 1)
            self._vector_row += self._vector_rows(sizes[-1])
            self.chains.append((first, len(self.layers) - 1))
        return fits

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
            beats=beats, tiles=tiles, rows=rows, k=k, index_row=self._row, slot=self._slot,
            result_slot=0, in_row=in_row, out_row=in_row + self._vector_rows(columns),
            out_bits=int(rng.integers(2, engine.activation_bits + 1)),
            fp32_in=fp32[0], fp32_out=fp32[1], relu=bool(rng.integers(2)), forward=forward,
        )  # fmt: skip
        self._row += tiles * beats
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
            bits = min(40 - engine.activation_bits - ceil_log2(engine.max_columns),
                       engine.entry_bits)
            entries = rng.integers(-(1 << bits - 1), 1 << bits - 1, (d.rows, d.k))
            exponent = np.zeros(d.rows, np.int64)
        return Layer(
            engine, d, columns, rng.integers(0, d.k, (d.rows, columns)), entries,
            bias=rng.integers(-(1 << 39), 1 << 39, d.rows) >> rng.integers(0, 40, d.rows),
            multiplier=rng.integers(0, 1 << 16, d.rows), shift=rng.integers(0, 50, d.rows),
            exponent=exponent,
        )  # fmt: skip

    def _place_results(self) -> None:
        """Result slots in another order than the slots of the rows."""
        slot = self.engine.slots
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

    def input(self, layer: Layer, words: Words) -> tuple[int, Words]:
        """Byte address and words of a layer's input."""
        row = layer.descriptor.in_row
        address = Region.VECTOR.base + row * vector_row_bytes(self.engine)
        return address, vector_store(self.engine, words)

    def image(self) -> Iterator[tuple[int, Words]]:
        """Byte addresses and words of everything but vectors."""
        engine = self.engine
        ordered = sorted(self.layers, key=lambda layer: layer.descriptor.index_row)
        rows = np.concatenate([index_rows(engine, layer.indices) for layer in ordered])
        yield Region.INDEX.base, index_store(engine, rows)
        book = engine.buckets << ceil_log2(engine.columns)
        for n, layer in enumerate(self.layers):
            d = layer.descriptor
            yield Region.CODEBOOK.base + 4 * d.slot * book, codebook_store(engine, layer.entries)
            yield (
                Region.ROWS.base + 4 * d.slot * slot_words(engine) * ROW_WORDS,
                row_store(engine, layer.bias, layer.multiplier, layer.shift, layer.exponent),
            )
            yield Region.LAYERS.base + 4 * LAYER_WORDS * n, d.words()
