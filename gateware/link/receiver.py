"""Requests from line bytes: decoded, checked, kept in two buffers."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import crc, data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.link.cobs import CobsDecoder
from dpnet.gateware.registers import CRC_BYTES, HEADER_BYTES, MAX_PAYLOAD, Operation

HEADER = data.StructLayout(
    {
        "operation": 4,
        "version": 3,
        "response": 1,
        "txid": 8,
        "epoch": 8,
        "flags": 8,
        "offset": 32,
        "length": 16,
    }
)
"""The first ten bytes of a frame, lowest byte first."""

PAYLOAD_WORDS = MAX_PAYLOAD // 4


class FrameReceiver(wiring.Component):
    """Line bytes in, whole requests out.

    A frame counts at its closing 00 if its CRC is right, it is no response, and it has exactly
    14 + length bytes (a READ, whose length is what it wants, has 14).  Every other frame is
    dropped, with one cycle of `dropped`.  Two frames are kept: bytes flow at one a cycle while the
    older frame is used, and wait when both buffers are full.

    Members: `i`, line bytes; `valid`, there is a frame, with its `header`; `address`, word of its
    payload, which is in `word` one cycle later; `done`, for one cycle, ends the use of this frame.
    """

    i: In(stream.Signature(8))
    valid: Out(1)
    header: Out(HEADER)
    address: In(range(PAYLOAD_WORDS))
    word: Out(32)
    done: In(1)
    dropped: Out(1)

    def elaborate(self, platform):
        m = Module()
        m.submodules.decoder = decoder = CobsDecoder()
        m.submodules.crc = check = crc.catalog.CRC32_ISO_HDLC().create()
        m.submodules.payload = payload = memory.Memory(shape=32, depth=2 * PAYLOAD_WORDS, init=[])
        write, read = payload.write_port(granularity=8), payload.read_port()
        wiring.connect(m, wiring.flipped(self.i), decoder.i)

        beat = decoder.o.payload
        taken = Signal()
        full = Signal(range(3))
        writing, reading = Signal(), Signal()
        m.d.comb += [decoder.o.ready.eq(full != 2), taken.eq(decoder.o.valid & decoder.o.ready)]

        count = Signal(range(512))
        header = Signal(HEADER)
        position = Signal.like(count)
        m.d.comb += [
            position.eq(count - HEADER_BYTES),
            check.data.eq(beat.data),
            check.valid.eq(taken & ~beat.end),
            check.start.eq(count == 0),
            write.addr.eq(Cat(position[2:8], writing)),
            write.data.eq(beat.data.replicate(4)),
        ]
        with m.If(taken & ~beat.end):
            with m.If(count != 511):
                m.d.sync += count.eq(count + 1)
            with m.If(count < HEADER_BYTES):
                m.d.sync += header.eq(Cat(header.as_value()[8:], beat.data))
            with m.Elif(position < MAX_PAYLOAD):
                m.d.comb += write.en.eq(1 << position[:2])

        expected = Signal(range(512))
        accepted = Signal()
        reads = header.operation == Operation.READ
        m.d.comb += [
            expected.eq(HEADER_BYTES + CRC_BYTES + Mux(reads, 0, header.length[:9])),
            accepted.eq(
                taken
                & beat.end
                & beat.good
                & check.match_detected
                & (count == expected)
                & (reads | (header.length <= MAX_PAYLOAD))
                & ~header.response
            ),
            self.dropped.eq(taken & beat.end & ~accepted),
        ]
        headers = [Signal(HEADER, name=f"header_{bank}") for bank in range(2)]
        with m.If(taken & beat.end):
            m.d.sync += count.eq(0)
        with m.If(accepted):
            m.d.sync += writing.eq(~writing)
            for bank in range(2):
                with m.If(writing == bank):
                    m.d.sync += headers[bank].eq(header)
        with m.If(self.done):
            m.d.sync += reading.eq(~reading)
        m.d.sync += full.eq(full + accepted - self.done)
        m.d.comb += [
            self.valid.eq(full != 0),
            self.header.eq(Mux(reading, headers[1].as_value(), headers[0].as_value())),
            read.addr.eq(Cat(self.address, reading)),
            self.word.eq(read.data),
        ]
        return m
