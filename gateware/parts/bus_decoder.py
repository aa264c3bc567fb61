"""The subordinate side of the store bus: requests split by region, answers gathered."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Module, Mux, Signal, Value

from dpnet.gateware.parts.bus import BUS_LATENCY
from dpnet.gateware.parts.select import select_sparse
from dpnet.gateware.registers import REGION_SHIFT

GROUP_BITS = 4


@dataclass
class Store:
    """One region: `row`, the request's address in the store, and `write`, a write that is for
    it.
    """

    region: int
    row: Value
    write: Value
    inside: Value


class BusDecoder:
    """Requests of a `BusSignature`, registered twice, for the stores of one engine.

    A store must show the word of `row` in the cycle after the request shows here, whenever
    `reading`; then `BUS_LATENCY` is kept.  Rows behind a store's end read as 0, writes there
    vanish.  `coming` is the next cycle's `address`, for a store with a register of its own.

    With `checked`, requests carry their parity: `suspect()` is high while one that shows here, or
    is coming, has changed, or is for another store than it was.
    """

    def __init__(self, m: Module, bus, *, checked=False):
        self._bus, self._m = bus, m
        self._offset_bits = REGION_SHIFT - 2
        # Two registers: requests come a long way, and stores are all over the chip.
        self.coming, self._coming_region = Signal(self._offset_bits), Signal(4)
        self.address, self.data = Signal(self._offset_bits), Signal(32)
        data, write, read = Signal(32), Signal(), Signal()
        self._coming_write, self._read = write, Signal()
        m.d.sync += [
            Cat(self.coming, self._coming_region).eq(bus.address),
            data.eq(bus.w_data),
            write.eq(bus.write),
            read.eq(bus.read),
            self.address.eq(self.coming),
            self.data.eq(data),
            self._read.eq(read),
        ]
        self.reading = self._read
        self._late_address = Signal.like(self.address)
        m.d.sync += self._late_address.eq(self.address)
        self._words, self._flags = [], []
        self._wrong = None
        if checked:
            self._wrong = self._check(
                m, Cat(self.coming, data, read), Cat(self._coming_region, write)
            )

    def _check(self, m, kept, dropped):
        """Signs of a request that changed in one of the registers; `dropped` is what the second one
        has no more."""
        bus, odd, odd_here = self._bus, Signal(), Signal()
        m.d.sync += [
            odd.eq(Cat(bus.address, bus.w_data, bus.write, bus.read).xor()),
            odd_here.eq(kept.xor()),
        ]
        return Cat(
            kept.xor() ^ dropped.xor() ^ odd,
            Cat(self.address, self.data, self._read).xor() ^ odd_here,
        )

    def suspect(self):
        """After the last `store`: whether a request was disturbed on its way to the stores."""
        odd = Signal()
        self._m.d.sync += odd.eq(Cat(coming for coming, _ in self._flags).xor())
        return self._wrong.any() | Cat(odd, *[flag for _, flag in self._flags]).xor()

    def field(self, low, bits):
        """A field of the address in this cycle's request."""
        return self.address[low : low + bits]

    def store(self, region, *, low, depth):
        """The store of `region` with `depth` rows; the address of a row starts at bit `low`."""
        coming, inside, write = self.coming[low:], Signal(), Signal()
        here = (self._coming_region == region) & (coming < depth)
        self._m.d.sync += [inside.eq(here), write.eq(self._coming_write & here)]
        self._flags += [(here, inside), (self._coming_write & here, write)]
        return Store(region, self.address[low:], write, inside)

    def answer(self, m, store, words, *, bits, skip=0):
        """`words`, pairs of (selector, what the store shows): the one whose selector is in the
        address's `bits` bits above `skip` answers; where there is none, 0 does."""
        # In two steps, 16 words each and then one of those, as wide stores have hundreds.
        selector, inside = Signal(bits, name=f"selector_{int(store.region)}"), Signal()
        m.d.sync += [
            selector.eq(self._late_address[skip : skip + bits]),
            inside.eq(self._late(m, store)),
        ]
        groups = {}
        for value, word in words:
            groups.setdefault(value >> GROUP_BITS, {})[value % (1 << GROUP_BITS)] = word
        firsts = {}
        for group, members in groups.items():
            firsts[group] = Signal(32, name=f"group_{int(store.region)}_{group}", reset_less=True)
            low = self._late_address[skip : skip + min(bits, GROUP_BITS)]
            m.d.sync += firsts[group].eq(select_sparse(members, low))
        found = select_sparse(firsts, selector[GROUP_BITS:])
        picked = Signal(32, name=f"picked_{int(store.region)}")
        m.d.sync += picked.eq(Mux(inside, found, 0))
        self._words.append(picked)

    def answer_with(self, word):
        """`word` is the answer 3 cycles after the request showed here, 0 if it was not asked."""
        self._words.append(word)

    def _late(self, m, store):
        """Whether the store was asked, in the cycle in which it answers."""
        late = Signal()
        m.d.sync += late.eq(store.inside)
        return late

    def finish(self, m):
        """Drive the answers: only the region asked has one, so they are ORed."""
        valid = self._read
        for n in range(BUS_LATENCY - 2):
            later = Signal(name=f"valid_{n}")
            m.d.sync += later.eq(valid)
            valid = later
        answer = 0
        for word in self._words:
            answer = answer | word
        m.d.sync += self._bus.r_data.eq(answer)
        m.d.comb += self._bus.r_valid.eq(valid)
