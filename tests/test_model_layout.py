"""The address map against loops over every row, column and bit, without the model's helpers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.engine import EngineParameters
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

SMALL = settings(max_examples=60, deadline=None)


@st.composite
def engines(draw):
    return EngineParameters(
        stages=draw(st.integers(1, 6)), columns=draw(st.sampled_from([1, 2, 3, 5, 8, 16, 17, 37])),
        segments=draw(st.sampled_from([1, 2, 3, 4, 7])), index_bits=draw(st.integers(1, 4)),
        entry_bits=draw(st.sampled_from([2, 9, 25])),
    )  # fmt: skip


def power(n):
    """The power of two that has room for n."""
    size = 1
    while size < n:
        size *= 2
    return size


def folds(engine):
    """Index rows in a 32-bit word, and 32-bit words in an index row."""
    bits = engine.columns * engine.segments * engine.index_bits
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
    expected = [0] * (-(-tiles * beats // fold) * power(engine.stages) * power(words))
    for row in range(rows):
        for column in range(columns):
            tile, within = divmod(row, tile_rows)
            stage, m = divmod(within, engine.columns)
            beat, segment = divmod(column, engine.segments)
            lane = m * engine.segments + segment
            address, part = divmod(tile * beats + beat, fold)
            bit = part * (32 // fold) + lane * engine.index_bits
            for n in range(engine.index_bits):
                word, low = divmod(bit + n, 32)
                place = (address * power(engine.stages) + stage) * power(words) + word
                expected[place] |= (int(indices[row, column]) >> n & 1) << low
    assert store.tolist() == expected


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
    banks, width = power(-(-engine.columns // 16)), power(min(engine.columns, 16))
    return ((slot * banks + column // 16) * width + column % 16) * words_per_column


@SMALL
@given(engines(), st.integers(1, 90), st.randoms(use_true_random=False))
def test_every_row_parameter_is_where_its_bank_looks(engine, rows, source):
    bias = [source.choice([-(2**39), 2**39 - 1, 0, -1, source.randrange(2**39)])
            for _ in range(rows)]  # fmt: skip
    multiplier = [source.randrange(1 << 16) for _ in range(rows)]
    shift = [source.randrange(64) for _ in range(rows)]
    exponent = [source.randrange(-2048, 2048) for _ in range(rows)]
    arrays = [np.array(values, np.int64) for values in (bias, multiplier, shift, exponent)]
    store = row_store(engine, *arrays).tolist()
    slots = -(-rows // (engine.stages * engine.columns)) * engine.stages
    assert len(store) == slots * 4 * power(-(-engine.columns // 16)) * power(
        min(engine.columns, 16)
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
    row_words = vector_row_bytes(engine) // 4
    assert row_words == power(engine.segments) * power(-(-16 // engine.segments))


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
    beats=0x1234, tiles=0x5678, rows=0x9ABC, k=16, index_row=0xDEADBEEF, slot=0x1111,
    result_slot=0x2222, in_row=0x3333, out_row=0x4444, out_bits=25,
)  # fmt: skip


def test_descriptor_words():
    assert [hex(word) for word in DESCRIPTOR.words().tolist()] == [
        "0x56781234", "0xf9abc", "0xdeadbeef", "0x22221111", "0x44443333", "0x19", "0x0", "0x0",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name, bit", [("fp32_in", 24), ("fp32_out", 25), ("relu", 26), ("forward", 27)]
)
def test_descriptor_flags(name, bit):
    changed = Descriptor(**{**vars(DESCRIPTOR), name: True}).words()
    assert (changed ^ DESCRIPTOR.words()).tolist() == [0, 1 << bit, 0, 0, 0, 0, 0, 0]


def test_regions_are_the_upper_four_bits():
    assert {region.name: region.base for region in Region} == {
        "REGISTERS": 0, "INDEX": 0x10000000, "CODEBOOK": 0x20000000, "ROWS": 0x30000000,
        "LAYERS": 0x40000000, "VECTOR": 0x50000000, "RESULT": 0x60000000,
    }  # fmt: skip
