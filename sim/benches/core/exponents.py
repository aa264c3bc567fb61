"""The beats' largest exponents against a dictionary of all words, cycle by cycle, with upsets.

Values: `engines`, the parameters of the component of each name in the bundle; `cycles` per test.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge

from dpnet.model.engine.parameters import EngineParameters
from dpnet.sim.kit.bench import kinds, parameters
from dpnet.sim.kit.bundle import Part
from dpnet.sim.kit.scoreboard import Scoreboard
from dpnet.sim.kit.streams import bursts, never, sometimes, start
from dpnet.sim.kit.upsets import flip, memory

KINDS = kinds("none", "idle", "bursts")
GRANULE = 9
"""Bits that an exponent takes in either store: its parity comes last."""

Write = tuple[int, int, int]
"""Beat, segment, exponent."""


@dataclass
class Words:
    """The exponents of all words by (beat, segment), 0 before the first write, and how often each
    was upset since; by beat what its row holds: its largest exponent, and whether that is odd."""

    exponents: dict[tuple[int, int], int] = field(default_factory=dict)
    upsets: dict[tuple[int, int], int] = field(default_factory=dict)
    shown: dict[int, tuple[int, int]] = field(default_factory=dict)


HELD: dict[str, Words] = {}
"""What the stores hold from one test to the next, as a reset leaves it."""


class ExponentsBench:
    """A `BeatExponents`, what it was given, and a comparison of every output in every cycle."""

    def __init__(self, dut: Any, name: str, label: str) -> None:
        self.name, self.dut = name, Part(dut, name)
        self.source = random.Random(f"{cocotb.RANDOM_SEED} {name} {label}")
        engine = EngineParameters(**parameters()["engines"][name])
        self.segments, self.row_beats = engine.segments, engine.row_beats
        self.rows = -(-engine.vector_words // (engine.row_beats * engine.segments))
        self.beats = self.rows * engine.row_beats
        # From the last write until `settled` rises; a row asked for two cycles later is complete.
        self.settle = 3 + (engine.segments - 1).bit_length()
        self.words = HELD.setdefault(name, Words())
        self.stores = {kind: memory(dut, f"part_{name}", kind) for kind in ("words", "rows")}
        self.board = Scoreboard(name, show=str)
        self.now = 0
        self.written: dict[int, int] = {}
        # Beats with a write on its way whose place was or will be odd: nobody says in which cycle.
        self.unclear: set[int] = set()
        self.asked: tuple[int, list[int | None]] | None = None
        self.corrupt = deque([0, 0, 0])
        self.strobes = self.complete = 0
        self.settled = False

    def pending(self, beat: int) -> bool:
        """Whether a row asked for now may or may not have the beat's last write."""
        return self.now < self.written.get(beat, -self.settle - 2) + self.settle + 2

    async def cycle(
        self,
        write: Write | None = None,
        row: int | None = None,
        take: int | None = None,
        upset: tuple[str, int, int] | None = None,
    ) -> None:
        """One cycle: a write, the `row` asked for (any), what is taken of the row before (any), and
        a (store, address, bit) that flips."""
        row = self.source.randrange(self.rows) if row is None else row
        took = self._drive(write, row, take)
        await FallingEdge(self.dut.clk)
        if upset is not None:
            flip(self.stores[upset[0]], *upset[1:])
            self._upset(*upset)
        if write is not None:
            self._write(*write)
        self._compare(took)
        self._ask(row)
        await RisingEdge(self.dut.clk)
        self.now += 1

    def _drive(self, write: Write | None, row: int, take: int | None) -> int:
        dut, source = self.dut, self.source
        dut.w_enable.value = int(write is not None)
        # What is on the port without a write must not count.
        beat, segment, exponent = write or self.any()
        dut.w_beat.value, dut.w_segment.value, dut.w_exponent.value = beat, segment, exponent
        dut.r_row.value = row
        take = source.getrandbits(self.row_beats) if take is None else take
        take &= ~self.asked[0] if self.asked else 0
        dut.take.value = take
        return take

    def any(self) -> Write:
        source = self.source
        return (
            source.randrange(self.beats),
            source.randrange(self.segments),
            source.choice([0, 1, 127, 128, 254, 255, source.getrandbits(8)]),
        )

    def _upset(self, store: str, address: int, bit: int) -> None:
        words, (n, place) = self.words, divmod(bit, GRANULE)
        flipped = 1 << place if place < GRANULE - 1 else 0  # else the parity bit itself
        if store == "words":
            words.exponents[address, n] = words.exponents.get((address, n), 0) ^ flipped
            words.upsets[address, n] = words.upsets.get((address, n), 0) + 1
            return
        beat = address * self.row_beats + n
        value, odd = words.shown.get(beat, (0, 0))
        words.shown[beat] = value ^ flipped, odd ^ 1

    def _write(self, beat: int, segment: int, exponent: int) -> None:
        words, all_segments = self.words, range(self.segments)
        words.exponents[beat, segment] = exponent
        words.upsets[beat, segment] = 0
        if not self.pending(beat):
            self.unclear.discard(beat)
        before = words.shown.get(beat, (0, 0))[1]
        odd = sum(words.upsets.get((beat, s), 0) for s in all_segments) % 2
        words.shown[beat] = max(words.exponents.get((beat, s), 0) for s in all_segments), odd
        if before or odd:
            self.unclear.add(beat)
        self.written[beat] = self.now

    def _ask(self, row: int) -> None:
        """The next cycle shows this row: what must be seen of it, None where a write is pending."""
        values: list[int | None] = []
        untaken = odd = 0
        for n in range(self.row_beats):
            beat = row * self.row_beats + n
            value, wrong = self.words.shown.get(beat, (0, 0))
            waiting = self.pending(beat)
            values.append(None if waiting else value)
            untaken |= int(waiting and beat in self.unclear) << n
            odd |= wrong << n
            # The first cycle in which it may be asked for.
            self.complete += self.written.get(beat) == self.now - self.settle - 2
        self.asked, self.odd = (untaken, values), odd

    def _compare(self, took: int) -> None:
        dut = self.dut
        last = max(self.written.values(), default=-self.settle)
        values = self.asked[1] if self.asked else []
        shown = int(dut.row.value)
        seen = [
            shown >> 8 * n & 255 if value is not None else None for n, value in enumerate(values)
        ]
        self.corrupt.append(int(self.asked is not None and took & self.odd != 0))
        corrupt = self.corrupt.popleft()
        self.strobes += corrupt
        self.board.expect(
            (values, int(self.now >= last + self.settle), corrupt), f"cycle {self.now}"
        )
        self.settled = bool(int(dut.settled.value))
        self.board.receive((seen, int(self.settled), int(dut.corrupt.value)))

    async def rest(self) -> None:
        """Nothing is written until every row may be asked for."""
        for _ in range(self.settle + 2):
            await self.cycle()

    async def finish(self) -> None:
        """Read every row, and take all of it."""
        await self.rest()
        everything = (1 << self.row_beats) - 1
        for row in [*range(self.rows), 0]:
            await self.cycle(row=row, take=everything)
        for _ in range(3):
            await self.cycle(take=0)
        self.board.finish()

    async def mend(self) -> None:
        """Write what was upset again, so that the next test finds everything right."""
        for beat, segment in [place for place, count in self.words.upsets.items() if count]:
            await self.cycle((beat, segment, self.source.getrandbits(8)))
        for beat in [beat for beat, (_, odd) in self.words.shown.items() if odd]:
            await self.cycle((beat, 0, self.source.getrandbits(8)))
        assert not any(odd for _, odd in self.words.shown.values())


