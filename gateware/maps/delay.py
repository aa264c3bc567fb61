"""Values that wait."""

from amaranth.hdl import Cat, Signal, Value


def delayed(m, value, cycles, name, *, reset_less=True):
    """The bits of `value`, `cycles` (at least 1) later.

    One line of registers: without a reset a chip has up to 32 of them in one LUT.
    """
    bits = Value.cast(value)
    line = Signal(len(bits) * cycles, name=name, reset_less=reset_less)
    m.d.sync += line.eq(Cat(bits, line))
    return line[len(bits) * (cycles - 1) :]
