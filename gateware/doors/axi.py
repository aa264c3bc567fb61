"""AXI4-Lite to byte streams: the way in on a chip with its own processor."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.registers import MAGIC

ADDRESS_BITS = 12
DEPTH = 512
"""Bytes that wait in either direction."""

MAGIC_OFFSET, STATUS_OFFSET, TX_OFFSET, RX_OFFSET = 0x00, 0x04, 0x08, 0x0C
OKAY, SLVERR = 0, 2


class AxiLiteDoor(wiring.Component):
    """AXI4-Lite subordinate of 32 bits to a pair of byte streams.

    | offset | register | access | what it is |
    | --- | --- | --- | --- |
    | 0x00 | MAGIC | read | the letters DPNT |
    | 0x04 | STATUS | read | bits 15:0 bytes that wait in RX, 31:16 free bytes of TX |
    | 0x08 | TX | write | each strobed byte is one byte of the stream, lowest first |
    | 0x0C | RX | read | bit 31: there was a byte, bits 7:0: it; it is gone then |

    The response to a write of TX waits until all bytes have found room, so look at STATUS first.
    Everything else, and the wrong direction, is SLVERR and has no effect.  One transaction in each
    direction at a time; AWPROT and ARPROT are not looked at.

    Members:

    * `s_axi_awaddr`, `In(ADDRESS_BITS)`: write address.
    * `s_axi_awprot`, `In(3)`: protection of the write.
    * `s_axi_awvalid`, `In(1)`: there is a write address.
    * `s_axi_awready`, `Out(1)`: it is taken.
    * `s_axi_wdata`, `In(32)`: data of the write.
    * `s_axi_wstrb`, `In(4)`: bytes of it that count.
    * `s_axi_wvalid`, `In(1)`: there are data.
    * `s_axi_wready`, `Out(1)`: they are taken, before or after their address.
    * `s_axi_bresp`, `Out(2)`: OKAY or SLVERR.
    * `s_axi_bvalid`, `Out(1)`: the write is answered.
    * `s_axi_bready`, `In(1)`: the answer is taken.
    * `s_axi_araddr`, `In(ADDRESS_BITS)`: read address.
    * `s_axi_arprot`, `In(3)`: protection of the read.
    * `s_axi_arvalid`, `In(1)`: there is a read address.
    * `s_axi_arready`, `Out(1)`: it is taken.
    * `s_axi_rdata`, `Out(32)`: the register; 0 with SLVERR.
    * `s_axi_rresp`, `Out(2)`: OKAY or SLVERR.
    * `s_axi_rvalid`, `Out(1)`: the read is answered.
    * `s_axi_rready`, `In(1)`: the answer is taken.
    * `i`, `In(stream.Signature(8))`: bytes for RX.
    * `o`, `Out(stream.Signature(8))`: bytes from TX.
    """

    def __init__(self):
        super().__init__(
            {
                "s_axi_awaddr": In(ADDRESS_BITS),
                "s_axi_awprot": In(3),
                "s_axi_awvalid": In(1),
                "s_axi_awready": Out(1),
                "s_axi_wdata": In(32),
                "s_axi_wstrb": In(4),
                "s_axi_wvalid": In(1),
                "s_axi_wready": Out(1),
                "s_axi_bresp": Out(2),
                "s_axi_bvalid": Out(1),
                "s_axi_bready": In(1),
                "s_axi_araddr": In(ADDRESS_BITS),
                "s_axi_arprot": In(3),
                "s_axi_arvalid": In(1),
                "s_axi_arready": Out(1),
                "s_axi_rdata": Out(32),
                "s_axi_rresp": Out(2),
                "s_axi_rvalid": Out(1),
                "s_axi_rready": In(1),
                "i": In(stream.Signature(8)),
                "o": Out(stream.Signature(8)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.sent = sent = fifo.SyncFIFOBuffered(width=8, depth=DEPTH)
        m.submodules.received = received = fifo.SyncFIFOBuffered(width=8, depth=DEPTH)
        wiring.connect(m, wiring.flipped(self.i), received.w_stream)
        wiring.connect(m, sent.r_stream, wiring.flipped(self.o))
        self._write_channels(m, sent)
        self._read_channels(m, sent, received)
        return m

    def _write_channels(self, m, sent):
        address, data, strobes = Signal(ADDRESS_BITS), Signal(32), Signal(4)
        has_address, has_data = Signal(), Signal()
        m.d.comb += [
            self.s_axi_awready.eq(~has_address),
            self.s_axi_wready.eq(~has_data),
        ]
        with m.If(self.s_axi_awvalid & self.s_axi_awready):
            m.d.sync += [address.eq(self.s_axi_awaddr), has_address.eq(1)]
        with m.If(self.s_axi_wvalid & self.s_axi_wready):
            m.d.sync += [data.eq(self.s_axi_wdata), strobes.eq(self.s_axi_wstrb), has_data.eq(1)]

        mapped = address[2:] == TX_OFFSET // 4
        answering = self.s_axi_bvalid
        m.d.comb += sent.w_data.eq(data[:8])
        with m.If(has_address & has_data & ~answering):
            with m.If(mapped & strobes.any()):
                m.d.comb += sent.w_en.eq(strobes[0])
                with m.If(~strobes[0] | sent.w_rdy):
                    m.d.sync += [data.eq(data[8:]), strobes.eq(strobes[1:])]
            with m.Else():
                m.d.sync += [answering.eq(1), self.s_axi_bresp.eq(Mux(mapped, OKAY, SLVERR))]
        with m.If(answering & self.s_axi_bready):
            m.d.sync += [answering.eq(0), has_address.eq(0), has_data.eq(0)]

    def _read_channels(self, m, sent, received):
        answering = self.s_axi_rvalid
        m.d.comb += self.s_axi_arready.eq(~answering)
        with m.If(self.s_axi_arvalid & self.s_axi_arready):
            m.d.sync += [answering.eq(1), self.s_axi_rresp.eq(OKAY)]
            with m.Switch(self.s_axi_araddr[2:]):
                with m.Case(MAGIC_OFFSET // 4):
                    m.d.sync += self.s_axi_rdata.eq(MAGIC)
                with m.Case(STATUS_OFFSET // 4):
                    space = Signal(16)
                    m.d.comb += space.eq(DEPTH - sent.w_level)
                    waiting = Signal(16)
                    m.d.comb += waiting.eq(received.r_level)
                    m.d.sync += self.s_axi_rdata.eq(Cat(waiting, space))
                with m.Case(RX_OFFSET // 4):
                    m.d.comb += received.r_en.eq(1)
                    m.d.sync += self.s_axi_rdata.eq(
                        Cat(received.r_data, Signal(23, name="zero"), received.r_rdy)
                    )
                    with m.If(~received.r_rdy):
                        m.d.sync += self.s_axi_rdata.eq(0)
                with m.Default():
                    m.d.sync += [self.s_axi_rdata.eq(0), self.s_axi_rresp.eq(SLVERR)]
        with m.If(answering & self.s_axi_rready):
            m.d.sync += answering.eq(0)
