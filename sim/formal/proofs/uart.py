"""UART: every byte once, against senders and receivers of their own clocks; no way to get stuck.

At the declared limit, 8 cycles a bit, and at 3 Mbaud with 100 MHz.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from amaranth.hdl import Cat, Const, Elaboratable, Module, Mux, Signal
from amaranth.lib import cdc

from dpnet.gateware.doors import uart
from dpnet.gateware.doors.uart import UartReceiver, UartTransmitter
from dpnet.sim.formal.harness import Harness, implies
from dpnet.sim.formal.proof import Proof

RATES = {
    "small": (8, 1, 10),
    "fast": (8, 1, uart.PHASE_BITS),
    "usual": (100_000_000, 3_000_000, uart.PHASE_BITS),
}
"""Clock, bit rate and bits of the phase: the most that the parameters allow, with a short phase, in
which planted bugs are found sooner, and as it is; and the board's."""
FRAME_BITS = 10
TOLERANCE = 50
"""A sender's clock is right to 1 / `TOLERANCE`."""


def transmitting(*, rate: str, only: str | None = None) -> Harness:
    """Against a clock of bits that runs on from byte to byte: the line shows bit n of the byte from
    phase n to n + 1, and the next byte follows without a gap if it is there in time."""
    with _at(rate) as (parameters, phase_bits):
        dut = UartTransmitter(**parameters)
        h = Harness(dut, only=only)
    m, bit_time = h.m, 1 << phase_bits
    h.drive(dut.i.payload, dut.i.valid)
    taken = dut.i.valid & dut.i.ready
    frame, total, sending = Signal(FRAME_BITS), Signal(phase_bits + 4), Signal()
    ends = Signal()
    following = (total + dut.step)[: phase_bits + 4]
    m.d.comb += ends.eq(sending & (following >= FRAME_BITS * bit_time))
    with m.If(taken):
        m.d.sync += [
            frame.eq(Cat(Const(0, 1), dut.i.payload, Const(1, 1))),
            sending.eq(1),
            total.eq(Mux(sending, following - FRAME_BITS * bit_time, 0)),
        ]
    with m.Elif(ends):
        m.d.sync += [sending.eq(0), total.eq(0)]
    with m.Elif(sending):
        m.d.sync += total.eq(following)
    number = total[phase_bits:]
    left, shift = h.inside("left"), h.inside("shift")
    h.invariant("left", left == Mux(sending, FRAME_BITS - number, 0))
    h.invariant("phase", implies(sending, h.inside("phase") == total[:phase_bits]))
    h.invariant("total", total < FRAME_BITS * bit_time)
    for n in range(FRAME_BITS):
        h.invariant(
            f"bits_from_{n}",
            implies(
                sending & (number == n),
                (dut.tx == frame[n])
                & ((shift ^ frame[n + 1 :])[: FRAME_BITS - 1 - n] == 0)
                & (shift[FRAME_BITS - 1 - n :] == Const((1 << n) - 1, n)),
            ),
        )
    h.invariant("frame", ~frame[0] | ~sending)
    h.invariant("idle", implies(~sending, dut.tx))
    bit = Signal()
    m.d.comb += bit.eq(frame.bit_select(number, 1))
    h.prove("line_shows_the_bit_of_its_time", dut.tx == (~sending | bit))
    h.prove("takes_a_byte_when_the_line_is_free", dut.i.ready == (~sending | ends))
    h.cover("a_second_byte_starts", taken & ends)
    return h


