"""The ranges of a COMMIT or CHECK, one after the other through the store checker."""

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.link.checker import ADDRESS_BITS, COUNT_BITS
from dpnet.gateware.link.receiver import PAYLOAD_WORDS
from dpnet.gateware.parts.reach import check_words, words_of
from dpnet.gateware.registers import REGION_SHIFT, Region


class RangeWalk(wiring.Component):
    """Takes (word address, word count) pairs from a payload and has their words read.

    A pair that is no range, or reaches beyond the stores, ends the walk before a word of it is
    read.

    Parameters: `words`, how many the stores of each region have (regions left out: none).
    Members: `go` for one cycle starts with the pair whose address is in `word` in the next cycle;
    `image` (kept by the user until `done`): the pairs follow a word, and only regions of an image
    are good, else the payload is one pair; `length`, words of the payload; `position`, the word of
    it that is in `word` a cycle later, while `active`; `start`, `address`, `count` and `busy`, see
    `dpnet.gateware.link.checker.StoreChecker`; `done` for one cycle, with `good` if all ranges
    were; `total`, the words of all of them.
    """

    go: In(1)
    image: In(1)
    length: In(range(PAYLOAD_WORDS + 1))
    word: In(32)
    position: Out(range(PAYLOAD_WORDS + 1))
    active: Out(1)
    start: Out(1)
    address: Out(ADDRESS_BITS)
    count: Out(COUNT_BITS)
    busy: In(1)
    done: Out(1)
    good: Out(1)
    total: Out(32)

    def __init__(self, *, words):
        self.words = check_words(words)
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        address, position = Signal(32), self.position
        m.d.comb += [self.address.eq(address), self.count.eq(self.word), self.active.eq(1)]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.active.eq(0)
                m.d.sync += [position.eq(Mux(self.image, 2, 1)), self.total.eq(0)]
                with m.If(self.go):
                    m.next = "ADDRESS"
            with m.State("ADDRESS"):
                m.d.sync += [address.eq(self.word), position.eq(position + 1)]
                m.next = "COUNT"
            with m.State("COUNT"):
                with m.If(self._is_range(m, address)):
                    m.d.comb += self.start.eq(1)
                    m.d.sync += self.total.eq(self.total + self.word)
                    m.next = "SUM"
                with m.Else():
                    m.d.comb += self.done.eq(1)
                    m.next = "IDLE"
            with m.State("SUM"), m.If(~self.busy):
                m.d.sync += position.eq(position + 1)
                m.next = "ADDRESS"
                with m.If(position == self.length):
                    m.next = "SUMMED"
            with m.State("SUMMED"):
                m.d.comb += [self.done.eq(1), self.good.eq(1)]
                m.next = "IDLE"
        return m

    def _is_range(self, m, address):
        region, low = address[REGION_SHIFT - 2 :], address[: REGION_SHIFT - 2]
        stores = {n: count for n, count in self.words.items() if n != Region.REGISTERS}
        there = words_of(m, region, stores, "words_there")
        last = Mux(self.image, Region.IMAGE_LAST, Region.MAPS)
        return (region <= last) & (self.word != 0) & (low + self.word <= there)