async def begin(dut: Any, label: str) -> list[ExponentsBench]:
    benches = [ExponentsBench(dut, name, label) for name in parameters()["engines"]]
    for bench in benches:
        for port in ("w_beat", "w_segment", "w_exponent", "w_enable", "r_row", "take"):
            getattr(bench.dut, port).value = 0
    await start(dut)
    return benches


def runs(bench: ExponentsBench, count: int) -> list[Write]:
    """At least `count` writes: vectors in order or backwards, words anywhere, one beat or one word
    again and again."""
    source, segments = bench.source, bench.segments
    writes: list[Write] = []
    while len(writes) < count:
        beat, _, most = bench.any()
        # Nearly equal ones, so that a beat has its largest one twice, and less than before.
        least = source.choice([most, max(0, most - 2), 0])
        length, kind = source.randint(1, 3 * segments), source.randrange(5)
        places = [divmod(beat * segments + n, segments) for n in range(length)]
        if kind == 1:
            places.reverse()
        elif kind == 2:
            places = [(beat, source.randrange(segments)) for _ in places]
        elif kind == 3:
            places = [places[0]] * length
        elif kind == 4:
            places = [bench.any()[:2] for _ in places]
        writes += [
            (beat % bench.beats, segment, source.randint(least, most)) for beat, segment in places
        ]
    return writes


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize(kind=KINDS)
async def follows_every_write(dut: Any, kind: str) -> None:
    """Writes in any order, words overwritten, the same beat again and again; rows in any cycle,
    most of them where something was written in the last cycles."""
    for bench in await begin(dut, kind):
        source = bench.source
        pause = {"none": never, "idle": sometimes(source, 0.7), "bursts": bursts(source, 9)}[kind]
        recent: deque[int] = deque([0], maxlen=bench.settle + 3)
        for write in runs(bench, parameters()["cycles"]):
            while pause():
                await bench.cycle(row=source.choice(recent) if source.random() < 0.8 else None)
            recent.append(write[0] // bench.row_beats)
            await bench.cycle(write, recent[0] if source.random() < 0.8 else None)
        assert bench.complete > 20, f"{bench.name}: {bench.complete} beats as soon as complete"
        await bench.finish()
        assert not bench.strobes


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize(kind=KINDS)
async def a_row_is_complete_two_cycles_after_settled(dut: Any, kind: str) -> None:
    """As the sequencer does it: wait for `settled`, then read, while more may be written."""
    for bench in await begin(dut, f"settled {kind}"):
        source = bench.source
        pause = {"none": never, "idle": sometimes(source, 0.4), "bursts": bursts(source, 9)}[kind]
        for _ in range(parameters()["cycles"] // 20):
            beats = set()
            for write in runs(bench, source.randint(1, 8)):
                while pause():
                    await bench.cycle()
                beats.add(write[0])
                await bench.cycle(write)
            while not bench.settled:
                await bench.cycle()
            await bench.cycle()
            assert not any(bench.pending(beat) for beat in beats), f"{bench.name}: too soon"
            for row in sorted({beat // bench.row_beats for beat in beats}):
                await bench.cycle(row=row)
        await bench.finish()


@cocotb.test(timeout_time=4, timeout_unit="ms")
@cocotb.parametrize(kind=KINDS)
async def sees_every_odd_upset(dut: Any, kind: str) -> None:
    """Bits of both stores flipped in any cycle: `corrupt` if an odd number of them spoils what is
    taken, else never; a word, or a beat's place, that is written again is right again."""
    for bench in await begin(dut, f"upsets {kind}"):
        source = bench.source
        pause = {"none": never, "idle": sometimes(source, 0.4), "bursts": bursts(source, 9)}[kind]
        flips = healed = 0
        for write in runs(bench, parameters()["cycles"]):
            while pause():
                await bench.cycle()
            upset = random_upset(bench) if source.random() < 0.2 else None
            flips += upset is not None
            healed += bench.words.shown.get(write[0], (0, 0))[1]
            await bench.cycle(write, upset=upset)
        assert flips > 20 and healed > 5 and bench.strobes > 5, (
            f"{bench.name}: {flips} flips, {healed} healed, {bench.strobes} strobes"
        )
        await bench.rest()
        await bench.mend()
        await bench.rest()
        bench.strobes = 0
        await bench.finish()
        assert not bench.strobes


def random_upset(bench: ExponentsBench) -> tuple[str, int, int] | None:
    """A bit of either store, but not of what is just being compared or written."""
    source, beat = bench.source, bench.source.randrange(bench.beats)
    if source.random() < 0.5:
        if bench.pending(beat):
            return None
        return "words", beat, source.randrange(GRANULE * bench.segments)
    row = beat // bench.row_beats
    if any(bench.pending(row * bench.row_beats + n) for n in range(bench.row_beats)):
        return None
    return "rows", row, source.randrange(GRANULE * bench.row_beats)


@cocotb.test(timeout_time=4, timeout_unit="ms")
async def every_bit_counts(dut: Any) -> None:
    """Each bit of a word of either store alone: one strobe if what it spoils is taken, once it is
    there, and none for anything else."""
    for bench in await begin(dut, "bits"):
        source, everything = bench.source, (1 << bench.row_beats) - 1
        for store, granules in (("words", bench.segments), ("rows", bench.row_beats)):
            for bit in range(GRANULE * granules):
                beat = source.randrange(bench.beats)
                row, n = divmod(beat, bench.row_beats)
                if store == "rows":
                    n = bit // GRANULE
                await bench.cycle(take=0, upset=(store, beat if store == "words" else row, bit))
                # What is behind the comparison is right until the beat is written again.
                other = (bit // GRANULE + 1) % bench.segments
                if store == "words" and bench.segments > 1:
                    await strobes(bench, row, everything, 0)
                    await bench.cycle((beat, other, source.getrandbits(8)), take=0)
                    await bench.rest()
                wrong = int(store == "rows" or bench.segments > 1)
                await strobes(bench, row, 1 << n, wrong)
                await strobes(bench, row, everything & ~(1 << n), 0)
                place = beat if store == "words" else row * bench.row_beats + n
                await bench.cycle((place, bit // GRANULE if store == "words" else 0, 7), take=0)
                await bench.rest()
                await strobes(bench, row, everything, 0)
        await bench.finish()


async def strobes(bench: ExponentsBench, row: int, take: int, wanted: int) -> None:
    """Read a row once, and take of it what `take` names."""
    before = bench.strobes
    await bench.cycle(row=row, take=0)
    await bench.cycle(row=row, take=take)
    for _ in range(3):
        await bench.cycle(row=row, take=0)
    assert bench.strobes - before == wanted, f"{bench.name}: {bench.strobes - before} strobes"
