"""CRC-32 of words in the stores, read back over the bus."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

ADDRESS_BITS = 30
COUNT_BITS = 27

_POLYNOMIAL = 0xEDB88320
"""CRC-32/ISO-HDLC, lowest bit first; the register starts as ones and leaves inverted."""


class StoreChecker(wiring.Component):
    """CRC-32 of words, little endian, one word a cycle: of a request's ranges, and of the image.

    Two CRCs that share their gates.  Members: `clear` starts a new CRC of a request; `start` for
    one cycle (not while `busy`) reads `count` words (at least 1) from word `address`; `read` with
    `read_address` go to the bus, whose answers come in `r_valid` and `r_data`; `busy` falls when
    the last answer is in; then `crc` covers all ranges since `clear`.  `image_clear` starts a new
    CRC of the image; an answer that comes with `image_word` (not while `busy`) counts to it;
    `image_crc` covers those before this cycle.
    """

    clear: In(1)
    start: In(1)
    address: In(ADDRESS_BITS)
    count: In(COUNT_BITS)
    busy: Out(1)
    crc: Out(32)
    image_clear: In(1)
    image_word: In(1)
    image_crc: Out(32)
    read: Out(1)
    read_address: Out(ADDRESS_BITS)
    r_valid: In(1)
    r_data: In(32)

    def elaborate(self, platform):
        m = Module()
        ask, wait = Signal(COUNT_BITS), Signal(COUNT_BITS)
        crc, image_crc = Signal(32, init=0xFFFFFFFF), Signal(32, init=0xFFFFFFFF)
        mixed, following, word = Signal(32), Signal(32), Signal()
        m.d.comb += [
            word.eq(self.r_valid & self.busy),
            mixed.eq(Mux(self.busy, crc, image_crc) ^ self.r_data),
            following.eq(_after_a_word(mixed)),
            self.busy.eq(wait != 0),
            self.read.eq(ask != 0),
            self.crc.eq(~crc),
            self.image_crc.eq(~image_crc),
        ]
        for register, clear, taken in (
            (crc, self.clear, word),
            (image_crc, self.image_clear, self.image_word),
        ):
            with m.If(clear):
                m.d.sync += register.eq(0xFFFFFFFF)
            with m.Elif(taken):
                m.d.sync += register.eq(following)
        with m.If(self.start):
            m.d.sync += [ask.eq(self.count), wait.eq(self.count)]
            m.d.sync += self.read_address.eq(self.address)
        with m.Else():
            with m.If(self.read):
                m.d.sync += [ask.eq(ask - 1), self.read_address.eq(self.read_address + 1)]
            with m.If(word):
                m.d.sync += wait.eq(wait - 1)
        return m


def _after_a_word(mixed):
    """The CRC's register after a word, from its exclusive or with the word: each bit is a sum
    modulo 2 of about half of them."""
    powers = []
    for bit in range(32):
        power = 1 << bit
        for _ in range(32):
            power = power >> 1 ^ (_POLYNOMIAL if power & 1 else 0)
        powers.append(power)
    return Cat(
        Cat(mixed[bit] for bit in range(32) if powers[bit] >> n & 1).xor() for n in range(32)
    )
