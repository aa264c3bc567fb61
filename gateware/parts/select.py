"""One of many values, as a binary tree of multiplexers."""

from amaranth.hdl import Const, Mux, Value


def select(values, index):
    """`values[index]`, any of `values` if there is none; `values` is not empty.

    Synthesis finds 4 to 1 in each LUT of this tree: 5 LUTs a bit for 16 values, where Amaranth's
    `Array` or a `Switch` take 8 (Yosys 0.70, xc7).
    """
    if len(values) == 1:
        return Value.cast(values[0])
    pairs = [
        Mux(index[0], *reversed(values[n : n + 2])) if n + 1 < len(values) else values[n]
        for n in range(0, len(values), 2)
    ]
    return select(pairs, index[1:])


def select_sparse(values, index):
    """`values[n]` for the `index` n that is a key of the dictionary `values`, else 0."""
    if not values:
        return Const(0, 1)
    if len(index) == 0:
        return Value.cast(values[0])
    low, high = ({n >> 1: value for n, value in values.items() if n & 1 == bit} for bit in (0, 1))
    return Mux(index[0], select_sparse(high, index[1:]), select_sparse(low, index[1:]))
