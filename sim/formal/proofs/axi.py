"""AXI4-Lite door: the rules of its channels, no effect outside the map, answers in bounded time."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Cat, Const, Mux, Signal

from dpnet.gateware.doors.axi import (
    ADDRESS_BITS,
    DEPTH,
    MAGIC_OFFSET,
    OKAY,
    RX_OFFSET,
    SLVERR,
    STATUS_OFFSET,
    TX_OFFSET,
    AxiLiteDoor,
)
from dpnet.gateware.registers import MAGIC
from dpnet.sim.formal.harness import Harness, implies
from dpnet.sim.formal.proof import Proof
from dpnet.sim.formal.proofs.fifo import level_invariants

WRITE_CYCLES = 5
"""Cycles from address and data to the answer of a write, those not counted in which TX is full."""


def writing(**options: str | None) -> Harness:
    """AW, W and B: what the manager sent is kept here, and compared with what leaves."""
    dut = AxiLiteDoor()
    h = Harness(dut, **options)
    m = h.m
    _environment(h, dut)
    sent = h.component("sent")
    aw = dut.s_axi_awvalid & dut.s_axi_awready
    w = dut.s_axi_wvalid & dut.s_axi_wready
    b = dut.s_axi_bvalid & dut.s_axi_bready
    address, data, asked = Signal(ADDRESS_BITS), Signal(32), Signal(4)
    owes_address, owes_data, left = Signal(), Signal(), Signal(4)
    put = sent.w_en & sent.w_rdy
    with m.If(b):
        m.d.sync += [owes_address.eq(0), owes_data.eq(0)]
    with m.If(aw):
        m.d.sync += [owes_address.eq(1), address.eq(dut.s_axi_awaddr)]
    with m.If(put):
        m.d.sync += left.eq(left & (left - 1)[:4])
    with m.If(w):
        m.d.sync += [owes_data.eq(1), data.eq(dut.s_axi_wdata), asked.eq(dut.s_axi_wstrb)]
        m.d.sync += left.eq(dut.s_axi_wstrb)
    mapped = address[2:] == TX_OFFSET // 4
    lowest = Array([data.word_select(n, 8) for n in range(4)])[
        Mux(left[0], 0, Mux(left[1], 1, Mux(left[2], 2, 3)))
    ]
    waited = Signal(4)
    both = owes_address & owes_data & ~dut.s_axi_bvalid
    m.d.sync += waited.eq(Mux(both, waited + (sent.w_rdy & ~waited.all()), 0))

    strobes, shifted, steps = h.inside("strobes"), h.inside("data"), Signal(3)
    stepped = both & mapped & strobes.any() & (~strobes[0] | sent.w_rdy)
    m.d.sync += steps.eq(Mux(w, 0, steps + stepped))
    h.invariant(
        "owed", (h.inside("has_address") == owes_address) & (h.inside("has_data") == owes_data)
    )
    h.invariant("address", implies(owes_address, h.inside("address") == address))
    for n in range(5):
        done = Const((1 << n) - 1, 4)
        h.invariant(
            f"after_{n}",
            implies(
                owes_data & (steps == n),
                (left == (asked & ~done)) & (strobes == asked[n:]) & (shifted == data[8 * n :]),
            ),
        )
    h.invariant("steps", steps <= 4)
    h.invariant(
        "answers", implies(dut.s_axi_bvalid, owes_address & owes_data & implies(mapped, left == 0))
    )
    h.invariant("waited", implies(both & mapped, waited <= steps))
    h.invariant("waited_for_nothing", implies(both & ~mapped, waited == 0))
    h.invariant("nothing_of_others", implies(~mapped & owes_data & owes_address, left == asked))
    h.invariant("no_step_without_address", implies(~owes_address & owes_data, steps == 0))
    level_invariants(h, "sent", DEPTH)

    h.hold("b_stays", dut.s_axi_bvalid, dut.s_axi_bready, dut.s_axi_bresp, given=False)
    h.prove(
        "one_answer_a_write",
        implies(dut.s_axi_bvalid, owes_address & owes_data)
        & (dut.s_axi_awready == ~owes_address)
        & (dut.s_axi_wready == ~owes_data),
    )
    h.prove("nothing_sent_outside_the_map", implies(put, owes_address & owes_data & mapped))
    h.prove("strobed_bytes_lowest_first", implies(put, left.any() & (sent.w_data == lowest)))
    h.prove(
        "okay_when_all_are_sent",
        implies(dut.s_axi_bvalid, dut.s_axi_bresp == Mux(mapped, OKAY, SLVERR))
        & implies(dut.s_axi_bvalid & mapped, left == 0),
    )
    h.prove("answer_in_time", waited <= WRITE_CYCLES)
    h.cover("four_bytes_sent", dut.s_axi_bvalid & mapped & asked.all())
    h.cover("refused", dut.s_axi_bvalid & ~mapped)
    return h


def reading(**options: str | None) -> Harness:
    """AR and R."""
    dut = AxiLiteDoor()
    h = Harness(dut, **options)
    m = h.m
    _environment(h, dut)
    sent, received = h.component("sent"), h.component("received")
    ar, r = dut.s_axi_arvalid & dut.s_axi_arready, dut.s_axi_rvalid & dut.s_axi_rready
    owes, expected, response = Signal(), Signal(32), Signal(2)
    with m.If(r):
        m.d.sync += owes.eq(0)
    with m.If(ar):
        m.d.sync += owes.eq(1)
        m.d.sync += [expected.eq(0), response.eq(SLVERR)]
        for offset, word in read_registers(sent, received).items():
            with m.If(dut.s_axi_araddr[2:] == offset // 4):
                m.d.sync += [expected.eq(word), response.eq(OKAY)]
    level_invariants(h, "sent", DEPTH)
    level_invariants(h, "received", DEPTH)
    answer = Cat(dut.s_axi_rdata, dut.s_axi_rresp)
    h.hold("r_stays", dut.s_axi_rvalid, dut.s_axi_rready, answer, given=False)
    h.prove("one_answer_a_read", (dut.s_axi_rvalid == owes) & (dut.s_axi_arready == ~owes))
    h.prove("the_register_that_was_asked_for", implies(owes, answer == Cat(expected, response)))
    h.prove(
        "a_byte_is_gone_only_if_read",
        received.r_en == (ar & (dut.s_axi_araddr[2:] == RX_OFFSET // 4)),
    )
    h.hold("sent_bytes_stay", dut.o.valid, dut.o.ready, dut.o.payload, given=False)
    h.cover("a_byte_read", owes & dut.s_axi_rdata[31] & (response == OKAY) & (expected != MAGIC))
    return h


def read_registers(sent: Any, received: Any) -> dict[int, Any]:
    """What a read in this cycle gives, by offset, of the registers that can be read; `sent` and
    `received` are the door's FIFOs."""
    return {
        MAGIC_OFFSET: Const(MAGIC, 32),
        STATUS_OFFSET: Cat(_wide(received.level), _wide(DEPTH - sent.level)),
        RX_OFFSET: Mux(received.r_rdy, received.r_data | (1 << 31), 0),
    }


