"""AXI3 bursts by the formulas of the specification (AMBA AXI3, section 4.5), each beat from the
start address and its number alone; `dpnet.gateware.doors.axi3.Burst`, which goes from beat to beat,
is proved against them.

Nothing is assumed of who uses it: `load` and `step` come when they like, and what is said of a beat
holds wherever a burst has one of that number.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal

from dpnet.gateware.doors.axi3 import ADDRESS, FIXED, RESERVED, WRAP, Burst
from dpnet.sim.formal.harness import Harness, implies
from dpnet.sim.formal.proof import Proof

BUS_BYTES = 4
SIZES = (1, 2, 4)
WRAP_LENGTHS = (2, 4, 8, 16)
NUMBER_BITS = 5
"""Beats are numbered from 0; 16 is the number after the last beat of the longest burst."""


class Formulas:
    """Beat `number` of the burst whose address phase was `kept`, with the specification's names.
    `address`, `lower` and `upper` (its byte lanes) hold for a burst that is not `bad`."""

    def __init__(self, m: Module, kept: Any, number: Any) -> None:
        self.length = kept.len + 1
        self.there = number < self.length
        self.last = number == kept.len
        size = kept.size[:2]
        aligned, later, total = Signal(32), Signal(34), Signal(7)
        boundary, self.address = Signal(32), Signal(32)
        m.d.comb += [
            aligned.eq(kept.addr >> size << size),
            later.eq(aligned + (number << size)),
            total.eq(self.length << size),
        ]
        for size_of_all in {length * size for length in WRAP_LENGTHS for size in SIZES}:
            with m.If(total == size_of_all):
                m.d.comb += boundary.eq(kept.addr // size_of_all * size_of_all)
        beyond = later >= boundary + total
        first = (number == 0) | (kept.burst == FIXED)
        m.d.comb += self.address.eq(
            Mux(first, kept.addr, Mux((kept.burst == WRAP) & beyond, later - total, later))
        )
        width = Const(1, 3) << size
        floor = kept.addr // BUS_BYTES * BUS_BYTES
        self.lower = self.address % BUS_BYTES
        self.upper = Mux(first, aligned + width - 1 - floor, self.lower + width - 1)
        odd_length = ~_among(self.length, WRAP_LENGTHS)
        self.bad = (
            (kept.size > 2)
            | (kept.burst == RESERVED)
            | ((kept.burst == WRAP) & (odd_length | (aligned != kept.addr)))
        )

    def lanes(self) -> Any:
        """The byte lanes that the beat may touch, one bit each."""
        return Cat((self.lower <= lane) & (lane <= self.upper) for lane in range(BUS_BYTES))


class Followed:
    """A burst as its channels show it: address phase, beats so far, from the one to the other
    address phase, whether or not it has come to its end (numbers stop at 31)."""

    def __init__(self, m: Module, started: Any, channel: dict[str, Any], beat: Any) -> None:
        self.kept, self.number = Signal(ADDRESS), Signal(NUMBER_BITS)
        with m.If(started):
            m.d.sync += self.number.eq(0)
            m.d.sync += [self.kept[name].eq(value) for name, value in channel.items()]
        with m.Elif(beat):
            m.d.sync += self.number.eq(self.number + ~self.number.all())
        self.now = Formulas(m, self.kept, self.number)


def burst_invariants(h: Harness, path: str, kept: Any, number: Any) -> None:
    """The `Burst` at `path` shows beat `number` of the burst `kept`."""

    def inside(name: str) -> Any:
        return h.inside(f"{path}.{name}" if path else name)

    name = path or "burst"
    beat = Formulas(h.m, kept, number)
    h.invariant(f"{name}_kept", inside("held").as_value() == kept.as_value())
    h.invariant(f"{name}_left", implies(beat.there, inside("left") == kept.len - number))
    h.invariant(
        f"{name}_address", implies(beat.there & ~beat.bad, inside("address") == beat.address)
    )


def counting(**options: str | None) -> Harness:
    """`Burst` alone."""
    dut = Burst()
    h = Harness(dut, **options)
    h.drive(dut.i, dut.load, dut.step)
    channel = {name: dut.i[name] for name, _ in ADDRESS}
    followed = Followed(h.m, dut.load, channel, dut.step)
    kept, number, beat = followed.kept, followed.number, followed.now
    burst_invariants(h, "", kept, number)
    here = beat.there & ~beat.bad
    h.prove("address_by_the_formulas", implies(here, dut.address == beat.address))
    h.prove("lanes_by_the_formulas", implies(here, dut.lanes == beat.lanes()))
    h.prove("last_on_the_last_beat_only", implies(beat.there, dut.last == beat.last))
    h.prove("bad_if_and_only_if_not_on_this_bus", dut.bad == beat.bad)
    h.prove("the_id_of_the_burst", dut.id == kept.id)
    wraps = here & (kept.burst == WRAP) & (dut.address < kept.addr)
    h.cover("a_wrap_around_a_full_container", wraps & (number == 2) & (kept.size == 2))
    h.cover("a_wrap_at_the_end_of_memory", wraps & kept.addr[6:].all())
    h.cover(
        "an_unaligned_start",
        here & (number == 1) & (kept.addr[:2] == 3) & (kept.size == 2) & (dut.address[:2] == 0),
    )
    h.cover("sixteen_beats", here & beat.last & (number == 15))
    return h


def _among(value: Any, values: tuple[int, ...]) -> Any:
    return Cat(value == one for one in values).any()


PROOFS = (
    Proof(
        "axi3-burst",
        "AXI3 bursts: addresses and lanes as the specification's formulas say",
        counting,
        1,
        20,
    ),
)
