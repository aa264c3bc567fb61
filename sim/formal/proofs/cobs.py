"""COBS decoder: what each byte means, streams that lose nothing, resynchronization after any 00."""

from __future__ import annotations

from amaranth.hdl import Mux, Signal

from dpnet.gateware.link.cobs import CobsDecoder
from dpnet.sim.formal.harness import Harness, Together, implies
from dpnet.sim.formal.proof import Proof

PLACE_BITS = 16


def decoding(**options: str | None) -> Harness:
    """Against COBS as it is defined: code bytes lie at places of their own, each tells where the
    next one is.  Places count from the 00 before, modulo 2^16."""
    dut = CobsDecoder()
    h = Harness(dut, **options)
    m = h.m
    h.drive(dut.i.payload, dut.i.valid, dut.o.ready)
    h.hold("", dut.i.valid, dut.i.ready, dut.i.payload, given=True)
    byte, taken = dut.i.payload, Signal()
    m.d.comb += taken.eq(dut.i.valid & dut.i.ready)

    empty, after_full = Signal(init=1), Signal(init=1)
    place, next_code = Signal(PLACE_BITS), Signal(PLACE_BITS)
    with m.If(taken):
        m.d.sync += [place.eq(place + 1), empty.eq(0)]
        with m.If(byte == 0):
            m.d.sync += [place.eq(0), next_code.eq(0), empty.eq(1), after_full.eq(1)]
        with m.Elif(place == next_code):
            m.d.sync += [next_code.eq(place + byte), after_full.eq(byte == 0xFF)]
    is_code = place == next_code
    expected = Signal()
    m.d.comb += expected.eq(Mux(byte == 0, ~empty, ~is_code | ~after_full))

    left, inside, implied = (h.inside(name) for name in ("left", "inside", "implied"))
    h.invariant("left_leads_to_the_next_code", left == (next_code - place)[:PLACE_BITS])
    h.invariant("left_is_at_most_254", left <= 254)
    h.invariant("inside_is_not_empty", inside == ~empty)
    h.invariant("implied_zero", implied == ~after_full)
    h.invariant("an_empty_frame_is_as_after_reset", implies(empty, (left == 0) & after_full))

    o = dut.o
    h.prove("a_beat_for_every_byte_that_stands_for_one", implies(dut.i.valid, o.valid == expected))
    h.prove("no_beat_without_a_byte", implies(~dut.i.valid, ~o.valid))
    h.prove("a_byte_is_taken_with_its_beat", implies(taken & expected, o.valid & o.ready))
    h.prove("every_byte_is_taken_if_beats_are", implies(o.ready, dut.i.ready))
    h.prove(
        "the_beat_is_the_byte",
        implies(o.valid & ~o.payload.end, o.payload.data == Mux(is_code, 0, byte)),
    )
    h.prove("frames_end_at_00", implies(o.valid, o.payload.end == (byte == 0)))
    h.prove("good_if_no_block_is_cut", implies(o.valid, o.payload.good == ((byte == 0) & is_code)))
    h.hold("a_beat_stays_until_it_is_taken", o.valid, o.ready, o.payload, given=False)
    ends = o.valid & o.ready & o.payload.end
    h.cover("a_whole_frame", ends & o.payload.good)
    h.cover("a_cut_frame", ends & ~o.payload.good)
    h.cover("an_implied_zero", o.valid & is_code & ~empty & (byte != 0))
    return h


def resynchronization(**options: str | None) -> Harness:
    """Two decoders: `used` gets any bytes, `fresh` none until `used` took a 00, then the same."""
    used, fresh = CobsDecoder(), CobsDecoder()
    h = Harness(Together(used=used, fresh=fresh), **options)
    together = Signal()
    h.drive(used.i.payload, used.i.valid, used.o.ready)
    h.m.d.comb += [
        fresh.i.payload.eq(used.i.payload),
        fresh.i.valid.eq(used.i.valid & together),
        fresh.o.ready.eq(used.o.ready),
    ]
    with h.m.If(used.i.valid & used.i.ready & (used.i.payload == 0)):
        h.m.d.sync += together.eq(1)
    for name in ("left", "inside", "implied"):
        a, b = h.inside(f"used.{name}"), h.inside(f"fresh.{name}")
        h.invariant(f"same_{name}", implies(together, a == b))
        h.invariant(f"fresh_{name}", implies(~together, b == 0))
    h.prove(
        "after_any_00_as_after_reset",
        implies(
            together & used.i.valid,
            (used.o.valid == fresh.o.valid)
            & (used.i.ready == fresh.i.ready)
            & (used.o.payload.as_value() == fresh.o.payload.as_value()),
        ),
    )
    was_cut = Signal()
    with h.m.If(used.o.valid & used.o.ready & used.o.payload.end & ~used.o.payload.good):
        h.m.d.sync += was_cut.eq(1)
    h.cover("a_whole_frame_after_a_cut_one", was_cut & used.o.valid & used.o.payload.good)
    return h


PROOFS = (
    Proof("cobs", "COBS decoder: each byte as COBS defines it", decoding, 1, 8),
    Proof("cobs-resync", "COBS decoder: after any 00 as after reset", resynchronization, 1, 8),
)
