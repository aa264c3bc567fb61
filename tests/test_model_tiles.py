"""Tiles of streamed layers: whatever was written last is in its place, and nothing else changed."""

import re
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpnet.model.engine.layout import (
    Descriptor,
    Region,
    codebook_store,
    index_rows,
    index_store,
    row_store,
)
from dpnet.model.engine.parameters import EngineParameters
from dpnet.model.engine.tiles import streamed_cycles, tile_words

ENGINES = st.builds(
    EngineParameters,
    stages=st.integers(1, 3),
    columns=st.sampled_from([1, 2, 3, 4, 5, 17]),
    segments=st.integers(1, 3),
    index_bits=st.integers(1, 4),
    bank=st.sampled_from([2, 16]),
)


@dataclass
class Matrix:
    """A layer's numbers."""

    indices: np.ndarray
    entries: np.ndarray
    bias: np.ndarray
    multiplier: np.ndarray
    shift: np.ndarray
    exponent: np.ndarray


def matrix(engine, rows, columns, k, seed):
    rng = np.random.default_rng(seed)
    half = 1 << engine.entry_bits - 1
    return Matrix(
        rng.integers(0, k, (rows, columns)),
        rng.integers(-half, half, (rows, k)),
        rng.integers(-(1 << 39), 1 << 39, rows),
        rng.integers(0, 1 << 16, rows),
        rng.integers(0, 64, rows),
        rng.integers(-2048, 2048, rows),
    )


