"""AXI3 door: every burst, a bad one too, is gone through beat by beat and answered.

The AXI4-Lite door and its FIFOs are inside, so nothing is taken for granted of them.  Nothing is
assumed of the manager either, not even that it keeps what it offers, nor of the streams: each input
may be anything in every cycle.  What is not among the waits of `leads_on_unless_others_wait` is
waited for nowhere; so neither direction waits for the other.  Addresses and lanes are those of the
specification's formulas (`dpnet.sim.formal.proofs.axi3_burst`).  `base` is the default.

What the door inside is offered it takes in the same cycle (`whatever_is_allowed_reaches_the_door`,
`an_allowed_beat_reads_once`): it has such a manager as its own proofs assume, and what these say of
the bytes of TX and RX holds behind bursts too.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Mux, Signal
from amaranth.lib.wiring import In

from dpnet.gateware.doors.axi import ADDRESS_BITS, DEPTH, OKAY, RX_OFFSET, SLVERR, TX_OFFSET
from dpnet.gateware.doors.axi3 import (
    ADDRESS,
    FIXED,
    INCR,
    READ_CYCLES,
    WRAP,
    WRITE_CYCLES,
    Axi3Door,
    axi3_members,
)
from dpnet.sim.formal.harness import Harness, implies
from dpnet.sim.formal.proof import Proof
from dpnet.sim.formal.proofs.axi import read_registers
from dpnet.sim.formal.proofs.axi3_burst import Followed, Formulas, burst_invariants
from dpnet.sim.formal.proofs.fifo import level_invariants

PAGE = 1 << ADDRESS_BITS
WORD = 4


class Side:
    """One direction: the burst that is open, from its address phase until its `end`."""

    def __init__(self, only: str | None, channel: str) -> None:
        self.dut = dut = Axi3Door()
        self.h = h = Harness(dut, only=only)
        h.drive(
            *(getattr(dut, name) for name, member in axi3_members().items() if member.flow == In)
        )
        h.drive(dut.i.payload, dut.i.valid, dut.o.ready)
        self._channel = channel
        self.started = self.port("valid") & self.port("ready")
        self.open = Signal(name="open")
        with h.m.If(self.started):
            h.m.d.sync += self.open.eq(1)
        for name in ("sent", "received"):
            level_invariants(h, f"door.{name}", DEPTH)
        self.door = h.component("door")

    def port(self, name: str) -> Any:
        return getattr(self.dut, f"s_axi_{self._channel}{name}")

    def follow(self, beat: Any) -> Followed:
        """The bursts of this direction, whose beats are these."""
        channel = {name: self.port(name) for name, _ in ADDRESS}
        return Followed(self.h.m, self.started, channel, beat)

    def ends(self, end: Any) -> None:
        with self.h.m.If(end):
            self.h.m.d.sync += self.open.eq(0)

    def inside(self, beat: Formulas) -> Any:
        """Whether the beat is one that this door carries out, as far as its address phase says."""
        base = self.dut.base
        return self.open & ~beat.bad & (base <= beat.address) & (beat.address < base + PAGE)

    def names(self, beat: Formulas, offset: int) -> Any:
        """Whether the beat's address is one of the register's at `offset`."""
        register = self.dut.base + offset
        return (register <= beat.address) & (beat.address < register + WORD)

    def leads_on(self, rank: Any, waits: Any) -> None:
        """Every cycle of an open burst makes `rank` less or is a wait, which does not make it more:
        it is how many cycles there are still at most, waits not counted."""
        h = self.h
        before = h.past(rank)
        h.prove(
            "leads_on_unless_others_wait",
            implies(h.past(self.open), Mux(h.past(waits), rank <= before, rank < before)),
        )
        h.prove("idle_takes_a_burst", self.port("ready") == ~self.open)


def writing(*, only: str | None = None) -> Harness:
    """AW, W and B."""
    x = Side(only, "aw")
    h, m, dut, door = x.h, x.h.m, x.dut, x.door
    w, b = dut.s_axi_wvalid & dut.s_axi_wready, dut.s_axi_bvalid & dut.s_axi_bready
    followed = x.follow(w)
    x.ends(b)
    kept, number, beat = followed.kept, followed.number, followed.now
    allowed, good, failed = Signal(), Signal(), Signal()
    m.d.comb += allowed.eq(
        x.inside(beat)
        & beat.there
        & (dut.s_axi_wid == kept.id)
        & (dut.s_axi_wlast == beat.last)
        & ((dut.s_axi_wstrb & ~beat.lanes()) == 0)
    )
    m.d.comb += good.eq(allowed & x.names(beat, TX_OFFSET))
    m.d.sync += failed.eq(Mux(x.started, 0, failed | (w & ~good)))
    _write_invariants(x, followed, failed)

    all_taken = x.open & (number == beat.length)
    h.hold(
        "b_stays",
        dut.s_axi_bvalid,
        dut.s_axi_bready,
        Cat(dut.s_axi_bid, dut.s_axi_bresp),
        given=False,
    )
    h.prove("one_answer_after_all_beats", implies(dut.s_axi_bvalid, all_taken))
    h.prove("the_answer_has_its_id", implies(dut.s_axi_bvalid, dut.s_axi_bid == kept.id))
    h.prove("as_many_beats_as_the_address_said", implies(w, x.open & beat.there))
    offered = door.s_axi_awvalid | door.s_axi_wvalid
    h.prove("nothing_else_reaches_the_door", implies(offered, w & allowed))
    h.prove(
        "whatever_is_allowed_reaches_the_door",
        implies(
            w & allowed,
            (door.s_axi_awvalid & door.s_axi_awready & door.s_axi_wvalid & door.s_axi_wready),
        ),
    )
    h.prove(
        "as_the_manager_sent_it",
        implies(
            offered,
            (
                (door.s_axi_awaddr == beat.address[:ADDRESS_BITS])
                & (door.s_axi_wdata == dut.s_axi_wdata)
                & (door.s_axi_wstrb == dut.s_axi_wstrb)
            ),
        ),
    )
    h.prove(
        "slverr_if_and_only_if_a_beat_failed",
        implies(dut.s_axi_bvalid, dut.s_axi_bresp == Mux(failed, SLVERR, OKAY)),
    )
    _write_progress(x, followed)
    _write_covers(x, followed, w, good)
    return h


def _write_invariants(x: Side, followed: Followed, failed: Any) -> None:
    h, at, door, kept = x.h, x.h.state("", "write"), x.door, followed.kept
    number, length, waits = followed.number, followed.now.length, at("WAIT")
    burst_invariants(h, "write_burst", kept, number - waits)
    h.invariant("fsm", at.legal & (x.open == ~at("ADDRESS")))
    h.invariant(
        "number",
        implies(at("DATA"), number < length)
        & implies(waits, (number != 0) & (number <= length))
        & implies(at("RESPONSE"), number == length),
    )
    has_address, has_data = h.inside("door.has_address"), h.inside("door.has_data")
    address = h.inside("door.address")
    h.invariant(
        "door", (has_address == waits) & (has_data == waits) & implies(door.s_axi_bvalid, waits)
    )
    sent = Formulas(h.m, kept, number - 1)
    to_tx = address[2:] == TX_OFFSET // WORD
    h.invariant(
        "door_address", implies(waits, x.inside(sent) & (address == sent.address[:ADDRESS_BITS]))
    )
    h.invariant(
        "door_answer", implies(door.s_axi_bvalid, door.s_axi_bresp == Mux(to_tx, OKAY, SLVERR))
    )
    h.invariant("failed", implies(x.open, failed == (h.inside("failed") | (waits & ~to_tx))))


def _write_progress(x: Side, followed: Followed) -> None:
    """Waits: for data, for the answer to be taken, for room in TX.  A word takes the door a cycle
    for each byte up to the last one that is strobed, one to answer and one to be heard."""
    h, dut, at, door = x.h, x.dut, x.h.state("", "write"), x.door
    left, strobes = followed.now.length - followed.number, h.inside("door.strobes")
    sent = h.component("door.sent")
    steps = Mux(strobes[3], 4, Mux(strobes[2], 3, Mux(strobes[1], 2, strobes[0])))
    to_tx = h.inside("door.address")[2:] == TX_OFFSET // WORD
    within = Mux(door.s_axi_bvalid, 1, Mux(to_tx, 2 + steps, 2))
    rank = Signal(range(WRITE_CYCLES * 16 + 2))
    h.m.d.comb += rank.eq(Mux(x.open, WRITE_CYCLES * left + 1 + Mux(at("WAIT"), within, 0), 0))
    x.leads_on(
        rank,
        (dut.s_axi_wready & ~dut.s_axi_wvalid)
        | (dut.s_axi_bvalid & ~dut.s_axi_bready)
        | (sent.w_en & ~sent.w_rdy),
    )


def _write_covers(x: Side, followed: Followed, w: Any, good: Any) -> None:
    h, m, dut, kept, beat = x.h, x.h.m, x.dut, followed.kept, followed.now
    goods, early, bytes_of_rx, bytes_of_tx = Signal(16), Signal(), Signal(), Signal(7)
    sent = h.component("door.sent")
    with m.If(w):
        m.d.sync += goods.bit_select(followed.number[:4], 1).eq(good)
        m.d.sync += early.eq(early | (dut.s_axi_wlast & ~beat.last))
    m.d.sync += bytes_of_tx.eq(bytes_of_tx + (sent.w_en & sent.w_rdy))
    with m.If(x.started):
        m.d.sync += [goods.eq(0), early.eq(0), bytes_of_tx.eq(0)]
    m.d.sync += bytes_of_rx.eq(
        x.open & (bytes_of_rx | (dut.s_axi_rvalid & dut.s_axi_rready & dut.s_axi_rdata[31]))
    )
    b, response = dut.s_axi_bvalid & dut.s_axi_bready, dut.s_axi_bresp
    h.cover("a_wrap_with_okay", b & (response == OKAY) & (kept.burst == WRAP) & (kept.len == 3))
    h.cover(
        "a_refused_beat_between_others",
        b & (response == SLVERR) & (kept.len == 2) & (goods == 0b101) & (kept.burst == FIXED),
    )
    h.cover("an_early_wlast", b & early & (response == SLVERR) & (kept.len == 1))
    h.cover("sixteen_beats_refused", b & (response == SLVERR) & kept.len.all())
    h.cover("a_bad_burst_answered", b & beat.bad & (kept.len == 1))
    h.cover(
        "seven_bytes_by_a_fixed_burst",
        b & (response == OKAY) & (kept.burst == FIXED) & (kept.len == 1) & (bytes_of_tx == 7),
    )
    h.cover("a_byte_of_rx_read_during_a_write", bytes_of_rx & b)


def reading(*, only: str | None = None) -> Harness:
    """AR and R."""
    x = Side(only, "ar")
    h, m, dut, door = x.h, x.h.m, x.dut, x.door
    r = dut.s_axi_rvalid & dut.s_axi_rready
    followed = x.follow(r)
    kept, number, beat = followed.kept, followed.number, followed.now
    x.ends(r & beat.last)
    sent, received = h.component("door.sent"), h.component("door.received")
    allowed, of_rx, asked = Signal(), Signal(), Signal()
    expected, response = Signal(32), Signal(2)
    m.d.comb += of_rx.eq(x.names(beat, RX_OFFSET))
    m.d.comb += allowed.eq(x.inside(beat) & beat.there & (beat.lanes().all() | ~of_rx))
    with m.If(r):
        m.d.sync += asked.eq(0)
    with m.If(door.s_axi_arvalid & door.s_axi_arready):
        m.d.sync += [asked.eq(1), expected.eq(0), response.eq(SLVERR)]
        for offset, word in read_registers(sent, received).items():
            with m.If(x.names(beat, offset)):
                m.d.sync += [expected.eq(word), response.eq(OKAY)]
    at = h.state("", "read")
    answer, answered = Cat(door.s_axi_rdata, door.s_axi_rresp), Cat(expected, response)
    burst_invariants(h, "read_burst", kept, number)
    h.invariant("fsm", at.legal & (x.open == ~at("ADDRESS")) & implies(x.open, beat.there))
    h.invariant("refused", implies(at("DATA"), h.inside("refused") == ~allowed))
    h.invariant(
        "door",
        (door.s_axi_rvalid == asked)
        & (asked == (at("DATA") & allowed))
        & implies(asked, answer == answered),
    )

    given = Cat(dut.s_axi_rdata, dut.s_axi_rresp)
    h.hold(
        "r_stays",
        dut.s_axi_rvalid,
        dut.s_axi_rready,
        Cat(given, dut.s_axi_rid, dut.s_axi_rlast),
        given=False,
    )
    h.prove("as_many_beats_as_were_asked_for", implies(dut.s_axi_rvalid, x.open & beat.there))
    h.prove("last_on_the_last_beat_only", implies(dut.s_axi_rvalid, dut.s_axi_rlast == beat.last))
    h.prove("every_beat_has_its_id", implies(dut.s_axi_rvalid, dut.s_axi_rid == kept.id))
    h.prove(
        "nothing_else_is_read",
        implies(
            door.s_axi_arvalid,
            (allowed & ~asked & (door.s_axi_araddr == beat.address[:ADDRESS_BITS])),
        ),
    )
    h.prove(
        "an_allowed_beat_reads_once",
        implies(door.s_axi_arvalid, door.s_axi_arready)
        & implies(dut.s_axi_rvalid, asked == allowed),
    )
    h.prove(
        "slverr_and_no_data_if_refused",
        implies(dut.s_axi_rvalid & ~allowed, given == Cat(Const(0, 32), Const(SLVERR, 2))),
    )
    h.prove("the_register_of_its_address", implies(dut.s_axi_rvalid & allowed, given == answered))
    h.prove("a_byte_is_gone_only_if_given", implies(received.r_en, allowed & of_rx & ~asked))
    left = Mux(x.open, beat.length - number, 0)
    rank = Signal(range(READ_CYCLES * 16 + 1))
    m.d.comb += rank.eq(READ_CYCLES * left - at("DATA"))
    x.leads_on(rank, dut.s_axi_rvalid & ~dut.s_axi_rready)
    _read_covers(x, followed, r)
    return h


def _read_covers(x: Side, followed: Followed, r: Any) -> None:
    h, m, dut, kept = x.h, x.h.m, x.dut, followed.kept
    given, refused = Signal(16), Signal(16)
    with m.If(x.started):
        m.d.sync += [given.eq(0), refused.eq(0)]
    with m.Elif(r):
        place = followed.number[:4]
        m.d.sync += given.bit_select(place, 1).eq(dut.s_axi_rdata[31])
        m.d.sync += refused.bit_select(place, 1).eq(dut.s_axi_rresp == SLVERR)
    ends = h.past(r & dut.s_axi_rlast)
    h.cover("two_bytes_by_a_fixed_burst", ends & (given == 0b11) & (kept.burst == FIXED))
    h.cover(
        "all_registers_by_one_burst",
        ends & (kept.burst == INCR) & (kept.len == 3) & (refused == 0b0100) & (given == 0b1000),
    )
    h.cover(
        "a_wrap_with_a_refused_beat",
        ends & (kept.burst == WRAP) & (kept.len == 3) & (refused == 0b0010) & (given == 0b0100),
    )
    h.cover("a_bad_burst_refused", ends & followed.now.bad & (kept.len == 1) & (refused == 0b11))
    h.cover(
        "a_part_of_rx_refused",
        ends
        & (kept.size == 1)
        & (refused == 1)
        & x.names(Formulas(m, kept, Const(0, 1)), RX_OFFSET),
    )


PROOFS = (
    Proof("axi3-write", "AXI3 door: bursts of writes", writing, 1, 44),
    Proof("axi3-read", "AXI3 door: bursts of reads", reading, 1, 24),
)
