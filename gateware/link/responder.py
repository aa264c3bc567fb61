"""Responses to line bytes: header, payload words, CRC-32, COBS."""

from amaranth import Module, Signal
from amaranth.lib import crc, stream, wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.link.cobs import CobsEncoder
from dpnet.gateware.link.receiver import HEADER
from dpnet.gateware.registers import HEADER_BYTES, MAX_PAYLOAD


class Responder(wiring.Component):
    """One frame for each header, with `length // 4` words of payload.

    A byte a cycle while the words come fast enough (one every four cycles).
    Members: `header`, what a frame starts with; `words`, its payload, lowest byte of a word first;
    `o`, line bytes.
    """

    header: In(stream.Signature(HEADER))
    words: In(stream.Signature(32))
    o: Out(stream.Signature(8))

    def elaborate(self, platform):
        m = Module()
        m.submodules.crc = check = crc.catalog.CRC32_ISO_HDLC().create()
        m.submodules.encoder = encoder = CobsEncoder()
        wiring.connect(m, encoder.o, wiring.flipped(self.o))
        bytes_left = Signal(range(HEADER_BYTES))
        words_left = Signal(range(MAX_PAYLOAD // 4 + 1))
        shift = Signal(8 * HEADER_BYTES)
        raw = encoder.i
        sent = Signal()
        m.d.comb += [
            sent.eq(raw.valid & raw.ready),
            raw.payload.data.eq(shift[:8]),
            check.data.eq(shift[:8]),
        ]
        with m.If(sent):
            m.d.sync += [shift.eq(shift[8:]), bytes_left.eq(bytes_left - 1)]

        def load(value, count):
            # Bytes beyond the value are never sent; zeros keep the multiplexer small.
            m.d.sync += [shift.eq(value), bytes_left.eq(count - 1)]

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [self.header.ready.eq(1), check.start.eq(1)]
                with m.If(self.header.valid):
                    load(self.header.payload.as_value(), HEADER_BYTES)
                    m.d.sync += words_left.eq(self.header.payload.length[2:])
                    m.next = "BODY"
            with m.State("BODY"):
                m.d.comb += [raw.valid.eq(1), check.valid.eq(sent)]
                with m.If(sent & (bytes_left == 0)):
                    m.d.comb += self.words.ready.eq(words_left != 0)
                    with m.If(self.words.valid & (words_left != 0)):
                        load(self.words.payload, 4)
                        m.d.sync += words_left.eq(words_left - 1)
                    with m.Else():
                        m.next = "NEXT"
            with m.State("NEXT"):
                with m.If(words_left == 0):
                    load(check.crc, 4)
                    m.next = "CRC"
                with m.Else():
                    m.d.comb += self.words.ready.eq(1)
                    with m.If(self.words.valid):
                        load(self.words.payload, 4)
                        m.d.sync += words_left.eq(words_left - 1)
                        m.next = "BODY"
            with m.State("CRC"):
                m.d.comb += [raw.valid.eq(1), raw.payload.last.eq(bytes_left == 0)]
                with m.If(sent & (bytes_left == 0)):
                    m.next = "IDLE"
        return m
