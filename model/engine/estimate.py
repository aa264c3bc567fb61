"""What an engine takes of an XC7 chip, counted part by part without synthesizing it.

Standard library only.  The counts follow the gateware bit by bit where it is regular (lanes,
stores, delays, multiplexers) and Yosys' figures where it is not (normalize, sequencer, …);
tests/test_model_estimate.py holds them within 10 % of Yosys.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from dpnet.model.engine.parameters import EngineParameters, ceil_div, ceil_log2
from dpnet.model.engine.records import LAYER, ROW
from dpnet.model.engine.widths import (
    LIMB,
    accumulator_widths,
    limb_widths,
    row_address_bits,
    store_words,
)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Sites of an XC7 chip: `lut` has the LUTs used as memory in it, which `lutram` counts;
    `bram18` are halves of a block RAM."""

    lut: int = 0
    lutram: int = 0
    ff: int = 0
    dsp: int = 0
    bram18: int = 0

    @property
    def bram36(self) -> int:
        """Block RAMs, two halves in one."""
        return ceil_div(self.bram18, 2)

    def __add__(self, other: Estimate) -> Estimate:
        return Estimate(
            **{
                field.name: getattr(self, field.name) + getattr(other, field.name)
                for field in fields(self)
            }
        )

    def times(self, count: int) -> Estimate:
        """What `count` of it take."""
        return Estimate(**{field.name: getattr(self, field.name) * count for field in fields(self)})


def estimate(engine: EngineParameters) -> Estimate:
    """What the compute core of `engine` takes (`ArrayCore`, without a link); raises `ValueError`
    for engines that are not made for an XC7."""
    return sum(parts(engine).values(), Estimate())


def parts(engine: EngineParameters) -> dict[str, Estimate]:
    """The same part by part, all of a kind together; raises `ValueError`."""
    if engine.storage != "block" or engine.multiplier != "25x18":
        raise ValueError(
            "estimates are for storage 'block' and multiplier '25x18', not "
            f"{engine.storage!r} and {engine.multiplier!r}"
        )
    twice = {"lockstep": lockstep(engine)} if engine.lockstep else {}
    in_dsp = engine.stages * engine.dsp_columns
    feeds = engine.segments
    return {
        "lanes": lane(engine, dsp=False).times(engine.lanes - in_dsp)
        + lane(engine, dsp=True).times(in_dsp),
        "segments": segment(engine).times(engine.stages * engine.segments)
        + _words_together(engine.segments).times(engine.stages),
        "columns": column(engine).times(engine.columns),
        "array": array(engine),
        "post": post(engine).times(engine.banks),
        "feeder": feeder(engine) + align(engine).times(feeds if engine.fp32 else 0),
        "scan": exponents(engine) + scanner(engine) if engine.fp32 else Estimate(),
        "vectors": checked_store(engine.segments, 32, engine.vector_rows * engine.row_beats),
        "control": sequencer() + checked_store(LAYER.words, 32, engine.layers) + decoder(engine),
        **twice,
    }


def lane(engine: EngineParameters, *, dsp: bool) -> Estimate:
    """Memory LUTs come four at a time, for 8 bits with a write and a read port (RAM32M), but one at
    a time for 1 to 3 bits above them (RAM32X1S); the adder has a LUT a bit, which ORs its operands
    too, or is a DSP slice."""
    bits = engine.sum_bits
    rest = bits % 8 if bits > 8 and 1 <= bits % 8 <= 3 else 0
    memory = 4 * ceil_div(bits - rest, 8) + rest
    return Estimate(lut=memory + (0 if dsp else bits), lutram=memory, ff=bits, dsp=int(dsp))


def segment(engine: EngineParameters) -> Estimate:
    """The index store and its address multiplexer (of lanes and link); where several rows share a
    word, one of `fold` is picked.  Registers: x and its control twice, the control handed on."""
    address = row_address_bits(engine)
    own = Estimate(
        lut=address + engine.index_words + 1 + engine.row_bits * multiplexer(engine.fold),
        ff=address + 2 + 2 * (engine.activation_bits + 1 + ceil_log2(engine.fold)),
    )
    if engine.packs:  # an index of 1 to 4 bits from a row, or from three of them
        own += Estimate(lut=4 * engine.columns + 7, ff=6 * engine.columns + 12)
    return own + checked_store(engine.index_words, 32, store_words(engine))


def column(engine: EngineParameters) -> Estimate:
    """The OR over the stages (six to a LUT), the gain's subtractor and the Σ-check's adder a LUT a
    bit, six of its bits to a LUT for "none left"; registers: new twice, before, gain, left, and the
    held accumulators.  A high limb above 18 bits takes a second multiplier, and an adder for the
    two products."""
    bits, entry = engine.sum_bits, engine.entry_bits
    low, high = limb_widths(engine)
    split = high > 18 and entry > 18
    held = sum(accumulator_widths(engine))
    check = Estimate()
    if engine.residues:
        check = Estimate(lut=_folded(bits) + _folded(entry) + 7, ff=12)
    own = Estimate(
        lut=bits * (_or(engine.stages) + 2) + ceil_div(bits, 6) + 2 + (2 * entry if split else 0),
        ff=5 * bits + held + 12 + (2 * entry if split else 0),
        dsp=1 + (low > 0) + split,
    )
    return own + check


