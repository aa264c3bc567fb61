"""Responder: what the endpoint's proof takes for granted of it.

The encoder behind it is left out: it may refuse a byte at any time.
"""

from __future__ import annotations

from amaranth.hdl import Const, Mux, Signal

from dpnet.gateware.link import responder
from dpnet.gateware.link.cobs import CobsEncoder
from dpnet.gateware.link.responder import Responder
from dpnet.gateware.registers import CRC_BYTES, HEADER_BYTES, MAX_PAYLOAD
from dpnet.sim.formal.harness import Harness, implies
from dpnet.sim.formal.proof import Proof
from dpnet.sim.formal.stub import without


def responding(**options: str | None) -> Harness:
    """Headers of any length that a payload may have, words that come when they like."""
    with without(responder, CobsEncoder):
        dut = Responder()
        h = Harness(dut, **options)
    m, raw = h.m, h.component("encoder").i
    h.drive(
        dut.header.payload,
        dut.header.valid,
        dut.words.payload,
        dut.words.valid,
        dut.o.ready,
        raw.ready,
    )
    length = dut.header.payload.length
    h.assume((length <= MAX_PAYLOAD) & ~length[:2].any())
    at, left, bytes_left = h.state(), h.inside("words_left"), h.inside("bytes_left")
    sent, headed = raw.valid & raw.ready, dut.header.valid & dut.header.ready
    worded = dut.words.valid & dut.words.ready
    idle, owed, words, count = Signal(init=1), Signal(7), Signal(7), Signal(9)
    with m.If(headed):
        m.d.sync += [idle.eq(0), owed.eq(length[2:9]), words.eq(length[2:9]), count.eq(0)]
    with m.Else():
        m.d.sync += [owed.eq(owed - worded), count.eq(count + sent)]
        with m.If(sent & raw.payload.last):
            m.d.sync += idle.eq(1)
    here = HEADER_BYTES + 4 * (words - owed)
    h.invariant("fsm", at.legal & (idle == at("IDLE")))
    h.invariant(
        "owed",
        implies(~idle, (left == owed) & (owed <= words))
        & (words <= MAX_PAYLOAD // 4)
        & implies(idle | at("CRC"), owed == 0),
    )
    h.invariant(
        "body",
        implies(
            at("BODY"),
            (count == here - 1 - bytes_left) & (bytes_left < Mux(owed == words, HEADER_BYTES, 4)),
        ),
    )
    h.invariant("next", implies(at("NEXT"), count == here))
    h.invariant(
        "crc",
        implies(at("CRC"), (count == here + CRC_BYTES - 1 - bytes_left) & (bytes_left < CRC_BYTES)),
    )
    rank = Signal(12)
    m.d.comb += rank.eq(
        Mux(
            at("BODY"),
            32 * left + 16 + bytes_left,
            Mux(at("NEXT"), 32 * left + 15, Mux(at("CRC"), 1 + bytes_left, 0)),
        )
    )
    moves = sent | (at("NEXT") & ((left == 0) | dut.words.valid))

    h.prove("takes_the_words_it_owes", implies(dut.words.ready, owed != 0))
    h.prove("idle_between_frames_only", (dut.header.ready == idle) & implies(idle, owed == 0))
    total = HEADER_BYTES + CRC_BYTES + (words << 2)
    h.prove(
        "a_frame_has_its_length",
        implies(sent, raw.payload.last == (count == total - 1)) & implies(~idle, count < total),
    )
    h.prove("every_byte_leads_on", implies(h.past(moves & ~idle), rank < h.past(rank)))
    h.prove("waits_for_others_only", implies(~idle, raw.valid | at("NEXT")))
    h.cover("a_response_of_one_word", sent & raw.payload.last & (words == Const(1, 7)))
    return h


PROOFS = (
    Proof(
        "responder",
        "responder: takes the words of a response, then is idle again",
        responding,
        1,
        24,
    ),
)
