"""Store checker: the CRC of exactly the words that a range names."""

from __future__ import annotations

from amaranth.hdl import Mux, Signal

from dpnet.gateware.link.checker import ADDRESS_BITS, COUNT_BITS, StoreChecker
from dpnet.sim.formal.crc import ONES, after_word
from dpnet.sim.formal.harness import Harness, implies
from dpnet.sim.formal.proof import Proof


def checking(**options: str | None) -> Harness:
    """A bus that answers every read, some time later; a user that keeps to the docstring."""
    dut = StoreChecker()
    h = Harness(dut, **options)
    m = h.m
    h.drive(
        dut.clear,
        dut.start,
        dut.address,
        dut.count,
        dut.r_valid,
        dut.r_data,
        dut.image_clear,
        dut.image_word,
    )
    answers = Signal(COUNT_BITS)
    h.assume(implies(dut.start, ~dut.busy & (dut.count != 0)))
    h.assume(implies(dut.image_word, dut.r_valid & ~dut.busy))
    h.assume(implies(dut.r_valid & dut.busy, answers != 0))
    m.d.sync += answers.eq(Mux(dut.busy, answers + dut.read - dut.r_valid, 0))

    crc, image = h.inside("crc"), h.inside("image_crc")
    mixed = Signal(32)
    m.d.comb += mixed.eq(Mux(dut.busy, crc, image) ^ dut.r_data)
    following = after_word(mixed)
    for name, register, clear, word in (
        ("crc_of_the_words_that_came", crc, dut.clear, dut.r_valid & dut.busy),
        ("crc_of_the_image", image, dut.image_clear, dut.image_word),
    ):
        expected = Mux(clear, ONES, Mux(word, following, register))
        h.prove(name, register == h.past(expected, init=ONES))
    h.prove("crcs_are_inverted", (dut.crc == ~crc) & (dut.image_crc == ~image))
    start, wanted, asked, got = (
        Signal(ADDRESS_BITS),
        Signal(COUNT_BITS),
        Signal(COUNT_BITS),
        Signal(COUNT_BITS),
    )
    with m.If(dut.start):
        m.d.sync += [start.eq(dut.address), wanted.eq(dut.count), asked.eq(0), got.eq(0)]
    with m.Else():
        m.d.sync += [asked.eq(asked + dut.read), got.eq(got + (dut.r_valid & dut.busy))]
    ask, wait = h.inside("ask"), h.inside("wait")
    h.invariant("asked", (ask == wanted - asked) & (asked <= wanted))
    h.invariant("got", (wait == wanted - got) & (got <= asked))
    h.invariant("on_their_way", implies(dut.busy, answers == asked - got))
    h.invariant("address", implies(wanted != 0, dut.read_address == (start + asked)[:ADDRESS_BITS]))
    h.prove(
        "reads_the_words_of_the_range",
        implies(dut.read, (dut.read_address == (start + asked)[:ADDRESS_BITS]) & (asked < wanted)),
    )
    h.prove("busy_until_all_are_there", dut.busy == (got != wanted))
    h.cover("a_range_of_three_words", (got == 3) & (wanted == 3))
    return h


PROOFS = (
    Proof("checker", "store checker: CRC-32 of exactly the words of a range", checking, 1, 10),
)
