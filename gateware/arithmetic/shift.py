"""Shifts and leading zeros, the building blocks of rounding; all combinational."""

from amaranth.hdl import Cat, Const, Mux, Value


def sticky_right(value, amount, *, unit=1):
    """`value` shifted right by `amount * unit`, every bit shifted out ORed into the lowest bit.

    Same shape as `value`; signed values shift arithmetically.  The lowest bit is then sticky:
    whether anything but zeros is left at or below it.
    """
    shape = Value.cast(value).shape()
    value = Value.cast(value)[:]  # unsigned, so that a multiplexer does not widen it
    for position in range(len(amount)):
        step = min(unit << position, shape.width - 1)
        fill = value[-1] if shape.signed else Const(0, 1)
        shifted = Cat(value[: step + 1].any(), value[step + 1 :], fill.replicate(step))
        value = Mux(amount[position], shifted, value)
    return value.as_signed() if shape.signed else value


def constant_sticky_right(value, amount):
    """The unsigned `value`, shifted right by the integer `amount` and that much shorter, sticky."""
    return Cat(value[: amount + 1].any(), value[amount + 1 :])


def round_up(value):
    """Whether `value`, whose lowest bits are guard and sticky, rounds up to nearest even."""
    return value[1] & (value[0] | value[2])


def leading_zeros(value):
    """The number of zeros above the highest one of `value`; unspecified if there is none.

    A tree: one multiplexer for each doubling of the width.
    """
    width = 1 << (len(value) - 1).bit_length()
    # Ones below the lowest bit: they are counted only if the value is zero.
    bits = Cat(Const(-1, width - len(value)), value)
    nodes = [(~bits[position], None) for position in reversed(range(width))]
    while len(nodes) > 1:
        nodes = [_join(*pair) for pair in zip(nodes[::2], nodes[1::2], strict=True)]
    return nodes[0][1]


def _join(upper, lower):
    """(all zero, leading zeros) of two halves of equal width, `upper` first."""
    (upper_zero, upper_count), (lower_zero, lower_count) = upper, lower
    zero = upper_zero & lower_zero
    if upper_count is None:
        return zero, upper_zero
    return zero, Cat(Mux(upper_zero, lower_count, upper_count), upper_zero)
