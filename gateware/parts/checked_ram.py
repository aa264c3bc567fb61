"""A store whose words carry parity, checked at every read that counts."""

from functools import reduce
from operator import xor

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.emit import place
from dpnet.gateware.parts.ram import Ram


class CheckedRam(wiring.Component):
    """`Ram` with a parity bit for each granule of `granularity` bits, written and checked inside.

    One write and one read a cycle, as with `Ram`.  With an address t: `r_data` shows in t + 1,
    `late` in t + 2, `r_word` in t + 3, and `corrupt` in t + `check` = t + 4.

    What is hidden is not checked either; with `guarded`, a granule that is hidden although its word
    is used is an error as well (nothing may be named by `r_hide` with `r_use` then).

    Parameters: those of `Ram`, and `guarded`.

    Members:

    * `w_address`, `In(max(1, ceil_log2(depth)))`: word to be written.
    * `w_data`, `In(granularity)`: one granule, for all that `w_enable` names.
    * `w_enable`, `In(width // granularity)`: granules that are written.
    * `r_address`, `In(max(1, ceil_log2(depth)))`: word to be read.
    * `r_use`, `In(1)`: the word counts: its parity is checked.
    * `r_hide`, `In(width // granularity)`: granules that are 0 in `late`.
    * `r_data`, `Out(width)`: the word, a cycle after its address.
    * `late`, `Out(width)`: the word without what is hidden, two cycles after its address.
    * `r_word`, `Out(granularity)`: the exclusive OR of all granules of `late`, three cycles after
      their address: of a single one that is not hidden, the granule itself.
    * `corrupt`, `Out(1)`: strobes if a word that was used had an odd number of bits changed since
      it was written.
    """

    check = 4

    def __init__(self, *, width, depth, granularity=None, storage="block", tail=(), guarded=False):
        self.width = width
        self.depth = depth
        self.granularity = granularity or width
        self.storage = storage
        self.tail = tuple(tail)
        self.guarded = guarded
        if width % self.granularity:
            raise ValueError(f"granularity must divide {width}, not {granularity!r}")
        self._granules = width // self.granularity
        self._ram = Ram(
            width=width + self._granules,
            depth=depth,
            granularity=self.granularity + 1,
            storage=storage,
            tail=[self._with_parity(word) for word in self.tail],
        )
        self._ram._MustUse__silence = True  # its ports are needed even where nothing is built
        address = self._ram.address_bits
        super().__init__(
            {
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
            }
        )

    def _with_parity(self, word):
        g = self.granularity
        parts = [word >> n * g & (1 << g) - 1 for n in range(self._granules)]
        return sum(
            (part | (part.bit_count() & 1) << g) << n * (g + 1) for n, part in enumerate(parts)
        )

    def elaborate(self, platform):
        m = Module()
        g, ram = self.granularity, place(m, self._ram, "ram")
        used, hidden = Signal(3), Signal(self._granules)
        # One fold for both: the parity of its bits is the parity of the whole word.
        fold = Signal(g + 1, reset_less=True)
        granules, now = [], []
        m.d.sync += hidden.eq(self.r_hide)
        for n in range(self._granules):
            # A signal each: parts of one signal make the text grow with their number squared.
            granule = Signal(g + 1, name=f"granule_{n}", reset_less=True)
            word = ram.r_data[n * (g + 1) : (n + 1) * (g + 1)]
            # A flip-flop's own reset: no LUT.
            m.d.sync += granule.eq(Mux(hidden[n], 0, word))
            granules.append(granule)
            now.append(word[:g])

        def kept(word):
            # Without `keep` Yosys 0.70 makes smaller LUTs of it: 40 more for 16 granules.
            part = Signal.like(fold, name="part", attrs={"keep": 1})
            m.d.comb += part.eq(word)
            return part

        m.d.comb += [
            ram.w_address.eq(self.w_address),
            ram.w_data.eq(Cat(self.w_data, _xor(list(self.w_data))).replicate(self._granules)),
            ram.w_enable.eq(self.w_enable),
            ram.r_address.eq(self.r_address),
            self.r_data.eq(Cat(now)),
            self.late.eq(Cat(granule[:g] for granule in granules)),
            self.r_word.eq(fold[:g]),
        ]
        odd = _xor(list(fold))
        m.d.sync += [
            used.eq(Cat(self.r_use, used)),
            fold.eq(_xor(granules, kept)),
            self.corrupt.eq(odd & used[2]),
        ]
        if self.guarded:
            hides = Signal()
            m.d.sync += [
                hides.eq(hidden.any() & used[0]),
                self.corrupt.eq(odd & used[2] | hides),
            ]
        return m


def _xor(words, part=lambda word: word):
    """XOR of some words, bit by bit, in as few LUTs as there are, (len(words) - 1) / 5 a bit: each
    takes six words, the first ones the input's and the last one what is left; `part` of each."""
    while len(words) > 6:
        taken = min(6, len(words) - 5)
        words = [*words[taken:], part(reduce(xor, words[:taken]))]
    return reduce(xor, words)
