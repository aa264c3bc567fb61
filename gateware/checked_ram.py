"""A store whose words carry parity, checked at every read that counts."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gateware.emit import place
from gateware.ram import Ram


class CheckedRam(wiring.Component):
    """`Ram` with a parity bit for each `granularity` bits, written and checked inside.

    Ports as `Ram`'s, but `w_data` is one granule, for all that `w_enable` names; besides, `late`
    shows `r_data` one cycle later, and `corrupt` strobes `check` = 4 cycles after an `r_address`
    with `r_use` whose word had an odd number of bits changed since it was written.
    Granules named by `r_hide` with an address are 0 in `late`; `r_word`, another cycle later, is
    the OR of all granules of `late`: how one of them is read without a wide multiplexer.
    """

    check = 4

    def __init__(self, *, width, depth, granularity=None, storage="block", tail=()):
        self.width = width
        self.depth = depth
        self.granularity = granularity or width
        self.storage = storage
        self.tail = tuple(tail)
        if width % self.granularity:
            raise ValueError(f"granularity must divide {width}, not {granularity!r}")
        self._granules = width // self.granularity
        self._ram = Ram(
            width=width + self._granules, depth=depth, granularity=self.granularity + 1,
            storage=storage, tail=[self._with_parity(word) for word in self.tail],
        )  # fmt: skip
        self._ram._MustUse__silence = True  # its ports are needed even where nothing is built
        address = self._ram.address_bits
        super().__init__({
            "w_address": In(address),
            "w_data": In(self.granularity),
            "w_enable": In(self._granules),
            "r_address": In(address),
            "r_use": In(1),
            "r_hide": In(self._granules),
            "r_data": Out(width),
            "late": Out(width),
            "r_word": Out(self.granularity),
            "corrupt": Out(1),
        })

    def _with_parity(self, word):
        g = self.granularity
        parts = [word >> n * g & (1 << g) - 1 for n in range(self._granules)]
        return sum(
            (part | (part.bit_count() & 1) << g) << n * (g + 1) for n, part in enumerate(parts)
        )

    def elaborate(self, platform):
        m = Module()
        g, ram = self.granularity, place(m, self._ram, "ram")
        odd, used = Signal(), Signal(3)
        hidden, seen, late, now = Signal(self._granules), 0, [], []
        m.d.sync += hidden.eq(self.r_hide)
        for n in range(self._granules):
            # A signal each: parts of one signal make the text grow with their number squared.
            granule = Signal(g + 1, name=f"granule_{n}", reset_less=True)
            word = ram.r_data[n * (g + 1) : (n + 1) * (g + 1)]
            # A flip-flop's own reset: no LUT.
            m.d.sync += granule.eq(Mux(hidden[n], 0, word))
            late.append(granule)
            now.append(word[:g])
            seen = seen | granule[:g]
        m.d.sync += self.r_word.eq(seen)
        m.d.comb += [
            ram.w_address.eq(self.w_address),
            ram.w_data.eq(Cat(self.w_data, _parity(list(self.w_data))).replicate(self._granules)),
            ram.w_enable.eq(self.w_enable),
            ram.r_address.eq(self.r_address),
            self.r_data.eq(Cat(now)),
            self.late.eq(Cat(word[:g] for word in late)),
        ]
        m.d.sync += [
            used.eq(Cat(self.r_use, used)),
            odd.eq(_parity([bit for granule in late for bit in granule])),
            self.corrupt.eq(odd & used[2]),
        ]
        return m


def _parity(bits):
    """XOR of all bits (a list: a slice of a Cat would repeat all of it), six at a time, as a LUT
    takes them."""
    while len(bits) > 1:
        bits = [Cat(bits[n : n + 6]).xor() for n in range(0, len(bits), 6)]
    return bits[0]
