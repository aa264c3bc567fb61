"""The valid image read again and again, where nothing else wants the stores."""

from amaranth import Module, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.link.checker import ADDRESS_BITS, COUNT_BITS
from dpnet.gateware.parts.bus import BUS_LATENCY
from dpnet.gateware.registers import MAX_RANGES

RANGE = data.StructLayout({"address": ADDRESS_BITS, "count": COUNT_BITS})
"""Words of an image that follow each other."""


class ImageCheck(wiring.Component):
    """Asks for every word of the image in the order of its ranges: a pass, and then the next.

    A pass of W words in n ranges takes W + n + `BUS_LATENCY` cycles with `go`, one more to judge
    it, and all those without `go`.

    Members: `forget` leaves no range; `note` for one cycle adds `span` (at least 1 word), at most
    `MAX_RANGES`.  Without `valid` nothing is read, and the next pass starts from the first range;
    `valid` falls only while not `pending`.  With `go` a word may be asked for: `read` with
    `read_address` go to the bus, `r_valid` comes from it, and `word` says that the answer is to
    this component; `pending`, that some are still to come.  `complete` when the last answer of a
    pass is in, until `again` for one cycle starts the next.
    """

    forget: In(1)
    note: In(1)
    span: In(RANGE)
    valid: In(1)
    go: In(1)
    again: In(1)
    read: Out(1)
    read_address: Out(ADDRESS_BITS)
    r_valid: In(1)
    word: Out(1)
    pending: Out(1)
    complete: Out(1)

    def elaborate(self, platform):
        m = Module()
        m.submodules.ranges = ranges = memory.Memory(shape=RANGE, depth=MAX_RANGES + 1, init=[])
        write, read = ranges.write_port(), ranges.read_port(domain="comb")
        count, following = Signal(range(MAX_RANGES + 1)), Signal(range(MAX_RANGES + 1))
        left, answers = Signal(COUNT_BITS), Signal(range(BUS_LATENCY + 1))
        finished = (left == 0) & (following == count)
        m.d.comb += [
            write.addr.eq(count),
            write.data.eq(self.span),
            write.en.eq(self.note),
            read.addr.eq(following),
            self.read.eq(self.go & self.valid & (left != 0)),
            self.pending.eq(answers != 0),
            self.word.eq(self.r_valid & self.pending),
            self.complete.eq(self.valid & finished & ~self.pending),
        ]
        m.d.sync += answers.eq(answers + self.read - self.word)
        with m.If(self.forget):
            m.d.sync += count.eq(0)
        with m.Elif(self.note):
            m.d.sync += count.eq(count + 1)
        with m.If(~self.valid | self.again):
            m.d.sync += [left.eq(0), following.eq(0)]
        with m.Elif((left == 0) & (following != count)):
            m.d.sync += [left.eq(read.data.count), self.read_address.eq(read.data.address)]
            m.d.sync += following.eq(following + 1)
        with m.Elif(self.read):
            m.d.sync += [left.eq(left - 1), self.read_address.eq(self.read_address + 1)]
        return m
