"""Parameters of an engine: what is refused, sizes against loops and hand-counted examples."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dpnet.model.engine.parameters import EngineParameters, ceil_div, ceil_log2

LIMITS = {
    "stages": (1, 1024),
    "columns": (1, 1024),
    "segments": (1, 64),
    "index_bits": (1, 4),
    "activation_bits": (2, 25),
    "entry_bits": (2, 25),
    "max_columns": (1, 4096),
    "index_depth": (1, 1 << 24),
    "slots": (1, 1 << 16),
    "result_slots": (1, 1 << 16),
    "vector_words": (1, 1 << 20),
    "layers": (1, 256),
    "bank": (1, 16),
    "row_beats": (1, 64),
    "dsp_columns": (0, 16),
}


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


def test_rows_of_the_vector_store_are_powers_of_two():
    for beats in (1, 2, 4, 8, 16, 32, 64):
        assert EngineParameters(row_beats=beats).row_beats == beats
    for beats in (3, 12, 63):
        with pytest.raises(ValueError) as caught:
            EngineParameters(row_beats=beats)
        assert str(caught.value) == f"row_beats must be a power of two, not {beats}"


@pytest.mark.parametrize("name", ["packed", "residues", "lockstep"])
def test_flags_are_true_or_false(name):
    for value in (False, True):
        assert getattr(EngineParameters(**{name: value}), name) is value
    for value in (0, 1, "yes", None):
        with pytest.raises(ValueError) as caught:
            EngineParameters(**{name: value})
        assert str(caught.value) == f"{name} must be True or False, not {value!r}"


def test_dsp_columns_are_columns():
    assert EngineParameters(columns=3, dsp_columns=3).dsp_columns == 3
    with pytest.raises(ValueError) as caught:
        EngineParameters(columns=3, dsp_columns=4)
    assert str(caught.value) == "dsp_columns must be an integer from 0 to 3, not 4"


def test_edges_are_one_of_three():
    made = {
        edges: (EngineParameters(edges=edges).fp32, EngineParameters(edges=edges).integer)
        for edges in ("both", "fp32", "integer")
    }
    assert made == {"both": (True, True), "fp32": (True, False), "integer": (False, True)}
    with pytest.raises(ValueError) as caught:
        EngineParameters(edges="none")
    assert str(caught.value) == "edges must be one of both, fp32, integer, not 'none'"


def test_multipliers_are_one_of_two():
    """Entries of more than 18 bits take two 18 x 18 multipliers, and a cycle to add them up."""
    for multiplier, bits, cycles in [("25x18", 25, 6), ("18x18", 18, 6), ("18x18", 19, 7)]:
        engine = EngineParameters(multiplier=multiplier, entry_bits=bits)
        assert engine.split_entries == (cycles == 7) and engine.column_cycles == cycles
    with pytest.raises(ValueError) as caught:
        EngineParameters(multiplier="27x18")
    assert str(caught.value) == "multiplier must be one of 25x18, 18x18, not '27x18'"


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
    stages=st.integers(1, 20),
    columns=st.integers(1, 60),
    segments=st.integers(1, 20),
    index_bits=st.integers(1, 4),
    activation_bits=st.integers(2, 25),
    entry_bits=st.integers(2, 25),
    max_columns=st.integers(1, 4096),
    bank=st.integers(1, 16),
    row_beats=st.sampled_from([1, 2, 4, 8, 64]),
    packed=st.booleans(),
    edges=st.sampled_from(["both", "fp32", "integer"]),
    multiplier=st.sampled_from(["25x18", "18x18"]),
)


@given(SIZES)
def test_no_width_overflows_in_the_worst_case(engine):
    largest = 1 << engine.activation_bits - 1  # as a negative number
    # What one tile adds to a bucket, and the sum of a vector, over all segments.
    assert engine.max_columns * largest <= 1 << engine.sum_bits - 1
    assert engine.max_columns == 1 or engine.max_columns * largest > 1 << engine.sum_bits - 2
    # Two most negative factors give a positive number: strictly below the limit.
    product = engine.max_columns * largest << engine.entry_bits - 1
    assert product < 1 << engine.accumulator_bits - 1


@given(SIZES)
def test_stores_have_room(engine):
    bits = engine.columns * engine.index_bits
    assert engine.row_bits == bits
    assert engine.fold * bits <= 32 * engine.index_words < bits + 32 or engine.fold > 1
    if engine.fold > 1:
        assert engine.fold * bits <= 32 < 2 * engine.fold * bits and engine.index_words == 1
    assert 32 % engine.fold == 0
    words = engine.vector_rows * engine.row_beats * engine.segments
    assert words >= engine.vector_words
    assert engine.lanes == engine.stages * engine.columns * engine.segments
    assert (engine.banks - 1) * engine.bank < engine.columns <= engine.banks * engine.bank
    assert engine.bank_columns == (engine.columns if engine.banks == 1 else engine.bank)
    assert engine.slot_cycles == max(engine.buckets, engine.bank_columns)


@given(SIZES, st.integers(1, 300), st.integers(1, 16))
def test_packed_rows_have_room_for_every_index_and_not_much_more(engine, columns, k):
    """Four bits a lane and row; a tile leaves less than a row empty, and at 3 bits what two of its
    last beats do not share."""
    assume(k <= engine.buckets)
    beats = len(range(0, columns, engine.segments))
    rows, bits = engine.index_rows(columns, k), engine.index_bits_of(k)
    short = engine.columns * engine.index_bits <= 16
    if not engine.packed or engine.index_bits < 4 or short:
        assert not engine.packs and (rows, bits) == (beats, engine.index_bits)
        return
    assert engine.packs and engine.fold == 1
    assert k <= 2**bits and (bits == 1 or 2 ** (bits - 1) < k)
    assert beats * bits <= 4 * rows < beats * bits + (6 if bits == 3 else 4)
    assert rows <= beats


def halvings(count):
    """Levels of a tree that makes one of `count`."""
    levels = 0
    while count > 1:
        count, levels = (count + 1) // 2, levels + 1
    return levels


def windows(engine, columns, k):
    """(cycles in which a tile's stages drain, cycles in which their results are sent), from the
    tile's first beat on, the way through lanes and columns left out.
    """
    drains, sends = [], []
    for stage in range(engine.stages):
        first = -(-columns // engine.segments) + stage * engine.slot_cycles
        drains += range(first, first + k)
        sends += range(first + k, first + k + engine.bank_columns)
    return drains, sends


COLUMNS = st.one_of(st.integers(1, 60), st.integers(1, 4096))


@given(SIZES, COLUMNS, st.integers(1, 16))
def test_tiles_follow_each_other_as_soon_as_nothing_collides(engine, columns, k):
    assume(k <= engine.buckets)
    drains, sends = windows(engine, columns, k)
    assert len(set(drains)) == len(drains) and len(set(sends)) == len(sends)
    # No beat while the first stage drains; and the next tile's after the last of this one's, as
    # columns and multipliers are shared.
    cycles = -(-columns // engine.segments) + k
    while cycles + min(drains) <= max(drains) or cycles + min(sends) <= max(sends):
        cycles += 1
    assert engine.tile_cycles(columns, k) == cycles


class Clock:
    """A run of one layer, walked through event by event; `cycle` is the number of the present
    one, 1 for `start`.
    """

    def __init__(self, engine, rows, columns, k):
        self.engine, self.rows, self.columns, self.k = engine, rows, columns, k
        self.beats = -(-columns // engine.segments)
        self.tiles = -(-rows // (engine.stages * engine.columns))
        self.cycle = 1

    def scanned(self, reads):
        """The cycle in which the exponent is known, the last row being read in `reads`: the
        exponents of its beats show, their tree, and the largest so far."""
        return reads + 1 + halvings(self.engine.row_beats) + 1

    def first_command(self, fp32_in):
        for _ in ("decode", "prepare"):
            self.cycle += 1
        if fp32_in:
            self.cycle += len(range(0, self.beats, self.engine.row_beats))
            self.cycle = self.scanned(self.cycle) + 1  # looked at, and launched
        return self.cycle + 1

    def next_command(self, command, fp32_in):
        """The first command of the next product, after one whose first was in `command`."""
        following = command
        for _ in range(self.tiles):
            following += self.engine.tile_cycles(self.columns, self.k)
        if fp32_in:
            rows = len(range(0, self.beats, self.engine.row_beats))
            # The next vector's first row is read in the cycle after this command.
            following = max(following, self.scanned(command + rows) + 2)
        return max(following, command + 8)

    def last_result(self, command, fp32_out):
        """When the last result of the product is in the buffer."""
        engine = self.engine
        beat = command + (8 if engine.fp32 else 3)
        for _ in range(self.tiles - 1):
            beat += engine.tile_cycles(self.columns, self.k)
        beat += self.beats + self.k - 1  # the last drain of stage 0
        beat += (engine.stages - 1) * engine.slot_cycles
        bucket = beat + 3 + (engine.segments - 1)
        split = engine.multiplier == "18x18" and engine.entry_bits > 18
        row = bucket + (7 if split else 6) + 1 + (engine.bank_columns - 1)
        accumulator = row + 2
        wide = engine.entry_bits + engine.activation_bits + halvings(engine.max_columns) > 32
        return accumulator + ((12 if wide else 11) if fp32_out else 10)

    def copied(self, result):
        """One word a cycle, whole beats, and a cycle to begin and one behind the result buffer;
        where there is fp32, what the next layer waits for the exponents of the last beat: one cycle
        behind their store, one for the largest, and a tree over the segments."""
        engine = self.engine
        waits = 2 + halvings(engine.segments) if engine.fp32 else 0
        return result + 2 + len(range(0, self.rows, engine.segments)) * engine.segments + waits


@given(SIZES, st.integers(1, 900), COLUMNS, st.integers(1, 16), st.integers(1, 6), st.data())
def test_a_layer_takes_as_long_as_its_steps(engine, rows, columns, k, vectors, data):
    assume(k <= engine.buckets)
    fp32_in = data.draw(st.booleans()) and engine.fp32
    fp32_out = engine.edges == "fp32" or (engine.fp32 and data.draw(st.booleans()))
    forward = vectors == 1 and data.draw(st.booleans())
    clock = Clock(engine, rows, columns, k)
    command = clock.first_command(fp32_in)
    for _ in range(vectors - 1):
        following = clock.next_command(command, fp32_in)
        interval = engine.interval_cycles(rows, columns, k, fp32_in=fp32_in)
        assert following - command == interval
        command = following
    end = clock.last_result(command, fp32_out)
    if forward:
        end = clock.copied(end)
        assert engine.copy_cycles(rows) == end - clock.last_result(command, fp32_out)
    layer = engine.layer_cycles(
        rows, columns, k, fp32_in=fp32_in, fp32_out=fp32_out, forward=forward, vectors=vectors
    )
    assert layer + 1 == end


@given(
    st.builds(
        EngineParameters,
        stages=st.just(1),
        columns=st.integers(1, 2),
        segments=st.integers(1, 2),
        row_beats=st.sampled_from([1, 2, 16, 64]),
        edges=st.sampled_from(["both", "fp32"]),
    ),
    st.integers(1, 4),
    st.integers(1, 40),
    st.integers(1, 4),
)
def test_vectors_follow_each_other_as_fast_as_they_are_scanned(engine, rows, columns, k):
    """Small engines, whose products may be shorter than a scan."""
    clock = Clock(engine, rows, columns, k)
    for fp32_in in (False, True):
        interval = engine.interval_cycles(rows, columns, k, fp32_in=fp32_in)
        assert clock.next_command(100, fp32_in) - 100 == interval


@given(SIZES, st.integers(1, 64), st.integers(1, 900), COLUMNS, st.booleans())
def test_at_most_sixteen_products_are_on_their_way(engine, segments, rows, columns, fp32_out):
    """Before a product's last result, fewer than 16 others are launched: numbers are modulo 16."""
    engine = EngineParameters(**{**vars(engine), "segments": segments})
    clock = Clock(engine, rows, columns, 1)
    command, launches = 0, 0
    while command <= clock.last_result(0, fp32_out):
        command, launches = clock.next_command(command, False), launches + 1
    assert launches <= 16


@given(SIZES)
def test_a_flush_reaches_the_columns(engine):
    """Every bucket's value is kept in its column when the flush ends: last that of the last stage,
    two cycles after it shows.
    """
    last_command = engine.buckets - 1 + (engine.stages - 1) * engine.slot_cycles
    shows = last_command + (8 if engine.fp32 else 3) + 3 + engine.segments - 1
    assert engine.flush_cycles >= shows + 2


@pytest.mark.parametrize("rows, columns, most", [(1000, 1024, 4600), (384, 1728, 3000)])
def test_table_6_on_the_default_array(rows, columns, most):
    engine = EngineParameters()
    assert engine.lanes >= 256
    assert engine.layer_cycles(rows, columns, 16, fp32_in=True, fp32_out=True) + 1 <= most


def test_layer_cycles_counted_by_hand():
    """2 stages x 3 columns x 2 segments, K = 4, 12 x 10, 23-bit accumulators."""
    engine = EngineParameters(
        stages=2,
        columns=3,
        segments=2,
        index_bits=2,
        activation_bits=8,
        entry_bits=9,
        max_columns=64,
    )
    # Two tiles of 5 beats and 4 drain cycles, 4 more to the second stage, the pipeline of 11, and
    # the two other columns of the bank.
    array = 9 + 5 + 4 + 4 + 11 + 2
    assert engine.array_cycles(12, 10, 4) == array
    # Descriptor 2, feeder 8, requantizer 10 and its input 2.
    assert engine.layer_cycles(12, 10, 4, fp32_in=False, fp32_out=False) == array + 2 + 8 + 12
    # A row of the vector store has 8 beats: one row, then 3 levels of comparators and 3.
    scan = 1 + 3 + 3
    assert engine.layer_cycles(12, 10, 4, fp32_in=True, fp32_out=True) == (
        array + 2 + 8 + 13 + scan
    )
    # 12 results, one per cycle, two cycles on their way, three until the last exponents are there.
    assert engine.layer_cycles(12, 10, 4, fp32_in=False, fp32_out=False, forward=True) == (
        array + 2 + 8 + 12 + 17
    )
    # Two more vectors, 18 cycles each.
    assert engine.layer_cycles(12, 10, 4, fp32_in=False, fp32_out=False, vectors=3) == (
        array + 2 + 8 + 12 + 36
    )
    wide = EngineParameters(stages=2, columns=3, segments=2, index_bits=2, max_columns=64)
    assert wide.normalize_cycles == 12 and engine.normalize_cycles == 11
    # Integers are not aligned.
    integers = EngineParameters(**{**vars(engine), "edges": "integer"})
    assert integers.layer_cycles(12, 10, 4, fp32_in=False, fp32_out=False) == array + 2 + 3 + 12
    assert integers.layer_cycles(12, 10, 4, fp32_in=False, fp32_out=False, forward=True) == (
        array + 2 + 3 + 12 + 14
    )


def test_short_products_wait_for_the_next_scan():
    """One lane, K = 1, 3 columns: 4 cycles of work, at least 8; a scan of one beat a row takes
    longer."""
    engine = EngineParameters(stages=1, columns=1, segments=1, bank=1, row_beats=1)
    assert engine.interval_cycles(1, 3, 1, fp32_in=False) == 8
    # Cycle 2 reads the first row, 8 the last, 9 shows it, 10 the largest so far: known in cycle 10,
    # looked at in 11, first beat in 12.
    assert engine.interval_cycles(1, 7, 1, fp32_in=True) == 11
    assert engine.interval_cycles(1, 17, 1, fp32_in=True) == 17 + 4
    assert engine.interval_cycles(2, 17, 1, fp32_in=True) == 36
    # Rows of 16 beats: two of them, and four levels of comparators.
    wide = EngineParameters(stages=1, columns=1, segments=1, bank=1, row_beats=16)
    assert wide.interval_cycles(1, 17, 1, fp32_in=True) == 18
    assert wide.interval_cycles(1, 3, 1, fp32_in=True) == 1 + 4 + 4
