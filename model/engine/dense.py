"""Size, cycles and address map of the dense int8 engine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpnet.model.engine.layout import record_words
from dpnet.model.engine.parameters import ceil_div, ceil_log2
from dpnet.model.engine.records import DENSE_ROW
from dpnet.model.engine.regions import Region
from dpnet.model.golden.dense import Dense, RowParameters
from dpnet.model.golden.requantize import Requantize

REQUANTIZE_CYCLES = 10

ROW_WORDS = DENSE_ROW.words

Store = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Word addresses of the bus, and the 32-bit words that belong there."""


@dataclass(frozen=True, kw_only=True)
class DenseParameters:
    """Size of a dense engine: `tile_rows` × `segments` int8 multiply-adds in every cycle.

    A tile of `tile_rows` (T, even) rows takes `segments` (S) columns a cycle; T · S / 2 DSP slices
    multiply, because two rows share one.  `requantizers` (U) results leave a cycle.  `max_columns`
    is the longest row; with it no sum can overflow.  Stores: `weight_depth` words of T · S
    weights, `vector_depth` words of S activations, the row parameters of `tiles` tiles, the
    results of `result_tiles` tiles.  Raises `ValueError` for sizes that cannot be built.

    The default takes all 900 DSP slices of the XC7Z045, two for each requantizer, and 576 cycles
    for 1000 × 1024; its weight store holds 28 × 64 × 1024 weights.
    """

    tile_rows: int = 28
    segments: int = 64
    requantizers: int = 2
    max_columns: int = 2048
    weight_depth: int = 1024
    vector_depth: int = 256
    tiles: int = 64
    result_tiles: int = 512

    def __post_init__(self) -> None:
        limits = {
            "tile_rows": (2, 1024),
            "segments": (1, 1024),
            "requantizers": (1, 64),
            "max_columns": (1, 4096),
            "weight_depth": (1, 1 << 16),
            "vector_depth": (1, 1 << 15),
            "tiles": (1, 1 << 12),
            "result_tiles": (1, 1 << 16),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not isinstance(value, int) or not low <= value <= high:
                raise ValueError(f"{name} must be an integer from {low} to {high}, not {value!r}")
        if self.tile_rows % 2:
            raise ValueError(f"tile_rows must be even, not {self.tile_rows!r}")

    @property
    def macs(self) -> int:
        """Multiply-adds in a cycle."""
        return self.tile_rows * self.segments

    @property
    def pairs(self) -> int:
        return self.tile_rows // 2

    @property
    def requantize(self) -> Requantize:
        """|Σ w x| ≤ 2^14 · max_columns, which a row of -128 · -128 reaches: 16 + log2 bits."""
        bits = max(24, 16 + ceil_log2(self.max_columns))
        multiplier_bits = DENSE_ROW.places["multiplier"][1]
        return Requantize(acc_bits=bits, bias_bits=bits, multiplier_bits=multiplier_bits)

    @property
    def golden(self) -> Dense:
        return Dense(self.requantize)

    @property
    def tree_cycles(self) -> int:
        return ceil_log2(self.segments)

    @property
    def tile_steps(self) -> int:
        """Cycles in which the results of a tile leave."""
        return ceil_div(self.tile_rows, self.requantizers)

    def tile_cycles(self, columns: int) -> int:
        """Cycles from one tile to the next: C / S; more only where the results of a tile take
        longer than that to leave, T / U."""
        return max(ceil_div(columns, self.segments), self.tile_steps)

    def interval_cycles(self, rows: int, columns: int) -> int:
        """Cycles from one vector to the next, one after the other: no cycle is idle between."""
        return ceil_div(rows, self.tile_rows) * self.tile_cycles(columns)

    def cycles(self, rows: int, columns: int, vectors: int = 1) -> int:
        """Cycles of a run, exactly, from `start` to the last result written, both included: all
        tiles but the last, the last one's beats, the adder tree, 10 to requantize, 7 in the other
        registers, and the last tile's results one after the other."""
        return (
            vectors * self.interval_cycles(rows, columns)
            - self.tile_cycles(columns)
            + ceil_div(columns, self.segments)
            + self.tree_cycles
            + REQUANTIZE_CYCLES
            + 7
            + self.tile_steps
        )

    def check(self, rows: int, columns: int, vectors: int = 1) -> None:
        """Raise `ValueError` if the product is empty, or the stores are too small for it."""
        for what, count in (("rows", rows), ("columns", columns), ("vectors", vectors)):
            if count < 1:
                raise ValueError(f"{what} must be at least 1, not {count!r}")
        tiles, beats = ceil_div(rows, self.tile_rows), ceil_div(columns, self.segments)
        for what, needed, there in (
            ("columns", columns, self.max_columns),
            ("words of weights", tiles * beats, self.weight_depth),
            ("words of activations", vectors * beats, self.vector_depth),
            ("tiles", tiles, self.tiles),
            ("tiles of results", vectors * tiles, self.result_tiles),
        ):
            if needed > there:
                raise ValueError(
                    f"{rows} × {columns} with {vectors} vectors needs {needed} {what}, "
                    f"there is room for {there}"
                )

    @property
    def weight_words(self) -> int:
        """32-bit words in what a pair of rows reads in a cycle."""
        return ceil_div(self.segments, 2)

    @property
    def vector_words(self) -> int:
        """32-bit words in what the vector store gives in a cycle."""
        return ceil_div(self.segments, 4)

    @property
    def unit_bits(self) -> int:
        """Address bits that select a requantizer."""
        return ceil_log2(self.requantizers)

    def weight_store(self, matrix: NDArray[np.integer]) -> Store:
        """`matrix` (R, C) -> the INDEX region.

        Address fields, highest first: beat of the tile after tile, pair of rows, word.  A word has
        two columns, and of each the weights of both rows.
        """
        rows, columns = matrix.shape
        beats, tiles = ceil_div(columns, self.segments), ceil_div(rows, self.tile_rows)
        full = np.zeros((tiles * self.tile_rows, beats, 2 * self.weight_words), np.int64)
        flat = np.zeros((rows, beats * self.segments), np.int64)
        flat[:, :columns] = matrix
        full[:rows, :, : self.segments] = flat.reshape(rows, beats, self.segments)
        split = full.reshape(tiles, self.pairs, 2, beats, self.weight_words, 2)
        # Now (tile, beat, pair, word, column, row of the pair).
        words = _join(split.transpose(0, 3, 1, 4, 5, 2).reshape(-1, self.weight_words, 4))
        words = words.reshape(tiles * beats, self.pairs, self.weight_words)
        return _addressed(Region.INDEX, words)

    def vector_store(self, vectors: NDArray[np.integer]) -> Store:
        """`vectors` (V, C) -> the VECTOR region.  Address fields: beat of vector after vector,
        word; a word has four columns."""
        count, columns = vectors.shape
        beats = ceil_div(columns, self.segments)
        flat = np.zeros((count, beats * self.segments), np.int64)
        flat[:, :columns] = vectors
        full = np.zeros((count * beats, 4 * self.vector_words), np.int64)
        full[:, : self.segments] = flat.reshape(count * beats, self.segments)
        return _addressed(Region.VECTOR, _join(full.reshape(-1, self.vector_words, 4)))

    def row_store(self, rows: RowParameters) -> Store:
        """Row parameters -> the ROWS region.

        Address fields: step (T / U of them a tile), requantizer, word.  Row r of a tile leaves in
        step r // U through requantizer r mod U.
        """
        words = record_words(
            DENSE_ROW,
            bias=rows.bias,
            multiplier=rows.multiplier,
            shift=rows.shift,
            relu=rows.relu,
        )
        return _addressed(Region.ROWS, self._steps(words.astype(np.int64)))

    def result_addresses(self, rows: int, vectors: int) -> NDArray[np.int64]:
        """Word addresses (V, R) of the results; fields: step of vector after vector, unit."""
        tiles = ceil_div(rows, self.tile_rows)
        row = np.arange(rows)
        tile, inside = row // self.tile_rows, row % self.tile_rows
        step = (np.arange(vectors)[:, None] * tiles + tile) * self.tile_steps
        step = step + inside // self.requantizers
        return Region.RESULT.base // 4 + (step << self.unit_bits) + inside % self.requantizers

    def _steps(self, words: NDArray[np.int64]) -> NDArray[np.int64]:
        """(R, words of a row) -> (steps, requantizers, words), zeros where there is no row."""
        tiles = ceil_div(len(words), self.tile_rows)
        full = np.zeros((tiles * self.tile_rows, words.shape[1]), np.int64)
        full[: len(words)] = words
        padded = np.zeros((tiles, self.tile_steps * self.requantizers, words.shape[1]), np.int64)
        padded[:, : self.tile_rows] = full.reshape(tiles, self.tile_rows, -1)
        return padded.reshape(-1, self.requantizers, words.shape[1])


def _join(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Bytes (…, 4), lowest first -> words (…)."""
    shifts = np.arange(4) * 8
    joined: NDArray[np.int64] = ((values & 0xFF) << shifts).sum(-1)
    return joined


def _addressed(region: Region, words: NDArray[np.int64]) -> Store:
    """Every axis but the first is an address field of a power-of-two size."""
    address = np.arange(words.shape[0])
    for size in words.shape[1:]:
        address = (address[..., None] << ceil_log2(size)) + np.arange(size)
    return region.base // 4 + address.reshape(-1), words.reshape(-1)