def rows_in(engine, memory, first, count):
    """Index rows as the array sees them: nibbles (count, stages, segments, columns)."""
    bits, fold = engine.columns * engine.index_bits, engine.fold
    words = -(-bits // 32)

    def power(n):
        return 1 << (n - 1).bit_length()

    found = np.zeros((count, engine.stages, engine.segments, engine.columns), int)
    for n, g, s in np.ndindex(count, engine.stages, engine.segments):
        row = first + n
        place = (row // fold * power(engine.stages) + g) * power(engine.segments) + s
        start = Region.INDEX.base // 4 + place * power(words)
        whole = sum(memory.get(start + w, 0) << 32 * w for w in range(words))
        whole >>= row % fold * (32 // fold)
        for m in range(engine.columns):
            found[n, g, s, m] = whole >> m * engine.index_bits & engine.buckets - 1
    return found


@settings(max_examples=60, deadline=None)
@given(ENGINES, st.integers(1, 12), st.integers(1, 5), st.integers(1, 4), st.data())
def test_after_each_tile_the_ring_holds_the_last_tiles(engine, columns, stream, ring, data):
    k = data.draw(st.integers(1, engine.buckets))
    rows = data.draw(st.integers((stream - 1) * engine.tile_rows + 1, stream * engine.tile_rows))
    ring, made = min(ring, stream), matrix(engine, rows, columns, k, data.draw(st.integers(0, 99)))
    count, bits = engine.index_rows(columns, k), engine.index_bits_of(k)
    base = data.draw(st.integers(0, 3)) * engine.fold
    descriptor = Descriptor(
        beats=engine.beats(columns),
        tiles=ring,
        rows=rows,
        k=k,
        index_row=base,
        slot=3,
        result_slot=0,
        in_row=0,
        index_bits=bits,
        stream=stream,
    )
    # Whatever lies before the ring stays as it is.
    before = {address // 4: 0xFFFFFFFF for address in range(*before_ring(engine, descriptor), 4)}
    memory = dict(before)
    for tile in range(stream):
        written = [
            (address // 4 + n, word)
            for address, words in tile_words(engine, descriptor, made, tile)
            for n, word in enumerate(words.tolist())
        ]
        assert len({address for address, _ in written}) == len(written)
        memory.update(written)
        for other in range(max(0, tile - ring + 1), tile + 1):
            own = slice(other * engine.tile_rows, (other + 1) * engine.tile_rows)
            first = base + other % ring * count
            expected = index_rows(engine, made.indices[own], bits)
            assert np.array_equal(rows_in(engine, memory, first, count), expected)
            slot = 3 + other % ring * engine.stages
            parameters = (made.bias, made.multiplier, made.shift, made.exponent)
            for region, words in (
                (Region.CODEBOOK, codebook_store(engine, made.entries[own])),
                (Region.ROWS, row_store(engine, *(values[own] for values in parameters))),
            ):
                start = region.base // 4 + slot * (len(words) // engine.stages)
                assert [memory.get(start + n, 0) for n in range(len(words))] == words.tolist()
    assert {address: memory[address] for address in before} == before


def before_ring(engine, descriptor):
    """Byte addresses of the words of all index rows before the ring."""
    row_words = len(
        index_store(
            engine,
            np.zeros((engine.fold, engine.stages, engine.segments, engine.columns), np.uint8),
        )
    )
    end = 4 * row_words * descriptor.index_row // engine.fold
    return Region.INDEX.base, Region.INDEX.base + end


@pytest.mark.parametrize(
    "sizes, runs",
    [
        # All fields full: one run each, of 5 rows of 8 words, 2 · 16 · 16 entries, 2 · 16 · 4.
        ({"stages": 2, "columns": 16, "segments": 2}, [40, 512, 128]),
        # 17 of 32 columns: 3 of 4 words in 3 of 4 segments; gaps of 1 and 5 words are not worth it.
        ({"stages": 2, "columns": 17, "segments": 3}, [5 * 2 * 16 - 5, 17 * 16, 17 * 16, 256]),
        # 5 of 8 words in 5 of 8 segments of each of 5 rows; 3 of 4 banks.
        ({"stages": 1, "columns": 40, "segments": 5}, [4 * 8 + 5] * 5 + [40 * 16, 3 * 64]),
        # 5 of 8 stages of 8 words.
        ({"stages": 5, "columns": 16, "segments": 4}, [40] * 5 + [1280, 320]),
    ],
)
def test_words_that_no_store_has_are_left_out(sizes, runs):
    engine = EngineParameters(**sizes)
    columns = 5 * engine.segments
    made = matrix(engine, engine.tile_rows, columns, 16, 0)
    descriptor = Descriptor(
        beats=5,
        tiles=1,
        rows=engine.tile_rows,
        k=16,
        index_row=0,
        slot=0,
        result_slot=0,
        in_row=0,
        stream=1,
    )
    assert [len(words) for _, words in tile_words(engine, descriptor, made, 0)] == runs


def cycles(engine, *, columns, ring, stream, fp32):
    d = Descriptor(
        beats=columns,
        tiles=ring,
        rows=stream,
        k=1,
        index_row=0,
        slot=0,
        result_slot=0,
        in_row=0,
        stream=stream,
        fp32_in=fp32,
        fp32_out=fp32,
    )
    return streamed_cycles(engine, d, columns)


def test_rounds_of_the_ring_follow_each_other_as_vectors_do():
    """One lane, K = 1: a tile of C columns is C + 1 cycles, a round of the ring at least 8."""
    engine = EngineParameters(stages=1, columns=1, segments=1, bank=1, row_beats=1)
    for fp32 in (False, True):
        resident = engine.layer_cycles(5, 3, 1, fp32_in=fp32, fp32_out=fp32)
        assert cycles(engine, columns=3, ring=5, stream=5, fp32=fp32) == resident
        # Rounds of 2, 2 and 1 tiles: 8 cycles are enough.
        assert cycles(engine, columns=3, ring=2, stream=5, fp32=fp32) == resident
        # Four times 4 cycles more.
        assert cycles(engine, columns=3, ring=1, stream=5, fp32=fp32) == resident + 16
    # 17 rows to scan are 21 cycles; a round of one tile is 18.
    long = engine.layer_cycles(5, 17, 1, fp32_in=True, fp32_out=True)
    assert cycles(engine, columns=17, ring=1, stream=5, fp32=True) == long + 4 * 3
    assert cycles(engine, columns=17, ring=2, stream=5, fp32=True) == long


def test_tiles_that_are_refused():
    engine = EngineParameters(stages=1, columns=2, segments=1)
    made = matrix(engine, 5, 4, 16, 0)
    sizes = {"beats": 4, "rows": 5, "k": 16, "slot": 0, "result_slot": 0, "in_row": 0, "tiles": 2}
    streamed = Descriptor(**sizes, index_row=0, stream=3)
    for tile in (-1, 3):
        message = f"tile must be one of 3 streamed ones, not {tile}"
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            tile_words(engine, streamed, made, tile)
    with pytest.raises(ValueError, match=r"^tile must be one of 0 streamed ones, not 0$"):
        tile_words(engine, Descriptor(**sizes, index_row=0), made, 0)
    with pytest.raises(ValueError, match=r"^index_row must be a multiple of 4, not 2$"):
        tile_words(engine, Descriptor(**sizes, index_row=2, stream=3), made, 0)