def array(engine: EngineParameters) -> Estimate:
    """A multiplexer over each bank's columns for every bit of a result, the gate of the beat, the
    sum of the inputs (an adder tree and the running one).  Registers: the beat's way to the later
    stages, `slot_cycles` each, and the skew of x over the segments."""
    x, segments = engine.activation_bits, engine.segments
    beat = x * segments + row_address_bits(engine) + 6
    bits = sum(accumulator_widths(engine)) + 1
    last = engine.columns - (engine.banks - 1) * engine.bank_columns
    inputs = multiplexer(engine.bank_columns) * (engine.banks - 1) + multiplexer(last)
    tree = x * (segments - 1) + segments
    old = Estimate(
        bram18=block_rams(engine.columns * engine.sum_bits, engine.stages * engine.buckets)
    )
    books = checked_store(engine.columns, engine.entry_bits, engine.slots * engine.buckets)
    return (
        old
        + books
        + Estimate(
            lut=bits * inputs + beat + 2 * engine.sum_bits + 32 * _or(engine.stages) + tree + 15,
            lutram=engine.sum_bits,  # the delay of that sum, a shift register
            ff=(engine.stages - 1) * engine.slot_cycles * beat
            + x * segments * (segments - 1) // 2
            + engine.banks * bits
            + 2 * engine.sum_bits
            + x * segments
            + tree
            + 100,
        )
    )


def post(engine: EngineParameters) -> Estimate:
    """The units, the row parameters, the result buffer, the addition of the limbs and the delayed
    place."""
    column_bits = ceil_log2(engine.bank_columns)
    address = ceil_log2(engine.slots) + column_bits
    bits = engine.accumulator_bits
    both = 60 if engine.fp32 and engine.integer else 0
    adder = max(0, bits - LIMB) if limb_widths(engine)[0] else 0
    own = Estimate(
        lut=20 + 3 * address // 2 + adder // 2 + both, ff=2 * bits + 24 + 14 * (address + 2)
    )
    if engine.residues:
        own += Estimate(lut=_folded(engine.accumulator_bits) + 4, ff=12)
    rows = checked_store(ROW.words, 32, engine.slots << column_bits)
    buffer = checked_store(1, 32, engine.result_slots << column_bits)
    return post_units(engine) + own + rows + buffer


def post_units(engine: EngineParameters) -> Estimate:
    """Normalizing: 6 LUTs a bit of the accumulator above 37; requantizing does not depend on
    sizes."""
    bits, units = engine.accumulator_bits, Estimate()
    if engine.fp32:
        units += Estimate(lut=342 + 6 * (bits - 37), ff=329 + 6 * bits)
    if engine.integer:
        units += Estimate(lut=453, ff=486, dsp=2)
    return units


def lockstep(engine: EngineParameters) -> Estimate:
    """What is there twice, a register for every bit into the second one and out of the first, and
    7 LUTs to compare 18 bits: some 500 of sequencer and copier; and the codes of the rest."""
    feeds, words = engine.segments, engine.segments * (32 + engine.activation_bits)
    second = feeder(engine) + sequencer() + post_units(engine).times(engine.banks)
    into, out = 300 + 32 * feeds, 500 + engine.activation_bits * feeds
    if engine.fp32:
        second += align(engine).times(feeds) + exponents(engine) + scanner(engine)
        into, out = into + 40 + words, out + 9
    into += engine.banks * (engine.accumulator_bits + 20)
    out += engine.banks * 34 * (engine.fp32 + engine.integer)
    return second + codes(engine) + Estimate(lut=7 * ceil_div(out, 18) + 40, ff=into + out)


def codes(engine: EngineParameters) -> Estimate:
    """Parities along what only hands something on, made at one end and checked at the other (a LUT
    for five bits): result places and scales, beats, what a store may not hide; the array's counters
    a second time, and requests of the link.  Columns then have no marks of their own."""
    place = ceil_log2(engine.result_slots) + ceil_log2(engine.bank_columns)
    post = Estimate(lut=2 * (3 + ceil_div(place, 5)), ff=12)
    segment = Estimate(lut=ceil_div(engine.index_words + 1, 5) + 1, ff=4)
    if engine.packs:  # unpacked twice
        segment += Estimate(lut=6 * engine.columns + 7, ff=14 * engine.columns + 20)
    array = Estimate(
        lut=90 + ceil_div(engine.columns + 1, 5) + 4 * engine.stages,
        ff=engine.stages * (engine.slot_cycles + 1) + 80,
    )
    marks = Estimate(ff=-(2 * (engine.column_cycles - 5) + 1))
    return (
        post.times(engine.banks)
        + segment.times(engine.stages * engine.segments)
        + array
        + marks.times(engine.columns)
        + Estimate(lut=100, ff=70)
    )


