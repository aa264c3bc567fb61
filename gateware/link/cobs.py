"""COBS between bytes and frames (Cheshire and Baker, "Consistent Overhead Byte Stuffing", 1999)."""

from amaranth import Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

DECODED = data.StructLayout({"data": 8, "end": 1, "good": 1})
"""A byte of a frame, or (`end`) the close of a frame; `good` says that its COBS was complete."""

RAW = data.StructLayout({"data": 8, "last": 1})
"""A byte of a frame to send, `last` with the last one."""


class CobsDecoder(wiring.Component):
    """Line bytes to frames, one byte a cycle, latency 0.

    A 00 closes a frame and opens the next; nothing between two of them is no frame and gives no
    beat.  A frame that a 00 cuts in the middle of a block closes with `good` 0.

    Members: `i`, line bytes; `o`, beats of `DECODED` (at most one for each byte).
    """

    i: In(stream.Signature(8))
    o: Out(stream.Signature(DECODED))

    def elaborate(self, platform):
        m = Module()
        left = Signal(8)
        inside = Signal()
        implied = Signal()
        byte = self.i.payload
        zero, code = Signal(), Signal()
        gives = Signal()
        m.d.comb += [
            zero.eq(byte == 0),
            code.eq(left == 0),
            gives.eq(Mux(zero, inside, ~code | implied)),
            self.o.valid.eq(self.i.valid & gives),
            self.o.payload.data.eq(Mux(code, 0, byte)),
            self.o.payload.end.eq(zero),
            self.o.payload.good.eq(zero & code),
            self.i.ready.eq(self.o.ready | ~gives),
        ]
        with m.If(self.i.valid & self.i.ready):
            with m.If(zero):
                m.d.sync += [left.eq(0), inside.eq(0), implied.eq(0)]
            with m.Elif(code):
                # A block of code FF stands for 254 bytes and no zero after them.
                m.d.sync += [left.eq(byte - 1), inside.eq(1), implied.eq(byte != 0xFF)]
            with m.Else():
                m.d.sync += left.eq(left - 1)
        return m


class CobsEncoder(wiring.Component):
    """Frames to line bytes `00 | COBS(frame) | 00`.

    Takes a byte a cycle, and one cycle more for the opening, for each full block of 254 and two for
    the close.  A frame starts to leave when its last byte is in, so that it leaves without a gap
    of its own; the next one may come in meanwhile.  Frames have at most `depth // 2` bytes.

    Parameters: `depth`, bytes of the buffer, a power of two.
    Members: `i`, beats of `RAW`; `o`, line bytes.
    """

    i: In(stream.Signature(RAW))
    o: Out(stream.Signature(8))

    def __init__(self, *, depth=1024):
        if not isinstance(depth, int) or depth < 16 or depth & (depth - 1):
            raise ValueError(f"depth must be a power of two of at least 16, not {depth!r}")
        self.depth = depth
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.buffer = buffer = memory.Memory(shape=8, depth=self.depth, init=[])
        write, read = buffer.write_port(), buffer.read_port()
        head = Signal(range(self.depth))
        block = Signal.like(head)
        committed = Signal.like(head)
        tail = Signal.like(head)
        count = Signal(8, init=1)
        full = Signal()
        m.d.comb += full.eq((head - tail)[: len(head)] >= self.depth - 4)
        byte = self.i.payload

        with m.FSM():
            with m.State("OPEN"):
                m.d.comb += [write.addr.eq(head), write.en.eq(self.i.valid & ~full)]
                with m.If(write.en):
                    m.d.sync += [block.eq(head + 1), head.eq(head + 2), count.eq(1)]
                    m.next = "BYTES"
            with m.State("BYTES"):
                m.d.comb += self.i.ready.eq(~full)
                with m.If(self.i.valid & ~full):
                    m.d.comb += write.en.eq(1)
                    m.d.sync += [head.eq(head + 1), count.eq(count + 1)]
                    with m.If(byte.data == 0):
                        m.d.comb += [write.addr.eq(block), write.data.eq(count)]
                        m.d.sync += [block.eq(head), count.eq(1)]
                    with m.Else():
                        m.d.comb += [write.addr.eq(head), write.data.eq(byte.data)]
                    with m.If(byte.last):
                        m.next = "LAST"
                    with m.Elif((byte.data != 0) & (count == 0xFE)):
                        m.next = "FULL"
            with m.State("FULL"):
                m.d.comb += [write.addr.eq(block), write.data.eq(0xFF), write.en.eq(1)]
                m.d.sync += [block.eq(head), head.eq(head + 1), count.eq(1)]
                m.next = "BYTES"
            with m.State("LAST"):
                m.d.comb += [write.addr.eq(block), write.data.eq(count), write.en.eq(1)]
                m.next = "CLOSE"
            with m.State("CLOSE"):
                m.d.comb += [write.addr.eq(head), write.en.eq(1)]
                m.d.sync += [head.eq(head + 1), committed.eq(head + 1)]
                m.next = "OPEN"

        following = Signal.like(tail)
        m.d.comb += [
            following.eq(Mux(self.o.valid & self.o.ready, tail + 1, tail)),
            read.addr.eq(following),
            self.o.payload.eq(read.data),
        ]
        m.d.sync += [tail.eq(following), self.o.valid.eq(following != committed)]
        return m
