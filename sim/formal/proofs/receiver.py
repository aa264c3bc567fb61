"""Frame receiver: what is accepted, what a request's header and payload are, resynchronization."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal

from dpnet.gateware.link.receiver import HEADER, PAYLOAD_WORDS, FrameReceiver
from dpnet.gateware.registers import CRC_BYTES, HEADER_BYTES, MAX_PAYLOAD, Operation
from dpnet.host.link.frames import Frame as Sent
from dpnet.sim.formal.crc import ONES, after_byte
from dpnet.sim.formal.harness import Harness, Together, implies
from dpnet.sim.formal.proof import Proof

LENGTH_BITS = 16
"""Bytes of a frame are counted up to 2^16 - 1, then no further."""


class Frame:
    """A frame as its bytes say, from the beats of the decoder (which has a proof of its own): how
    many there were, the header by its places, the CRC of all bytes and of all but the last four,
    and the four bytes of payload word `index`."""

    def __init__(self, h: Harness, taken: Any, beat: Any, index: Any) -> None:
        m = self.m = h.m
        self.taken, self.beat = taken, beat
        self.ends = Signal()
        self.count = Signal(LENGTH_BITS)
        self.bytes = [Signal(8, name=f"header_byte_{n}") for n in range(HEADER_BYTES)]
        self.crc = [Signal(32, name=f"crc_{n}_ago", init=ONES) for n in range(CRC_BYTES + 1)]
        self.last = [Signal(8, name=f"byte_{n}_ago") for n in range(CRC_BYTES)]
        self.word = [Signal(8, name=f"word_byte_{n}") for n in range(4)]
        m.d.comb += self.ends.eq(taken & beat.end)
        following = after_byte(m, self.crc[0], beat.data)
        with m.If(self.ends):
            m.d.sync += [self.count.eq(0), self.crc[0].eq(ONES)]
        with m.Elif(taken):
            m.d.sync += self.count.eq(self.count + ~self.count.all())
            for n, kept in enumerate(self.bytes):
                with m.If(self.count == n):
                    m.d.sync += kept.eq(beat.data)
            m.d.sync += Cat(*self.crc).eq(Cat(following, *self.crc[:-1]))
            m.d.sync += Cat(*self.last).eq(Cat(beat.data, *self.last[:-1]))
            for n, kept in enumerate(self.word):
                with m.If(self.count == HEADER_BYTES + Cat(Const(n, 2), index)):
                    m.d.sync += kept.eq(beat.data)
        self.header = HEADER(Cat(*self.bytes))

    def counted_bytes(self) -> Any:
        """Which bytes of `word` have come, one bit each."""
        return Cat(self.count > HEADER_BYTES + n for n in range(4))

    def good(self) -> Any:
        """Whether the closing 00 makes it a request."""
        header = self.header
        reads = header.operation == Operation.READ
        crc_is_right = Cat(*reversed(self.last)) == ~self.crc[CRC_BYTES]
        payload = Mux(reads, 0, header.length)
        return (
            self.beat.good
            & crc_is_right
            & (self.count == HEADER_BYTES + CRC_BYTES + payload)
            & (payload <= MAX_PAYLOAD)
            & ~header.response
        )


class Waiting:
    """A first-in-first-out queue of two frames: header and the word that is watched."""

    def __init__(self, m: Module, put: Any, frame: Frame, done: Any) -> None:
        self.level = Signal(range(4))
        entry = Cat(frame.header.as_value(), *frame.word)
        self.first, self.second = Signal(len(entry)), Signal(len(entry))
        m.d.sync += self.level.eq(self.level + put - done)
        with m.If(done):
            m.d.sync += self.first.eq(self.second)
        with m.If(put & (self.level - done == 0)):
            m.d.sync += self.first.eq(entry)
        with m.If(put & (self.level - done == 1)):
            m.d.sync += self.second.eq(entry)


def accepting(**options: str | None) -> Harness:
    """Which frames are accepted: those that their bytes say are good, and no others."""
    dut = FrameReceiver()
    h = Harness(dut, **options)
    _environment(h, dut)
    frame = Frame(h, h.inside("taken"), h.component("decoder").o.payload, Const(0, 6))
    good, put = Signal(), Signal()
    h.m.d.comb += [good.eq(frame.good()), put.eq(frame.ends & good)]
    _frame_invariants(h, frame, h.inside("header").as_value())
    h.prove("accepted_if_and_only_if_good", h.inside("accepted") == put)
    h.prove("dropped_if_not", dut.dropped == (frame.ends & ~good))
    h.prove(
        "taken_while_there_is_room",
        implies(
            h.inside("full") != 2,
            dut.i.ready & implies(h.component("decoder").o.valid, frame.taken),
        ),
    )
    h.cover("a_frame_accepted", put)
    h.cover("a_bad_frame_dropped", dut.dropped & (frame.count >= 14))
    return h


def keeping(**options: str | None) -> Harness:
    """What is kept of the accepted frames, against a queue of two."""
    dut = FrameReceiver()
    h = Harness(dut, **options)
    _environment(h, dut)
    h.drive(dut.address)
    index = h.constant(range(PAYLOAD_WORDS), "watched_word")
    frame = Frame(h, h.inside("taken"), h.component("decoder").o.payload, index)
    queue = Waiting(h.m, h.inside("accepted"), frame, dut.done)
    header = h.inside("header").as_value()
    _header_invariants(h, frame, header)
    _store_invariants(h, frame, queue, index)
    h.prove("two_frames_at_most", queue.level <= 2)
    h.prove(
        "requests_in_order",
        (dut.valid == (queue.level != 0))
        & implies(dut.valid, dut.header.as_value() == queue.first[: 8 * HEADER_BYTES]),
    )
    asked = h.past(dut.valid & ~dut.done & (dut.address == index))
    _hint(h, dut.i, "requests_in_order", "payload_as_sent")
    h.hint((index == 0) & (dut.address == 0) & ~dut.done, "payload_as_sent")
    first = HEADER(queue.first[: 8 * HEADER_BYTES])
    h.prove(
        "payload_as_sent",
        implies(
            asked & (first.operation != Operation.READ),
            ((dut.word ^ queue.first[8 * HEADER_BYTES :]) & _present(first, index)) == 0,
        ),
    )
    return h


def _environment(h: Harness, dut: FrameReceiver) -> None:
    """Any bytes, and an endpoint that ends the use of frames that are there."""
    h.drive(dut.i.payload, dut.i.valid, dut.done)
    h.hold("", dut.i.valid, dut.i.ready, dut.i.payload, given=True)
    h.assume(implies(dut.done, dut.valid))


def _hint(h: Harness, i: Any, *names: str) -> None:
    """Counterexamples of these names are looked for where a cut frame and a good one come."""
    if not h.looks_for(*names):
        return
    good = Sent(Operation.WRITE, txid=7, epoch=1, offset=0x10000008, payload=b"\x11\x22\x33\x44")
    line = b"\x05\x01\x00" + good.encode()
    place = Signal(range(len(line)))
    with h.m.If(i.valid & i.ready):
        h.m.d.sync += place.eq(Mux(place == len(line) - 1, 0, place + 1))
    h.hint(i.valid & (i.payload == Array(line)[place]), *names)


def _present(header: Any, index: Any) -> Any:
    """The bits of the watched word that the payload has."""
    return Cat((Cat(Const(n, 2), index) < header.length).replicate(8) for n in range(4))


def _frame_invariants(h: Harness, frame: Frame, header: Any) -> None:
    register = h.inside("crc.crc_reg")
    _header_invariants(h, frame, header)
    h.invariant("crc", implies(frame.count != 0, register[::-1] == frame.crc[0]))
    h.invariant("crc_at_the_start", implies(frame.count == 0, frame.crc[0] == ONES))
    for n in range(CRC_BYTES):
        step = after_byte(h.m, frame.crc[n + 1], frame.last[n])
        h.invariant(f"crc_{n}_ago", implies(frame.count > n, frame.crc[n] == step))


def _header_invariants(h: Harness, frame: Frame, header: Any) -> None:
    count = h.inside("count")
    h.invariant("count", count == Mux(frame.count > 511, 511, frame.count))
    for n in range(1, HEADER_BYTES + 1):
        here = frame.count == n if n < HEADER_BYTES else frame.count >= n
        h.invariant(
            f"header_{n}", implies(here, header[8 * (HEADER_BYTES - n) :] == Cat(*frame.bytes[:n]))
        )


def _store_invariants(h: Harness, frame: Frame, queue: Waiting, index: Any) -> None:
    full, writing, reading = (h.inside(name) for name in ("full", "writing", "reading"))
    banks = Array([h.word("payload", Cat(index, bank)) for bank in range(2)])
    headers = Array([header.as_value() for header in h.inside("headers")])
    h.invariant("level", full == queue.level)
    h.invariant(
        "banks", implies(full != 1, writing == reading) & implies(full == 1, writing != reading)
    )
    here = Cat(
        (frame.count > HEADER_BYTES + Cat(Const(n, 2), index)).replicate(8) for n in range(4)
    )
    h.invariant(
        "word_on_its_way", implies(full != 2, ((banks[writing] ^ Cat(*frame.word)) & here) == 0)
    )
    h.invariant("nothing_comes_while_full", implies(full == 2, frame.count == 0))
    for name, entry, bank in (("first", queue.first, reading), ("second", queue.second, ~reading)):
        waits = (queue.level != 0) if name == "first" else (queue.level == 2)
        head = HEADER(entry[: 8 * HEADER_BYTES])
        reads = head.operation == Operation.READ
        h.invariant(f"{name}_header", implies(waits, headers[bank] == entry[: 8 * HEADER_BYTES]))
        h.invariant(
            f"{name}_word",
            implies(
                waits & ~reads,
                ((banks[bank] ^ entry[8 * HEADER_BYTES :]) & _present(head, index)) == 0,
            ),
        )


def resynchronization(**options: str | None) -> Harness:
    """Two receivers: `used` gets any bytes, `fresh` none until `used` took a 00, then the same."""
    used, fresh = FrameReceiver(), FrameReceiver()
    h = Harness(Together(used=used, fresh=fresh), **options)
    together, taken = Signal(), Signal()
    h.drive(used.i.payload, used.i.valid, used.done)
    h.hold("", used.i.valid, used.i.ready, used.i.payload, given=True)
    h.assume(implies(used.done, used.valid))
    h.m.d.comb += [
        taken.eq(used.i.valid & used.i.ready),
        fresh.i.payload.eq(used.i.payload),
        fresh.i.valid.eq(taken & together),
        fresh.done.eq(fresh.valid),
    ]
    with h.m.If(taken & (used.i.payload == 0)):
        h.m.d.sync += together.eq(1)
    for name in ("decoder.left", "decoder.inside", "decoder.implied", "count"):
        a, b = h.inside(f"used.{name}"), h.inside(f"fresh.{name}")
        plain = name.replace(".", "_")
        h.invariant(f"same_{plain}", implies(together, a == b))
        h.invariant(f"fresh_{plain}", implies(~together, b == 0))
    count = h.inside("used.count")
    h.invariant(
        "same_crc",
        implies(
            together & (count != 0), h.inside("used.crc.crc_reg") == h.inside("fresh.crc.crc_reg")
        ),
    )
    headers = [h.inside(f"{name}.header").as_value() for name in ("used", "fresh")]
    for n in range(1, HEADER_BYTES + 1):
        here = (count == n) if n < HEADER_BYTES else (count >= n)
        low = 8 * (HEADER_BYTES - n)
        h.invariant(
            f"same_header_{n}", implies(together & here, headers[0][low:] == headers[1][low:])
        )
    h.invariant(
        "nothing_outside_a_frame",
        implies(
            ~h.inside("used.decoder.inside"),
            (count == 0) & (h.inside("used.decoder.left") == 0) & ~h.inside("used.decoder.implied"),
        ),
    )
    h.invariant("room_in_fresh", (h.inside("fresh.full") <= 1) & implies(~together, ~fresh.valid))
    h.invariant("room", h.inside("used.full") <= 2)
    _hint(h, used.i, "after_any_00_as_after_reset")
    h.hint(~used.done, "after_any_00_as_after_reset")
    a, b = h.inside("used.accepted"), h.inside("fresh.accepted")
    h.prove(
        "after_any_00_as_after_reset",
        implies(
            together,
            (a == b) & (used.dropped == fresh.dropped) & implies(a, headers[0] == headers[1]),
        ),
    )
    return h


PROOFS = (
    Proof(
        "receiver",
        "frame receiver: accepts whole frames of a right CRC and no others",
        accepting,
        1,
        17,
    ),
    Proof("receiver-store", "frame receiver: requests in order, payload unchanged", keeping, 1),
    Proof("receiver-resync", "frame receiver: after any 00 as after reset", resynchronization, 1),
)