def _wide(value: Any) -> Any:
    return Cat(value, Const(0, 16))[:16]


def _environment(h: Harness, dut: AxiLiteDoor) -> None:
    """A manager that keeps the rules, and streams on the other side that may pause at any time."""
    channels = (
        (dut.s_axi_awvalid, dut.s_axi_awready, dut.s_axi_awaddr),
        (dut.s_axi_wvalid, dut.s_axi_wready, Cat(dut.s_axi_wdata, dut.s_axi_wstrb)),
        (dut.s_axi_arvalid, dut.s_axi_arready, dut.s_axi_araddr),
        (dut.i.valid, dut.i.ready, dut.i.payload),
    )
    h.drive(
        dut.s_axi_awaddr,
        dut.s_axi_awvalid,
        dut.s_axi_wdata,
        dut.s_axi_wstrb,
        dut.s_axi_wvalid,
        dut.s_axi_bready,
        dut.s_axi_araddr,
        dut.s_axi_arvalid,
        dut.s_axi_rready,
        dut.i.payload,
        dut.i.valid,
        dut.o.ready,
    )
    for valid, ready, payload in channels:
        h.hold("", valid, ready, payload, given=True)


PROOFS = (
    Proof("axi-write", "AXI4-Lite door: writes", writing, 1, 12),
    Proof("axi-read", "AXI4-Lite door: reads", reading, 1, 12),
)
