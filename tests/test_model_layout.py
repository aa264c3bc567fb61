"""The address map against loops over every row, column and bit, without the model's helpers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpnet.model.engine.layout import (
    Descriptor,
    Fields,
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
from dpnet.model.engine.parameters import EngineParameters

SMALL = settings(max_examples=60, deadline=None)


@st.composite
def engines(draw):
    return EngineParameters(
        stages=draw(st.integers(1, 6)),
        columns=draw(st.sampled_from([1, 2, 3, 5, 8, 16, 17, 37])),
        segments=draw(st.sampled_from([1, 2, 3, 4, 7])),
        index_bits=draw(st.integers(1, 4)),
        entry_bits=draw(st.sampled_from([2, 9, 25])),
        bank=draw(st.sampled_from([1, 4, 7, 8, 16])),
        row_beats=draw(st.sampled_from([1, 2, 8, 64])),
        packed=draw(st.booleans()),
    )


def power(n):
    """The power of two that has room for n."""
    size = 1
    while size < n:
        size *= 2
    return size


def folds(engine):
    """Index rows of a segment in a 32-bit word, and 32-bit words in an index row."""
    bits = engine.columns * engine.index_bits
    fold = 1
    while 2 * fold * bits <= 32:
        fold *= 2
    words = 1
    while 32 * words < bits:
        words += 1
    return fold, words


@SMALL
@given(engines(), st.integers(1, 90), st.integers(1, 25), st.randoms(use_true_random=False))
def test_every_index_is_where_its_lane_looks(engine, rows, columns, source):
    k = 1 << engine.index_bits
    indices = np.array([[source.randrange(k) for _ in range(columns)] for _ in range(rows)])
    store = index_store(engine, index_rows(engine, indices))
    fold, words = folds(engine)
    beats = -(-columns // engine.segments)
    tile_rows = engine.stages * engine.columns
    tiles = -(-rows // tile_rows)
    parts = power(engine.stages), power(engine.segments), power(words)
    expected = [0] * (-(-tiles * beats // fold) * parts[0] * parts[1] * parts[2])
    for row in range(rows):
        for column in range(columns):
            tile, within = divmod(row, tile_rows)
            stage, m = divmod(within, engine.columns)
            beat, segment = divmod(column, engine.segments)
            address, part = divmod(tile * beats + beat, fold)
            bit = part * (32 // fold) + m * engine.index_bits
            for n in range(engine.index_bits):
                word, low = divmod(bit + n, 32)
                place = (address * parts[0] + stage) * parts[1] + segment
                place = place * parts[2] + word
                expected[place] |= (int(indices[row, column]) >> n & 1) << low
    assert store.tolist() == expected


@SMALL
@given(engines())
def test_the_fields_below_a_row_number_every_word_once(engine):
    """`Fields.index` of each word of each stage, as the loop above counts them."""
    _, words = folds(engine)
    fields, places = Fields(engine), []
    for stage in range(engine.stages):
        for segment in range(engine.segments):
            for word in range(words):
                place = (stage * power(engine.segments) + segment) * power(words) + word
                assert fields.index(stage, segment * words + word) == place
                places.append(place)
    assert len(set(places)) == len(places)
    assert max(places) < 1 << fields.stage + fields.segment + fields.index_word


@SMALL
@given(engines(), st.integers(1, 90), st.integers(1, 25), st.randoms(use_true_random=False))
def test_indices_come_back_from_the_store(engine, rows, columns, source):
    """Take the words apart by shifts alone: index (r, c) is where it was put, padding is 0."""
    k = 1 << engine.index_bits
    indices = np.array([[source.randrange(k) for _ in range(columns)] for _ in range(rows)])
    split = index_rows(engine, indices)
    tiles = -(-rows // (engine.stages * engine.columns))
    beats = -(-columns // engine.segments)
    assert split.shape == (tiles * beats, engine.stages, engine.segments, engine.columns)
    fold, words = folds(engine)
    store = index_store(engine, split).reshape(
        -1, power(engine.stages), power(engine.segments), power(words)
    )
    seen = np.zeros((tiles * engine.stages * engine.columns, beats * engine.segments), int)
    for row, stage, segment, m in np.ndindex(split.shape):
        whole = sum(int(store[row // fold, stage, segment, n]) << 32 * n for n in range(words))
        tile, beat = divmod(row, beats)
        shift = row % fold * (32 // fold) + m * engine.index_bits
        place = (tile * engine.stages + stage) * engine.columns + m
        seen[place, beat * engine.segments + segment] = whole >> shift & k - 1
    assert np.array_equal(seen[:rows, :columns], indices)
    seen[:rows, :columns] = 0
    assert not seen.any()


PACKING = st.builds(
    EngineParameters,
    stages=st.integers(1, 4),
    columns=st.sampled_from([5, 8, 16, 17, 37]),
    segments=st.sampled_from([1, 2, 3, 7]),
)
"""Engines that pack: more than 16 bits of indices in a row."""


def nibble(store, engine, row, stage, segment, m):
    """What lane m of a segment of a stage reads at an index row: four bits."""
    words = -(-4 * engine.columns // 32)
    place = (row * power(engine.stages) + stage) * power(engine.segments) + segment
    return int(store[place * power(words) + 4 * m // 32]) >> 4 * m % 32 & 15


def unpacked(store, engine, start, bits, beat, *lane):
    """The index of a beat of the tile that begins with index row `start`."""
    if bits == 3:
        row = start + beat // 4 * 3
        if beat % 4 < 3:
            return nibble(store, engine, row + beat % 4, *lane) & 7
        return sum((nibble(store, engine, row + n, *lane) >> 3) << n for n in range(3))
    beats = 4 // bits
    return nibble(store, engine, start + beat // beats, *lane) >> beat % beats * bits & 2**bits - 1


@settings(max_examples=150, deadline=None)
@given(
    PACKING,
    st.lists(
        st.tuples(st.integers(1, 4), st.integers(1, 150), st.integers(1, 25)),
        min_size=1,
        max_size=3,
    ),
    st.randoms(use_true_random=False),
)
def test_packed_indices_come_back_from_the_store(engine, layers, source):
    """Layers of different bits after each other, every tile from a fresh row on."""
    matrices, parts = [], []
    for bits, rows, columns in layers:
        # The largest index must be told from one of fewer bits.
        values = [source.randrange(1 << bits) for _ in range(rows * columns)]
        matrices.append(np.array(values).reshape(rows, columns))
        assert engine.index_bits_of(1 << bits) == bits
        parts.append(index_rows(engine, matrices[-1], bits))
    store = index_store(engine, np.concatenate(parts))
    start = 0
    for (bits, rows, columns), indices in zip(layers, matrices, strict=True):
        tile_rows = engine.stages * engine.columns
        beats = -(-columns // engine.segments)
        for tile in range(-(-rows // tile_rows)):
            for g, m, s, beat in np.ndindex(engine.stages, engine.columns, engine.segments, beats):
                row = (tile * engine.stages + g) * engine.columns + m
                column = beat * engine.segments + s
                inside = row < rows and column < columns
                found = unpacked(store, engine, start, bits, beat, g, s, m)
                assert found == (indices[row, column] if inside else 0)
            start += engine.index_rows(columns, 1 << bits)
    words = power(engine.stages) * power(engine.segments) * power(-(-engine.columns // 8))
    assert len(store) == start * words


@pytest.mark.parametrize("bits, rows", [(1, 2), (2, 4), (3, 6), (4, 7)])
def test_packed_rows_counted_by_hand(bits, rows):
    """7 beats: 4 + 3 in a row each; 2 + 2 + 2 + 1; 4 in three rows, 3 in three more; 7."""
    engine = EngineParameters(stages=2, columns=8, segments=2)
    assert engine.index_rows(13, 1 << bits) == rows
    assert index_rows(engine, np.ones((17, 13), int), bits).shape == (2 * rows, 2, 2, 8)


def test_only_engines_that_pack_look_at_the_bits():
    indices = np.arange(24).reshape(4, 6) % 4
    for sizes in ({"columns": 4}, {"columns": 8, "packed": False}, {"columns": 8, "index_bits": 3}):
        engine = EngineParameters(stages=1, segments=1, **sizes)
        assert index_rows(engine, indices, 2).tolist() == index_rows(engine, indices).tolist()
        assert len(index_rows(engine, indices, 2)) == 6


@SMALL
@given(engines(), st.integers(1, 90), st.data())
def test_every_entry_is_where_its_column_looks(engine, rows, data):
    k = data.draw(st.integers(1, 1 << engine.index_bits))
    source = data.draw(st.randoms(use_true_random=False))
    half = 1 << engine.entry_bits - 1
    entries = np.array([[source.randrange(-half, half) for _ in range(k)] for _ in range(rows)])
    store = codebook_store(engine, entries)
    slots = -(-rows // (engine.stages * engine.columns)) * engine.stages
    expected = [0] * (slots * power(engine.columns) << engine.index_bits)
    for row in range(rows):
        slot, column = divmod(row, engine.columns)
        for n in range(k):
            place = ((slot * power(engine.columns) + column) << engine.index_bits) + n
            expected[place] = int(entries[row, n]) % (2 * half)
    assert store.tolist() == expected


def bank_place(engine, row, words_per_column):
    """First word of a matrix row in a store by slot, bank and column of the bank."""
    slot, column = divmod(row, engine.columns)
    bank, rest = divmod(column, engine.bank)
    banks, width = power(-(-engine.columns // engine.bank)), power(min(engine.columns, engine.bank))
    return ((slot * banks + bank) * width + rest) * words_per_column


@SMALL
@given(engines(), st.integers(1, 90), st.randoms(use_true_random=False))
def test_every_row_parameter_is_where_its_bank_looks(engine, rows, source):
    bias = [
        source.choice([-(2**39), 2**39 - 1, 0, -1, source.randrange(2**39)]) for _ in range(rows)
    ]
    multiplier = [source.randrange(1 << 16) for _ in range(rows)]
    shift = [source.randrange(64) for _ in range(rows)]
    exponent = [source.randrange(-2048, 2048) for _ in range(rows)]
    arrays = [np.array(values, np.int64) for values in (bias, multiplier, shift, exponent)]
    store = row_store(engine, *arrays).tolist()
    slots = -(-rows // (engine.stages * engine.columns)) * engine.stages
    assert len(store) == slots * 4 * power(-(-engine.columns // engine.bank)) * power(
        min(engine.columns, engine.bank)
    )
    expected = [0] * len(store)
    for row in range(rows):
        place = bank_place(engine, row, 4)
        expected[place] = bias[row] % 2**32
        expected[place + 1] = bias[row] % 2**40 // 2**32
        expected[place + 2] = multiplier[row] + shift[row] * 2**16
        expected[place + 3] = exponent[row] % 2**12
    assert store == expected


@SMALL
@given(engines(), st.lists(st.integers(-(2**31), 2**32 - 1), min_size=1, max_size=60))
def test_every_activation_is_where_its_segment_looks(engine, vector):
    store = vector_store(engine, vector)
    beats = -(-len(vector) // engine.segments)
    expected = [0] * (beats * power(engine.segments))
    for n, value in enumerate(vector):
        beat, segment = divmod(n, engine.segments)
        expected[beat * power(engine.segments) + segment] = value % 2**32
    assert store.tolist() == expected
    assert vector_row_bytes(engine) // 4 == power(engine.segments) * engine.row_beats


@SMALL
@given(engines(), st.integers(1, 90), st.randoms(use_true_random=False))
def test_results_are_read_from_where_they_are_put(engine, rows, source):
    values = [source.randrange(2**32) for _ in range(rows)]
    count = result_bytes(engine, rows) // 4
    assert count == -(-rows // engine.columns) * slot_words(engine)
    words = np.array([source.randrange(2**32) for _ in range(count)], np.uint32)
    for row in range(rows):
        words[bank_place(engine, row, 1)] = values[row]
    assert results(engine, words, rows).tolist() == values


DESCRIPTOR = Descriptor(
    beats=0x1234,
    tiles=0x5678,
    rows=0x9ABC,
    k=16,
    index_row=0xDEADBEEF,
    slot=0x1111,
    result_slot=0x2222,
    in_row=0x3333,
    out_row=0x4444,
    out_bits=25,
    vector_rows=0xABCD,
    index_bits=3,
    stream=0x9876,
)


def test_descriptor_words():
    assert [hex(word) for word in DESCRIPTOR.words().tolist()] == [
        "0x56781234",
        "0x100f9abc",
        "0xdeadbeef",
        "0x22221111",
        "0x44443333",
        "0xabcd0219",
        "0x9876",
        "0x0",
    ]


@pytest.mark.parametrize(
    "name, bit", [("fp32_in", 24), ("fp32_out", 25), ("relu", 26), ("forward", 27)]
)
def test_descriptor_flags(name, bit):
    changed = Descriptor(**{**vars(DESCRIPTOR), name: True}).words()
    assert (changed ^ DESCRIPTOR.words()).tolist() == [0, 1 << bit, 0, 0, 0, 0, 0, 0]


def test_a_layer_with_more_tiles_than_places_has_a_flag():
    resident = Descriptor(**{**vars(DESCRIPTOR), "stream": 0}).words()
    changed = resident ^ DESCRIPTOR.words()
    assert changed.tolist() == [0, 1 << 28, 0, 0, 0, 0, DESCRIPTOR.stream, 0]


def test_regions_are_the_upper_four_bits():
    assert {region.name: region.base for region in Region} == {
        "REGISTERS": 0,
        "INDEX": 0x10000000,
        "CODEBOOK": 0x20000000,
        "ROWS": 0x30000000,
        "LAYERS": 0x40000000,
        "VECTOR": 0x50000000,
        "RESULT": 0x60000000,
        "MAPS": 0x70000000,
    }
