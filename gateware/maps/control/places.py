"""Sums of places: banks modulo their number, with a carry into the word."""

from dataclasses import dataclass

from amaranth.hdl import Mux, Signal


@dataclass(frozen=True)
class Place:
    """A word and a bank, values."""

    word: object
    bank: object


def field_place(fields, name):
    """A place of a descriptor."""
    return Place(fields[f"{name}_word"], fields[f"{name}_bank"])


def choose(condition, yes, no):
    """`yes` if the condition holds, else `no`."""
    return Place(Mux(condition, yes.word, no.word), Mux(condition, yes.bank, no.bank))


def bank_sum(m, a, b, clusters, name):
    """(the bank `a` + `b`, whether a word more goes with it)."""
    bits = max(1, (clusters - 1).bit_length())
    total, carry = Signal(bits + 1, name=f"{name}_total"), Signal(name=f"{name}_carry")
    bank = Signal(bits, name=f"{name}_bank")
    m.d.comb += [
        total.eq(a[:bits] + b[:bits]),
        carry.eq(total >= clusters),
        bank.eq(Mux(carry, total - clusters, total)),
    ]
    return bank, carry


def place_sum(m, a, b, clusters, bits, name):
    """The place `a` + `b`, words modulo 2^`bits`."""
    bank, carry = bank_sum(m, a.bank, b.bank, clusters, name)
    word = Signal(bits, name=f"{name}_word")
    m.d.comb += word.eq(a.word + b.word + carry)
    return Place(word, bank)


def rotated(m, values, amount, name, *, back=False):
    """`values` (signals of one shape, one for each bank) turned by `amount` < their number: what
    was at n is at (n + amount) modulo their number, or the other way round if `back`."""
    count, step, bit = len(values), 1, 0
    while step < count:
        turn = -step if back else step
        following = [Signal.like(value, name=f"{name}_{bit}_{n}") for n, value in enumerate(values)]
        for n, value in enumerate(following):
            m.d.comb += value.eq(Mux(amount[bit], values[(n - turn) % count], values[n]))
        values, step, bit = following, 2 * step, bit + 1
    return values