def feeder(engine: EngineParameters) -> Estimate:
    """A word for each segment, gated; without fp32 the check that the upper bits are sign bits.
    Registers: the command for `feeder_cycles`."""
    x, check = engine.activation_bits, 0 if engine.fp32 else 11
    command = row_address_bits(engine) + 5
    return Estimate(
        lut=engine.segments * (x + check),
        ff=command * engine.feeder_cycles + (0 if engine.fp32 else engine.segments * (x + 1)),
    )


def align(engine: EngineParameters) -> Estimate:
    """A word's shifter: 5 levels of the mantissa; registers: 7 of it."""
    x = engine.activation_bits
    return Estimate(lut=42 + 5 * x, ff=52 + 7 * x)


def scanner(engine: EngineParameters) -> Estimate:
    """A tree of comparators of two exponents: 15 LUTs and 8 registers each, and 8 to take one."""
    exponents = engine.row_beats
    return Estimate(lut=15 * exponents - 5, ff=16 * exponents + 1)


def exponents(engine: EngineParameters) -> Estimate:
    """The largest exponent of each beat: a comparator for each word but one, the exponents by words
    and by beats with a parity bit each, which is checked when a row is read."""
    segments, beats = engine.segments, engine.row_beats
    depth = engine.vector_rows * beats
    delays = (ceil_log2(segments) + 3) * (ceil_log2(depth) + 1)
    return Estimate(
        lut=15 * (segments - 1) + 3 * segments + 4 * beats + 20,
        ff=9 * (segments - 1) + beats + delays + 12,
        bram18=block_rams(9 * segments, depth) + block_rams(9 * beats, engine.vector_rows),
    )


def sequencer() -> Estimate:
    """Counters of 16 bits and 13 states, and the copier of one layer's results to the next."""
    return Estimate(lut=470 + 83, ff=480 + 58)


def decoder(engine: EngineParameters) -> Estimate:
    """Where the link reads and writes: a multiplexer over everything that answers, two LUTs for
    each word of the vector store and the index stores (write, hide), one for each codebook."""
    banks, columns = engine.banks, engine.columns
    answers = 32 * (_grouped(ROW.words * banks) + 2 * _grouped(banks) + _grouped(LAYER.words))
    indices = engine.stages * engine.segments * engine.index_words
    return Estimate(
        lut=240 + answers + 2 * engine.segments + 2 * indices + columns,
        ff=550 + 32 * ceil_div(banks, 4),
    )


def checked_store(words: int, width: int, depth: int) -> Estimate:
    """`words` words of `width` bits with parity in block RAMs: the words' XOR, five more to a LUT,
    the parity of what is written and of the XOR; a register behind the store and one for the
    XOR."""
    lut = (width + 1) * ceil_div(words - 1, 5)
    lut += ceil_div(width, 5) + ceil_div(width + 1, 5) + 2
    blocks = ceil_div(depth, 512)
    halves = words * blocks
    if width == 32 and blocks & (blocks - 1):  # one of the blocks; else narrow ones are deep enough
        lut += 33 * words * 3 * (blocks - 1) // 5
    if width != 32:  # nine bits at least are written together
        halves = block_rams(words * 9 * ceil_div(width + 1, 9), depth)
    return Estimate(lut=lut, ff=(width + 2) * words + width + 5, bram18=halves)


def block_rams(width: int, depth: int) -> int:
    """Halves of a block RAM for a store written whole."""
    shapes = ((36, 512), (18, 1024), (9, 2048), (4, 4096), (2, 8192), (1, 16384))
    return min(ceil_div(width, bits) * ceil_div(depth, words) for bits, words in shapes)


def multiplexer(inputs: int) -> int:
    """LUTs of a multiplexer for one bit: a tree of four to one."""
    return ceil_div(inputs - 1, 3)


def _grouped(inputs: int) -> int:
    """The same in two steps, 16 and then one of those."""
    groups, last = divmod(inputs, 16)
    first = groups * multiplexer(16) + (multiplexer(last) if last else 0)
    return first + multiplexer(max(1, groups + (last > 0)))


def _folded(bits: int) -> int:
    """LUTs of a number modulo 3: of six bits in two LUTs two are left."""
    luts, digits = 0, ceil_div(bits, 2)
    while digits > 2:
        digits = ceil_div(digits, 3)
        luts += 2 * digits
    return luts


def _or(inputs: int) -> int:
    """LUTs of an OR for one bit."""
    return ceil_div(inputs - 1, 5)


def _words_together(segments: int) -> Estimate:
    """The OR of a stage's segments for the link and the parity errors: 33 bits."""
    return Estimate(lut=33 * (1 if segments <= 6 else ceil_div(segments - 2, 2)), ff=1)
