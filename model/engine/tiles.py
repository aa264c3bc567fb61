"""A streamed layer's tiles, each as the words of its place in the stores."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dpnet.model.engine.layout import (
    ROW_WORDS,
    Descriptor,
    Words,
    codebook_address,
    codebook_store,
    index_address,
    index_rows,
    index_store,
    row_address,
    row_store,
)
from dpnet.model.engine.parameters import EngineParameters, ceil_div, ceil_log2

Integers = NDArray[np.int64]

LEAST_GAP = 16
"""Words without a store behind them that are worth a frame of their own for what follows."""


class Weights(Protocol):
    """What stores hold of a layer: `indices` (R, C), `entries` (R, K), the others (R,)."""

    @property
    def indices(self) -> NDArray[np.integer]: ...
    @property
    def entries(self) -> Integers: ...
    @property
    def bias(self) -> Integers: ...
    @property
    def multiplier(self) -> Integers: ...
    @property
    def shift(self) -> Integers: ...
    @property
    def exponent(self) -> Integers: ...


def streamed_cycles(engine: EngineParameters, d: Descriptor, columns: int) -> int:
    """Cycles of a layer, streamed or not, besides those that wait for tiles.

    Once round the ring a streamed layer's tiles are to the array a product, and its rounds are
    vectors back to back: they wait where `EngineParameters.interval_cycles` says so, which only
    rounds of a few cycles do.  These take fewer cycles where tiles come late inside a round: the
    stall is counted, and there is nothing left to wait for.
    """
    cycles = engine.layer_cycles(
        d.rows, columns, d.k, fp32_in=d.fp32_in, fp32_out=d.fp32_out, forward=d.forward
    )
    ring = d.tiles * engine.tile_rows
    interval = engine.interval_cycles(ring, columns, d.k, fp32_in=d.fp32_in)
    waits = interval - d.tiles * engine.tile_cycles(columns, d.k)
    return cycles + max(0, ceil_div(d.stream, d.tiles) - 1) * waits


def tile_words(
    engine: EngineParameters, descriptor: Descriptor, weights: Weights, tile: int
) -> list[tuple[int, Words]]:
    """(byte address, words) of tile `tile` of a streamed layer, in the place of tile `tile` -
    `descriptor.tiles`.

    Where several index rows share a word (`engine.fold`), the words at the ends of the place hold
    the neighbors' rows too, as they are when tiles are written in order: a tile must be written
    before the next one, and its layer must begin with a word.  Words that no store has are left out
    where `LEAST_GAP` of them follow each other.  `ValueError` for a layer that is not streamed, or
    does not begin so, and for a tile that it has not.
    """
    d, place = descriptor, tile % descriptor.tiles
    if not 0 <= tile < d.stream:
        raise ValueError(f"tile must be one of {d.stream} streamed ones, not {tile!r}")
    if d.index_row % engine.fold:
        raise ValueError(f"index_row must be a multiple of {engine.fold}, not {d.index_row!r}")
    first, slot = tile * engine.tile_rows, d.slot + place * engine.stages
    rows = slice(first, min(first + engine.tile_rows, d.rows))
    start, indices = _index_rows(engine, d, weights, tile)
    banks = engine.banks, engine.bank_columns, ROW_WORDS
    parameters = row_store(
        engine,
        weights.bias[rows],
        weights.multiplier[rows],
        weights.shift[rows],
        weights.exponent[rows],
    )
    return [
        *_stored(
            index_address(engine, start),
            index_store(engine, indices),
            (engine.stages, engine.segments, engine.index_words),
        ),
        *_stored(
            codebook_address(engine, slot),
            codebook_store(engine, weights.entries[rows]),
            (engine.columns, engine.buckets),
        ),
        *_stored(row_address(engine, slot), parameters, banks),
    ]


def _stored(address: int, words: Words, fields: tuple[int, ...]) -> Iterator[tuple[int, Words]]:
    """The words that a store has, if its address is made of fields that count so many each."""
    there = np.zeros([1 << ceil_log2(count) for count in fields], bool)
    there[tuple(slice(count) for count in fields)] = True
    held = np.flatnonzero(np.resize(there, len(words)))
    ends = np.flatnonzero(np.diff(held) > LEAST_GAP) + 1
    for run in np.split(held, ends):
        yield address + 4 * int(run[0]), words[run[0] : run[-1] + 1]


def _index_rows(
    engine: EngineParameters, d: Descriptor, weights: Weights, tile: int
) -> tuple[int, NDArray[np.uint8]]:
    """The first index row of the words that tile `tile` is in, and their rows."""
    count = engine.index_rows(weights.indices.shape[1], 1 << d.index_bits)
    at = d.index_row + tile % d.tiles * count
    start = at - at % engine.fold
    end = ceil_div(at + count, engine.fold) * engine.fold
    rows = np.zeros((end - start, engine.stages, engine.segments, engine.columns), np.uint8)
    for other in range(max(0, tile - d.tiles + 1), tile + 1):
        offset = d.index_row + other % d.tiles * count - start
        low, high = max(offset, 0), min(offset + count, len(rows))
        if low < high:
            first = other * engine.tile_rows
            own = index_rows(
                engine, weights.indices[first : first + engine.tile_rows], d.index_bits
            )
            rows[low:high] = own[low - offset : high - offset]
    return start, rows
