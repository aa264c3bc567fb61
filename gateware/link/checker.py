"""CRC-32 of words in the stores, read back over the bus."""

from amaranth import Module, Signal
from amaranth.lib import crc, wiring
from amaranth.lib.wiring import In, Out

ADDRESS_BITS = 30
COUNT_BITS = 27


class StoreChecker(wiring.Component):
    """CRC-32 of ranges of words, little endian, one word a cycle.

    Members: `clear` starts a new CRC; `start` for one cycle (not while `busy`) reads `count` words
    (at least 1) from word `address`; `read` with `read_address` go to the bus, whose answers come
    in `r_valid` and `r_data`; `busy` falls when the last answer is in; then `crc` covers all ranges
    since `clear`.
    """

    clear: In(1)
    start: In(1)
    address: In(ADDRESS_BITS)
    count: In(COUNT_BITS)
    busy: Out(1)
    crc: Out(32)
    read: Out(1)
    read_address: Out(ADDRESS_BITS)
    r_valid: In(1)
    r_data: In(32)

    def elaborate(self, platform):
        m = Module()
        m.submodules.crc = check = crc.catalog.CRC32_ISO_HDLC(data_width=32).create()
        ask, wait = Signal(COUNT_BITS), Signal(COUNT_BITS)
        m.d.comb += [
            check.start.eq(self.clear),
            check.data.eq(self.r_data),
            check.valid.eq(self.r_valid & self.busy),
            self.busy.eq(wait != 0),
            self.read.eq(ask != 0),
            self.crc.eq(check.crc),
        ]
        with m.If(self.start):
            m.d.sync += [ask.eq(self.count), wait.eq(self.count)]
            m.d.sync += self.read_address.eq(self.address)
        with m.Else():
            with m.If(self.read):
                m.d.sync += [ask.eq(ask - 1), self.read_address.eq(self.read_address + 1)]
            with m.If(check.valid):
                m.d.sync += wait.eq(wait - 1)
        return m
