"""The FIFO of both doors: bytes come out in the order in which they went in, each once."""

from __future__ import annotations

from functools import partial
from typing import Any

from amaranth.hdl import Mux, Signal
from amaranth.lib.fifo import SyncFIFOBuffered

from dpnet.gateware.doors.axi import DEPTH
from dpnet.gateware.doors.uart import RECEIVE_DEPTH
from dpnet.model.engine.parameters import ceil_log2
from dpnet.sim.formal.harness import Harness, implies
from dpnet.sim.formal.proof import Proof
from dpnet.sim.formal.sby import GOES_ON

COUNT_BITS = 16


def queueing(*, depth: int, only: str | None = None) -> Harness:
    """Bytes are numbered modulo 2^16 as they go in and as they come out; one number is watched."""
    dut = SyncFIFOBuffered(width=8, depth=depth)
    h = Harness(dut, only=only)
    h.drive(dut.w_en, dut.w_data, dut.r_en)
    puts, takes = dut.w_en & dut.w_rdy, dut.r_en & dut.r_rdy
    put, taken = Signal(COUNT_BITS), Signal(COUNT_BITS)
    watched = h.constant(COUNT_BITS, "watched")
    byte, there = Signal(8), Signal()
    h.m.d.sync += [put.eq(put + puts), taken.eq(taken + takes)]
    with h.m.If(takes & (taken == watched)):
        h.m.d.sync += there.eq(0)
    with h.m.If(puts & (put == watched)):
        h.m.d.sync += [byte.eq(dut.w_data), there.eq(1)]
    level_invariants(h, "", depth)
    inner = depth - 1
    before = (watched - taken)[:COUNT_BITS]
    place = h.inside("consume") + before - dut.r_rdy
    stored = h.word("storage", Mux(place >= inner, place - inner, place)[: ceil_log2(inner)])
    h.invariant("numbers", (put - taken)[:COUNT_BITS] == dut.level)
    h.invariant("there", there == (before < dut.level))
    h.invariant(
        "stored", implies(there, Mux((before == 0) & dut.r_rdy, dut.r_data, stored) == byte)
    )
    h.prove(
        "as_they_went_in", implies(dut.r_rdy & (taken == watched), there & (dut.r_data == byte))
    )
    h.prove("never_more_than_fit", (dut.level <= depth) & ((put - taken)[:COUNT_BITS] <= depth))
    h.prove("room_after_a_byte_is_taken", implies(h.past(takes), dut.w_rdy))
    h.prove(
        "a_byte_shows_a_cycle_later", implies(h.past(dut.level != 0) & ~h.past(takes), dut.r_rdy)
    )
    h.cover("a_full_fifo", (dut.level == depth) & ~dut.w_rdy)
    h.cover("a_byte_taken_after_it_was_full", takes & (taken == depth))
    return h


def level_invariants(h: Harness, path: str, depth: int) -> None:
    """Where the pointers of the FIFO at `path` may be."""

    def inside(name: str) -> Any:
        return h.inside(f"{path}.{name}" if path else name)

    inner = depth - 1
    produce, consume, level = inside("produce"), inside("consume"), inside("inner_level")
    name = path.replace(".", "_") or "fifo"
    ahead = produce - consume
    h.invariant(f"{name}_pointers", (produce < inner) & (consume < inner) & (level <= inner))
    h.invariant(
        f"{name}_level",
        (level == Mux(produce >= consume, ahead, ahead + inner))
        | ((produce == consume) & (level == inner)),
    )


if RECEIVE_DEPTH != DEPTH:
    raise AssertionError(f"the doors' FIFOs have {DEPTH} and {RECEIVE_DEPTH} bytes")

PROOFS = (
    Proof(
        "fifo-8",
        "FIFO of 8 bytes: no byte lost, doubled or out of order",
        partial(queueing, depth=8),
        1,
        20,
    ),
    Proof(
        "fifo",
        f"FIFO of the doors, {DEPTH} bytes: the same",
        partial(queueing, depth=DEPTH),
        1,
        like="fifo-8",
        engine=GOES_ON,
    ),
)