def receiving(*, rate: str, only: str | None = None) -> Harness:
    """A sender whose clock is wrong by up to 2 %, and whose bits lie anyhow to ours: bytes with a
    pause of any length before each, also none.

    The synchronizer, a delay, is left out.  `sent` is the sender's place in its frame, in
    phases of a bit; `seen` is the receiver's, from its own registers.  They start up to two cycles
    apart and drift by a fiftieth of the way.
    """
    with _at(rate) as (parameters, phase_bits), _no_synchronizer():
        dut = UartReceiver(**parameters)
        h = Harness(dut, only=only)
    step, slack = h.constant(phase_bits, "sender_step"), dut.step // TOLERANCE
    h.assume((step >= dut.step - slack) & (step <= dut.step + slack))
    sender = Sender(h, step, phase_bits)
    h.m.d.comb += h.inside("line").eq(sender.level)
    got = Signal()
    with h.m.If(sender.starts):
        h.m.d.sync += got.eq(0)
    with h.m.Elif(dut.valid):
        h.m.d.sync += got.eq(1)
    _received(h, dut, sender, got)
    h.prove(
        "every_byte_once",
        implies(dut.valid, sender.sending & ~got & (dut.byte == sender.frame[1:9])),
    )
    h.prove("none_is_lost", implies(sender.over, got | dut.valid))
    h.prove("no_error_on_a_good_line", ~dut.error)
    h.cover("a_byte", dut.valid)
    return h


class Sender:
    """Frames of ten bits, `step` further in each cycle; a frame starts anywhere in a cycle."""

    def __init__(self, h: Harness, step: Any, phase_bits: int) -> None:
        m, self.step, self.bit_time = h.m, step, 1 << phase_bits
        begins, byte = h.free(1, "begins"), h.free(8, "sent_byte")
        offset = h.free(phase_bits, "offset")
        h.assume(offset < step)
        self.sending, self.over, self.starts = Signal(), Signal(), Signal()
        self.frame, self.sent = Signal(FRAME_BITS), Signal(phase_bits + 5)
        following = Signal(phase_bits + 5)
        m.d.comb += [
            following.eq(self.sent + step),
            self.over.eq(self.sending & (following >= FRAME_BITS * self.bit_time)),
            self.starts.eq((~self.sending | self.over) & begins),
        ]
        with m.If(self.starts):
            m.d.sync += [
                self.sending.eq(1),
                self.frame.eq(Cat(Const(0, 1), byte, Const(1, 1))),
                self.sent.eq(Mux(self.sending, following - FRAME_BITS * self.bit_time, offset)),
            ]
        with m.Elif(self.over):
            m.d.sync += self.sending.eq(0)
        with m.Elif(self.sending):
            m.d.sync += self.sent.eq(following)
        self.number = self.sent[phase_bits:]
        self.level = Signal()
        m.d.comb += self.level.eq(~self.sending | self.frame.bit_select(self.number, 1))


def _received(h: Harness, dut: UartReceiver, sender: Sender, got: Any) -> None:
    at, phase, left = h.state(), h.inside("phase"), h.inside("left")
    phase_bits = len(phase)
    samples, shift, frame, sent = h.inside("samples"), h.inside("shift"), sender.frame, sender.sent
    eighth, taken, seen = phase[-3:], Signal(4), Signal(phase_bits + 4)
    h.m.d.comb += [taken.eq(9 - left), seen.eq(Cat(phase, (taken - (eighth >= 5))[:4]))]
    ahead = sent - seen
    h.invariant("fsm", at("IDLE", "BITS"))
    h.invariant(
        "frame",
        implies(sender.sending, ~frame[0] & frame[9] & (sent < FRAME_BITS * sender.bit_time)),
    )
    h.invariant(
        "together",
        implies(
            at("BITS"),
            sender.sending
            & ~got
            & (left <= 9)
            & implies(left == 9, eighth < 5)
            & (TOLERANCE * (ahead - sender.step) + seen >= 0)
            & (TOLERANCE * (ahead - 2 * sender.step) < seen),
        ),
    )
    h.invariant(
        "between",
        implies(at("IDLE") & sender.sending, Mux(got, sender.number == 9, sent < sender.step)),
    )
    h.invariant("nothing_sent", implies(~sender.sending, at("IDLE")))
    if sender.bit_time % dut.step == 0:
        h.invariant("whole_steps", implies(at("BITS"), phase % dut.step == 0))
    for n in range(FRAME_BITS):
        here = at("BITS") & (seen[phase_bits:] == n)
        h.invariant(
            f"samples_{n}",
            implies(here & (eighth == 3), samples[0] == frame[n])
            & implies(here & (eighth == 4), samples == frame[n].replicate(2)),
        )
    for n in range(1, FRAME_BITS):
        kept = min(n, 8)
        h.invariant(
            f"taken_{n}",
            implies(at("BITS") & (taken == n), shift[8 - kept :] == frame[n - kept : n]),
        )


