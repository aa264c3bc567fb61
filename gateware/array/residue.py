"""Arithmetic modulo 3, which checks multipliers and adders at a few LUTs for any width.

4 = 1 modulo 3: a number is the sum of its base-4 digits.  Three digits are six bits, and what they
add up to modulo 3 is two LUTs of six inputs.  Turning over one bit changes a number by a power of
two, which 3 does not divide: every such fault shows.
"""

from amaranth.hdl import Cat, Const, Signal


def digits(value):
    """Base-4 digits (2 bits each, not all below 3) whose sum is `value` modulo 3, a signed number:
    its uppermost bit counts negative."""
    bits = list(value)
    if len(bits) % 2:
        bits.append(bits[-1])
    found = [Cat(bits[n : n + 2]) for n in range(0, len(bits), 2)]
    # With its upper bit set the last digit d stands for d - 4.
    found[-1] = _table([0, 1, (2 - 4) % 3, (3 - 4) % 3], found[-1])
    return found


def fold(m, numbers, name):
    """A third as many digits with the same sum modulo 3, all below 3."""
    folded = []
    for n in range(0, len(numbers), 3):
        group = numbers[n : n + 3]
        some = Signal(2, name=f"{name}_{n // 3}")
        entries = [
            sum(code >> 2 * place & 3 for place in range(len(group))) % 3
            for code in range(1 << 2 * len(group))
        ]
        m.d.comb += some.eq(_table(entries, Cat(group)))
        folded.append(some)
    return folded


def fold_to(m, numbers, count, name):
    """`fold` until at most `count` digits are left."""
    level = 0
    while len(numbers) > count:
        numbers = fold(m, numbers, f"{name}_{level}")
        level += 1
    return numbers


def product(a, b):
    """a · b modulo 3, of two digits."""
    return _table([(code & 3) * (code >> 2) % 3 for code in range(16)], Cat(a, b))


def _table(entries, index):
    bits = sum(entry << 2 * n for n, entry in enumerate(entries))
    return Const(bits, 2 * len(entries)).word_select(index, 2)
