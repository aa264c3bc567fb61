"""Parameters of an engine: what is refused, sizes against loops and hand-counted examples."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from model.engine import EngineParameters, ceil_div, ceil_log2

LIMITS = {
    "stages": (1, 1024), "columns": (1, 256), "segments": (1, 64), "index_bits": (1, 4),
    "activation_bits": (2, 25), "entry_bits": (2, 25), "max_columns": (1, 4096),
    "index_depth": (1, 1 << 24), "slots": (1, 1 << 16), "vector_words": (1, 1 << 20),
    "layers": (1, 256),
}  # fmt: skip


@pytest.mark.parametrize("name", LIMITS)
def test_each_size_is_refused_outside_its_limits(name):
    low, high = LIMITS[name]
    for value in (low, high):
        if name != "max_columns":
            assert getattr(EngineParameters(**{name: value}), name) == value
    for value in (low - 1, high + 1, float(low), "2", None):
        with pytest.raises(ValueError) as caught:
            EngineParameters(**{name: value})
        assert str(caught.value) == f"{name} must be an integer from {low} to {high}, not {value!r}"


def test_storage_is_one_of_two():
    with pytest.raises(ValueError) as caught:
        EngineParameters(storage="ultra")
    assert str(caught.value) == "storage must be 'block' or 'distributed', not 'ultra'"


def test_accumulators_are_limited():
    assert EngineParameters(max_columns=4096).accumulator_bits == 62
    with pytest.raises(TypeError):
        EngineParameters(8)


@given(st.integers(1, 1 << 20), st.integers(1, 1 << 10))
def test_rounding_up(a, b):
    assert (ceil_div(a, b) - 1) * b < a <= ceil_div(a, b) * b
    assert 1 << ceil_log2(a) >= a
    assert a == 1 or 1 << ceil_log2(a) - 1 < a


SIZES = st.builds(
    EngineParameters,
    stages=st.integers(1, 20), columns=st.integers(1, 60), segments=st.integers(1, 20),
    index_bits=st.integers(1, 4), activation_bits=st.integers(2, 25),
    entry_bits=st.integers(2, 25), max_columns=st.integers(1, 4096),
)  # fmt: skip


@given(SIZES)
def test_no_width_overflows_in_the_worst_case(engine):
    largest = 1 << engine.activation_bits - 1  # as a negative number
    per_lane = -(-engine.max_columns // engine.segments)
    assert per_lane * largest <= 1 << engine.bucket_bits - 1
    assert engine.max_columns * largest <= 1 << engine.sum_bits - 1
    # Two most negative factors give a positive number: strictly below the limit.
    product = engine.max_columns * largest << engine.entry_bits - 1
    assert product < 1 << engine.accumulator_bits - 1


@given(SIZES)
def test_stores_have_room(engine):
    bits = engine.columns * engine.segments * engine.index_bits
    assert engine.row_bits == bits
    assert engine.fold * bits <= 32 * engine.index_words < bits + 32 or engine.fold > 1
    if engine.fold > 1:
        assert engine.fold * bits <= 32 < 2 * engine.fold * bits and engine.index_words == 1
    assert 32 % engine.fold == 0
    words = engine.vector_rows * engine.row_beats * engine.segments
    assert words >= engine.vector_words
    assert engine.row_beats * engine.segments >= 16
    assert engine.lanes == engine.stages * engine.columns * engine.segments
    assert (engine.banks - 1) * 16 < engine.columns <= engine.banks * 16
    assert engine.slot_cycles >= engine.buckets and engine.slot_cycles >= engine.bank_columns


@given(SIZES, st.integers(1, 2000), st.integers(1, 4096), st.integers(1, 16))
def test_a_tile_takes_beats_and_k(engine, rows, columns, k):
    assume(k <= engine.buckets)
    beats = -(-columns // engine.segments)
    cycles = engine.tile_cycles(columns, k)
    # The last stage of a tile must have drained and sent its results when the next one's does.
    last = (engine.stages - 1) * engine.slot_cycles
    if beats >= last + engine.bank_columns:
        assert cycles == beats + k
    assert cycles >= beats + k
    tiles = -(-rows // (engine.stages * engine.columns))
    one = engine.array_cycles(1, columns, k)
    assert engine.array_cycles(rows, columns, k) == one + (tiles - 1) * cycles


@pytest.mark.parametrize("rows, columns, most", [(1000, 1024, 4600), (384, 1728, 3000)])
def test_table_6_on_the_default_array(rows, columns, most):
    engine = EngineParameters()
    assert engine.lanes >= 256
    assert engine.layer_cycles(rows, columns, 16, fp32_in=True, fp32_out=True) + 1 <= most


def test_layer_cycles_counted_by_hand():
    """2 stages x 3 columns x 2 segments, K = 4, 12 x 10, 23-bit accumulators."""
    engine = EngineParameters(
        stages=2, columns=3, segments=2, index_bits=2, activation_bits=8, entry_bits=9,
        max_columns=64,
    )  # fmt: skip
    # Two tiles of 5 beats and 4 drain cycles, 4 more to the second stage, the pipeline of 9, and
    # the two other columns of the bank.
    array = 9 + 5 + 4 + 4 + 9 + 2
    assert engine.array_cycles(12, 10, 4) == array
    # Descriptor 3, feeder 6, requantizer 10 and its input 1.
    assert engine.layer_cycles(12, 10, 4, fp32_in=False, fp32_out=False) == array + 3 + 6 + 11
    # A row of the vector store has 8 beats of 2: one row, then 4 levels of comparators and 3.
    scan = 1 + 4 + 3
    assert engine.layer_cycles(12, 10, 4, fp32_in=True, fp32_out=True) == (
        array + 3 + 6 + 12 + scan
    )
    # 12 results, one per cycle, and one cycle to begin.
    assert engine.layer_cycles(12, 10, 4, fp32_in=False, fp32_out=False, forward=True) == (
        array + 3 + 6 + 11 + 13
    )
    wide = EngineParameters(stages=2, columns=3, segments=2, index_bits=2, max_columns=64)
    assert wide.normalize_cycles == 12 and engine.normalize_cycles == 11