@contextmanager
def _at(rate: str) -> Iterator[tuple[dict[str, int], int]]:
    """Parameters of a rate and bits of its phase, which are the UART's meanwhile."""
    clock_hz, baud, phase_bits = RATES[rate]
    usual = uart.PHASE_BITS
    uart.PHASE_BITS = phase_bits
    try:
        yield {"clock_hz": clock_hz, "baud": baud}, phase_bits
    finally:
        uart.PHASE_BITS = usual


@contextmanager
def _no_synchronizer() -> Iterator[None]:
    real = cdc.FFSynchronizer
    cdc.FFSynchronizer = _Nothing
    try:
        yield
    finally:
        cdc.FFSynchronizer = real


class _Nothing(Elaboratable):
    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def elaborate(self, platform: Any) -> Any:
        return Module()


def quiet(*, rate: str, only: str | None = None) -> Harness:
    """Whatever was on the line: once it is high for the time of a frame, the receiver waits for a
    start bit."""
    with _at(rate) as (parameters, phase_bits), _no_synchronizer():
        dut = UartReceiver(**parameters)
        h = Harness(dut, only=only)
    at, line, phase, left = h.state(), h.inside("line"), h.inside("phase"), h.inside("left")
    h.drive(line)
    cycles = FRAME_BITS * (1 << phase_bits) // dut.step + 3
    high, seen = Signal(range(cycles + 2)), Signal(phase_bits + 4)
    h.m.d.comb += seen.eq(Cat(phase, (9 - left - (phase[-3:] >= 5))[:4]))
    h.m.d.sync += high.eq(Mux(line, high + (high <= cycles), 0))
    h.invariant("fsm", at.legal)
    h.invariant("left", implies(at("BITS"), (left <= 9) & implies(left == 9, phase[-3:] < 5)))
    h.invariant("in_time", implies(at("BITS"), high * dut.step <= seen + dut.step))
    h.invariant("in_time_after_a_break", implies(at("BREAK"), high <= cycles - 1))
    h.prove("never_stuck_on_a_high_line", implies(high > cycles, at("IDLE")))
    h.prove("a_byte_or_an_error", ~(dut.valid & dut.error))
    h.cover("an_error", dut.error)
    return h


PROOFS = tuple(
    # At 33 cycles a bit the receiver's drift takes z3 too long; 8 are the harder case.
    proof
    for rate, like in (("small", ""), ("fast", "small"), ("usual", "small"))
    for proof in (
        Proof(
            f"uart-tx-{rate}",
            "UART transmitter: every byte, each bit in its time",
            partial(transmitting, rate=rate),
            1,
            0 if like else 85,
            like and f"uart-tx-{like}",
        ),
        Proof(
            f"uart-rx-{rate}",
            "UART receiver: every byte once from a clock 2 % off",
            partial(receiving, rate=rate),
            1,
            0 if like else 82,
            like and f"uart-rx-{like}",
        ),
        Proof(
            f"uart-line-{rate}",
            "UART receiver: no state of the line holds it up",
            partial(quiet, rate=rate),
            1,
            0 if like else 82,
            like and f"uart-line-{like}",
        ),
    )
    if proof.name != "uart-rx-usual"
)
